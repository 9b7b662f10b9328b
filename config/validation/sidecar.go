package validation

import (
	"net"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/protocol"
)

func (c *checker) sidecar(s *networking.Sidecar) {
	spec := field("spec")
	c.selector(spec.to("workloadSelector").to("labels"), s.WorkloadSelector.GetLabels())
	if len(s.Egress) == 0 && len(s.Ingress) == 0 && s.OutboundTrafficPolicy == nil && s.InboundConnectionPool == nil {
		c.fault(spec, "Add egress, ingress or outboundTrafficPolicy", "the Sidecar is empty")
	}
	seen := map[uint32]bool{}
	for i, l := range s.Ingress {
		c.ingress(spec.to("ingress").at(i), l, seen)
	}
	c.egress(spec.to("egress"), s.Egress)
	c.connectionPool(spec.to("inboundConnectionPool"), s.InboundConnectionPool)
	if p := s.OutboundTrafficPolicy; p != nil && p.EgressProxy != nil {
		at := spec.to("outboundTrafficPolicy").to("egressProxy")
		if p.Mode != networking.OutboundTrafficPolicy_ALLOW_ANY {
			c.fault(at, "Set mode: ALLOW_ANY", "egressProxy has no meaning with mode %s", p.Mode)
		}
		c.destination(at, p.EgressProxy)
	}
}

func (c *checker) ingress(at path, l *networking.IstioIngressListener, seen map[uint32]bool) {
	if l.Port == nil {
		c.fault(at.to("port"), "Add port with number, name and protocol", "the listener has no port")
		return
	}
	c.sidecarPort(at.to("port"), l.Port)
	if seen[l.Port.Number] {
		c.fault(at.to("port").to("number"), "Keep one of the two", "port %d has two ingress listeners", l.Port.Number)
	}
	seen[l.Port.Number] = true
	if l.Bind != "" && !isIP(l.Bind) {
		c.fault(at.to("bind"), "Write an IP address", "%q is nothing to listen on", l.Bind)
	}
	if l.DefaultEndpoint != "" {
		c.defaultEndpoint(at.to("defaultEndpoint"), l.DefaultEndpoint)
	}
	c.connectionPool(at.to("connectionPool"), l.ConnectionPool)
	if t := l.Tls; t != nil {
		if t.Mode != networking.ServerTLSSettings_SIMPLE && t.Mode != networking.ServerTLSSettings_MUTUAL {
			c.fault(at.to("tls").to("mode"), "Use SIMPLE or MUTUAL", "a sidecar can't terminate TLS in mode %s", t.Mode)
		} else {
			c.serverCertificates(at.to("tls"), t)
		}
	}
}

func (c *checker) sidecarPort(at path, p *networking.SidecarPort) {
	c.port(at.to("number"), p.Number)
	if p.Name != "" && !isLabel(p.Name) {
		c.fault(at.to("name"), "Lower-case letters, digits and '-'", "%q is no port name", p.Name)
	}
	if p.Protocol != "" && protocol.Parse(p.Protocol) == protocol.Unsupported {
		c.fault(at.to("protocol"), "One of HTTP, HTTPS, HTTP2, GRPC, GRPC-Web, TCP, TLS, MONGO, REDIS, MYSQL", "%q is no protocol", p.Protocol)
	}
}

// defaultEndpoint: the program that requests go to: a port of this workload or
// a unix socket.
func (c *checker) defaultEndpoint(at path, s string) {
	const hint = "Write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///PATH"
	if socket, ok := strings.CutPrefix(s, "unix://"); ok {
		if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
			c.fault(at, hint, "the path of a unix socket must be absolute: %q", s)
		}
		return
	}
	address, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	switch {
	case err != nil || perr != nil || n < 1 || n > 65535:
		c.fault(at, hint, "%q is no endpoint", s)
	case address != "" && address != "127.0.0.1" && address != "0.0.0.0" && address != "::1" && address != "::":
		c.fault(at, hint, "the endpoint %q isn't in this workload", s)
	}
}

func (c *checker) egress(at path, listeners []*networking.IstioEgressListener) {
	type listenOn struct {
		bind string
		port uint32
	}
	seen := map[listenOn]bool{}
	for i, l := range listeners {
		at := at.at(i)
		if len(l.Hosts) == 0 {
			c.fault(at.to("hosts"), "Add hosts, such as \"./*\" or \"*/*\"", "the egress listener has no hosts")
		}
		for j, h := range l.Hosts {
			c.egressHost(at.to("hosts").at(j), h)
		}
		switch {
		case l.Port != nil:
			c.sidecarPort(at.to("port"), l.Port)
			if seen[listenOn{l.Bind, l.Port.Number}] {
				c.fault(at.to("port").to("number"), "Merge the two", "port %d has two egress listeners", l.Port.Number)
			}
			seen[listenOn{l.Bind, l.Port.Number}] = true
		case i < len(listeners)-1:
			c.fault(at, "Move it to the end", "an egress listener without a port takes everything, so it must be the last")
		case l.Bind != "":
			c.fault(at.to("bind"), "Add a port", "bind needs a port")
		}
		if l.Bind == "" {
			continue
		}
		socket := strings.HasPrefix(l.Bind, "unix://")
		if !isIP(l.Bind) && !socket {
			c.fault(at.to("bind"), "Write an IP address or unix:///PATH", "%q is nothing to listen on", l.Bind)
		}
		if socket && l.CaptureMode != networking.CaptureMode_DEFAULT && l.CaptureMode != networking.CaptureMode_NONE {
			c.fault(at.to("captureMode"), "Set captureMode: NONE", "traffic to a unix socket can't be captured")
		}
	}
}

func (c *checker) egressHost(at path, s string) {
	if !strings.Contains(s, "/") {
		c.fault(at, "Write NAMESPACE/HOST, ./HOST or */HOST", "%q names no namespace", s)
		return
	}
	ns, h := host.SplitNamespaced(s)
	if ns != "*" && ns != "." && ns != "~" && !isLabel(ns) {
		c.fault(at, "Write NAMESPACE/HOST, ./HOST, */HOST or ~/*", "%q is no namespace", ns)
	}
	c.wildcardHost(at, string(h))
}
