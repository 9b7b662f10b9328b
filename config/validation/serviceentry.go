package validation

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config/protocol"
)

func (c *checker) serviceEntry(se *networking.ServiceEntry) {
	spec := field("spec")
	c.serviceEntryHosts(spec.to("hosts"), se)
	c.exportTo(spec.to("exportTo"), se.ExportTo)
	if se.WorkloadSelector != nil {
		c.selector(spec.to("workloadSelector").to("labels"), se.WorkloadSelector.Labels)
		if len(se.Endpoints) > 0 {
			c.fault(spec.to("endpoints"), "Keep one", "endpoints and workloadSelector exclude each other")
		}
	}
	for i, a := range se.Addresses {
		at := spec.to("addresses").at(i)
		switch {
		case isIP(a):
		case !isPrefix(a):
			c.fault(at, "Write 10.1.2.3 or 10.0.0.0/8", "%q is neither an address nor a subnet", a)
		case se.Resolution != networking.ServiceEntry_NONE && se.Resolution != networking.ServiceEntry_STATIC:
			c.fault(at, "List addresses, or use resolution NONE or STATIC", "a subnet can't be used with resolution %s", se.Resolution)
		}
	}
	c.serviceEntryPorts(spec.to("ports"), se)
	c.resolution(spec, se)
	c.toldApart(spec, se)
	for i, e := range se.Endpoints {
		c.serviceEndpoint(spec.to("endpoints").at(i), se, e)
	}
}

func (c *checker) serviceEntryHosts(at path, se *networking.ServiceEntry) {
	if len(se.Hosts) == 0 {
		c.fault(at, "Add hosts", "the ServiceEntry has no hosts")
	}
	for i, h := range se.Hosts {
		switch {
		case h == "*":
			c.fault(at.at(i), "Name hosts; to let everything out, use outboundTrafficPolicy", "the host \"*\" isn't allowed")
		case !strings.Contains(h, ".") && isHost(h):
			c.wildcardHost(at.at(i), h)
			c.warn(at.at(i), "Write a full name", "the short name %q isn't completed with a namespace here", h)
		default:
			c.wildcardHost(at.at(i), h)
		}
	}
}

func (c *checker) serviceEntryPorts(at path, se *networking.ServiceEntry) {
	if len(se.Ports) == 0 {
		c.warn(at, "Add ports", "without ports, the ServiceEntry has no effect")
	}
	unique(c, at, "port name", se.Ports, (*networking.ServicePort).GetName)
	seen := map[uint32]int{}
	for i, p := range se.Ports {
		at := at.at(i)
		c.port(at.to("number"), p.Number)
		if first, twice := seen[p.Number]; twice {
			c.fault(at.to("number"), "Keep one of the two", "port %d is also ports[%d]", p.Number, first)
		}
		seen[p.Number] = i
		if p.Name == "" {
			c.fault(at.to("name"), "Name the port, as in http or tls", "the port has no name")
		} else if !isLabel(p.Name) {
			c.fault(at.to("name"), "Lower-case letters, digits and '-'", "%q is no port name", p.Name)
		}
		if p.TargetPort != 0 {
			c.port(at.to("targetPort"), p.TargetPort)
		}
		if p.Protocol != "" && protocol.Parse(p.Protocol) == protocol.Unsupported {
			c.fault(at.to("protocol"), "One of HTTP, HTTPS, HTTP2, GRPC, GRPC-Web, TCP, TLS, UDP, MONGO, REDIS, MYSQL", "%q is no protocol", p.Protocol)
		}
	}
}

// resolution checks what the way of finding endpoints demands of the rest.
func (c *checker) resolution(spec path, se *networking.ServiceEntry) {
	wild := false
	for _, h := range se.Hosts {
		wild = wild || strings.HasPrefix(h, "*")
	}
	switch se.Resolution {
	case networking.ServiceEntry_NONE:
		if len(se.Endpoints) > 0 {
			c.fault(spec.to("endpoints"), "Set resolution STATIC or DNS", "resolution NONE has no endpoints: requests go where the program sent them")
		}
	case networking.ServiceEntry_STATIC:
		if len(se.Endpoints) == 0 && se.WorkloadSelector == nil {
			c.warn(spec, "Add endpoints or workloadSelector", "resolution STATIC without endpoints: requests to the hosts find nobody")
		}
		for i, e := range se.Endpoints {
			if e.Address != "" && !isIP(e.Address) && !strings.HasPrefix(e.Address, "unix://") {
				c.fault(spec.to("endpoints").at(i).to("address"), "Write an address, or set resolution DNS", "resolution STATIC needs IP addresses, not %q", e.Address)
			}
		}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		if wild && len(se.Endpoints) == 0 {
			c.fault(spec.to("hosts"), "Name hosts, add endpoints, or set resolution NONE or DYNAMIC_DNS", "a wildcard host can't be looked up in DNS")
		}
		if se.Resolution == networking.ServiceEntry_DNS_ROUND_ROBIN && len(se.Endpoints) > 1 {
			c.fault(spec.to("endpoints"), "Set resolution DNS, or keep one", "resolution DNS_ROUND_ROBIN has at most one endpoint")
		}
		for i, e := range se.Endpoints {
			if strings.HasPrefix(e.Address, "unix://") {
				c.fault(spec.to("endpoints").at(i).to("address"), "Set resolution STATIC", "a unix socket can't be looked up in DNS")
			}
		}
	case networking.ServiceEntry_DYNAMIC_DNS:
		if !wild {
			c.fault(spec.to("hosts"), "Use resolution DNS for exact hosts", "resolution DYNAMIC_DNS needs a wildcard host")
		}
		if len(se.Endpoints) > 0 || se.WorkloadSelector != nil {
			c.fault(spec, "Remove endpoints and workloadSelector", "resolution DYNAMIC_DNS finds endpoints itself")
		}
	}
}

// toldApart: requests to several hosts of one ServiceEntry can only be told
// apart by what HTTP and TLS say; plain TCP says nothing.
func (c *checker) toldApart(spec path, se *networking.ServiceEntry) {
	if se.WorkloadSelector != nil && se.Resolution != networking.ServiceEntry_STATIC {
		c.warn(spec.to("workloadSelector"), "Set resolution: STATIC", "workloadSelector has no effect with resolution %s", se.Resolution)
	}
	if se.Resolution == networking.ServiceEntry_NONE || len(se.Hosts) < 2 {
		return
	}
	for i, p := range se.Ports {
		if proto := protocol.Parse(p.Protocol); !proto.IsHTTP() && !proto.IsTLS() {
			c.fault(spec.to("ports").at(i), "Make a ServiceEntry per host, or use HTTP or TLS",
				"requests to several hosts can't be told apart on port %d, which isn't HTTP or TLS", p.Number)
			return
		}
	}
}

func (c *checker) serviceEndpoint(at path, se *networking.ServiceEntry, e *networking.WorkloadEntry) {
	if e == nil {
		c.fault(at, "Remove it", "the endpoint is empty")
		return
	}
	c.workloadEntry(at, e, e.Network == "")
	names := map[string]bool{}
	for _, p := range se.Ports {
		names[p.Name] = true
	}
	for name := range e.Ports {
		if !names[name] {
			c.fault(at.to("ports").key(name), "Name one of the ServiceEntry's ports", "the ServiceEntry has no port %q", name)
		}
	}
	if strings.HasPrefix(e.Address, "unix://") && len(se.Ports) > 1 {
		c.fault(at.to("address"), "Make one ServiceEntry per socket", "a unix socket serves one port, and the ServiceEntry has %d", len(se.Ports))
	}
}

// workloadEntry checks a WorkloadEntry, standing alone or inside another object.
func (c *checker) workloadEntry(at path, w *networking.WorkloadEntry, needsAddress bool) {
	unix, isUnix := strings.CutPrefix(w.Address, "unix://")
	switch {
	case w.Address == "":
		if needsAddress && w.Network == "" {
			c.fault(at.to("address"), "Give an IP address, a host name or unix:///PATH", "the workload has no address")
		}
	case isUnix:
		if !strings.HasPrefix(unix, "/") && !strings.HasPrefix(unix, "@") {
			c.fault(at.to("address"), "Write unix:///PATH", "the path of a unix socket must be absolute: %q", unix)
		}
		if len(w.Ports) > 0 {
			c.fault(at.to("ports"), "Remove them", "a unix socket has no ports")
		}
	case !isIP(w.Address):
		c.host(at.to("address"), w.Address)
	}
	c.labels(at.to("labels"), w.Labels)
	for name, port := range w.Ports {
		if !isLabel(name) {
			c.fault(at.to("ports").key(name), "Lower-case letters, digits and '-'", "%q is no port name", name)
		}
		c.port(at.to("ports").key(name), port)
	}
	if w.Locality != "" {
		if strings.Contains(w.Locality, "*") {
			c.fault(at.to("locality"), "Write REGION/ZONE/SUBZONE", "a workload is at one place, without wildcards")
		} else {
			c.locality(at.to("locality"), w.Locality)
		}
	}
	if w.ServiceAccount != "" && !isSubdomain(w.ServiceAccount) {
		c.fault(at.to("serviceAccount"), "Lower-case letters, digits, '-' and '.'", "%q is no service account", w.ServiceAccount)
	}
}

func (c *checker) workloadGroup(g *networking.WorkloadGroup) {
	spec := field("spec")
	if g.Template == nil {
		c.fault(spec.to("template"), "Add template, which may be {}", "the WorkloadGroup has no template")
	} else {
		c.workloadEntry(spec.to("template"), g.Template, false)
	}
	if m := g.Metadata; m != nil {
		c.labels(spec.to("metadata").to("labels"), m.Labels)
	}
	c.probe(spec.to("probe"), g.Probe)
}

func (c *checker) probe(at path, p *networking.ReadinessProbe) {
	if p == nil {
		return
	}
	for name, n := range map[string]int32{
		"initialDelaySeconds": p.InitialDelaySeconds, "timeoutSeconds": p.TimeoutSeconds, "periodSeconds": p.PeriodSeconds,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	} {
		c.count(at.to(name), n)
	}
	switch m := p.HealthCheckMethod.(type) {
	case nil:
		c.fault(at, "Add httpGet, tcpSocket, grpc or exec", "the probe says nothing about how to probe")
	case *networking.ReadinessProbe_HttpGet:
		c.port(at.to("httpGet").to("port"), m.HttpGet.GetPort())
		if s := m.HttpGet.GetScheme(); s != "" && !strings.EqualFold(s, "http") && !strings.EqualFold(s, "https") {
			c.fault(at.to("httpGet").to("scheme"), "Write HTTP or HTTPS", "%q is no scheme for a probe", s)
		}
	case *networking.ReadinessProbe_TcpSocket:
		c.port(at.to("tcpSocket").to("port"), m.TcpSocket.GetPort())
	case *networking.ReadinessProbe_Grpc:
		c.port(at.to("grpc").to("port"), m.Grpc.GetPort())
	case *networking.ReadinessProbe_Exec:
		if len(m.Exec.GetCommand()) == 0 {
			c.fault(at.to("exec").to("command"), "Give a command", "the probe has no command")
		}
	}
}
