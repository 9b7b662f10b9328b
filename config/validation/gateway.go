package validation

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/protocol"
)

func (c *checker) gateway(g *networking.Gateway) {
	spec := field("spec")
	if !isLabel(c.object.Name) && isSubdomain(c.object.Name) {
		c.fault("metadata.name", "Remove the dots", "a Gateway's name is one DNS label, which %q isn't", c.object.Name)
	}
	c.selector(spec.to("selector"), g.Selector)
	if len(g.Servers) == 0 {
		c.fault(spec.to("servers"), "Add a server with port and hosts", "the gateway has no servers")
	}
	names := map[string]int{}
	for i, s := range g.Servers {
		at := spec.to("servers").at(i)
		c.server(at, s)
		if name := s.GetPort().GetName(); name != "" {
			if first, twice := names[name]; twice {
				c.fault(at.to("port").to("name"), "Give each server's port its own name", "port name %q is also used by servers[%d]", name, first)
				continue
			}
			names[name] = i
		}
	}
}

func (c *checker) server(at path, s *networking.Server) {
	if s.Bind != "" && !isIP(s.Bind) && !strings.HasPrefix(s.Bind, "unix://") {
		c.fault(at.to("bind"), "Write an IP address", "%q is nothing to listen on", s.Bind)
	}
	if len(s.Hosts) == 0 {
		c.fault(at.to("hosts"), "Add hosts; \"*\" means all", "the server has no hosts")
	}
	for i, h := range s.Hosts {
		c.namespacedHost(at.to("hosts").at(i), h)
	}
	if s.Port == nil {
		c.fault(at.to("port"), "Add port with number, name and protocol", "the server has no port")
		return
	}
	p := c.serverPort(at.to("port"), s)
	if s.DefaultEndpoint != "" {
		c.warn(at.to("defaultEndpoint"), "Remove it", "defaultEndpoint has no effect on a gateway")
	}
	c.serverTLS(at.to("tls"), s, p)
}

// serverPort checks number, name and protocol, and returns the protocol.
func (c *checker) serverPort(at path, s *networking.Server) protocol.Protocol {
	if !strings.HasPrefix(s.Bind, "unix://") || s.Port.Number != 0 {
		c.port(at.to("number"), s.Port.Number)
	}
	if s.Port.Name == "" {
		c.fault(at.to("name"), "Name the port, as in http or tcp-db", "the port has no name")
	}
	p := protocol.Parse(s.Port.Protocol)
	if p == protocol.Unsupported {
		hint := "One of HTTP, HTTPS, HTTP2, GRPC, GRPC-Web, TCP, TLS, MONGO, REDIS, MYSQL"
		if s.Port.Protocol == "" {
			c.fault(at.to("protocol"), hint, "the port has no protocol")
		} else {
			c.fault(at.to("protocol"), hint, "%q is no protocol", s.Port.Protocol)
		}
	}
	return p
}

func (c *checker) namespacedHost(at path, s string) {
	ns, h := host.SplitNamespaced(s)
	if strings.Contains(s, "/") && ns != "." && ns != "*" && !isLabel(ns) {
		c.fault(at, "Write NAMESPACE/HOST, ./HOST or */HOST", "%q is no namespace", ns)
	}
	c.wildcardHost(at, string(h))
}

func (c *checker) serverTLS(at path, s *networking.Server, p protocol.Protocol) {
	t := s.Tls
	if t == nil {
		if p.IsTLS() {
			c.fault(at, "Add tls with a mode and certificates", "a server of protocol %s needs tls", p)
		}
		return
	}
	plain := t.Mode == networking.ServerTLSSettings_PASSTHROUGH && t.ServerCertificate == "" && t.PrivateKey == "" && t.CaCertificates == ""
	if p.IsHTTP() && plain && !t.HttpsRedirect {
		c.warn(at, "Use protocol HTTPS, or remove tls", "tls has no meaning for a server of protocol %s", p)
		return
	}
	if !p.IsTLS() && !t.HttpsRedirect && p != protocol.Unsupported {
		c.fault(at, "Use protocol HTTPS or TLS, or remove tls", "a server of protocol %s can't have tls", p)
		return
	}
	if t.HttpsRedirect && !p.IsHTTP() && p != protocol.Unsupported {
		c.fault(at.to("httpsRedirect"), "Put it on the server of protocol HTTP", "a server of protocol %s can't redirect to HTTPS", p)
	}
	if p.IsTLS() {
		c.serverCertificates(at, t)
	}
	if v := t.MinProtocolVersion; v != 0 && t.MaxProtocolVersion != 0 && v > t.MaxProtocolVersion {
		c.fault(at.to("minProtocolVersion"), "", "the lowest version %s is above the highest %s", v, t.MaxProtocolVersion)
	}
}

func (c *checker) serverCertificates(at path, t *networking.ServerTLSSettings) {
	own := t.ServerCertificate != "" || t.PrivateKey != ""
	named := t.CredentialName != "" || len(t.CredentialNames) > 0 || len(t.TlsCertificates) > 0
	switch t.Mode {
	case networking.ServerTLSSettings_PASSTHROUGH, networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		if own || named || t.CaCertificates != "" {
			c.warn(at, "Remove the certificates, or use mode SIMPLE", "mode %s passes TLS on unread, so the certificates aren't used", t.Mode)
		}
		return
	case networking.ServerTLSSettings_ISTIO_MUTUAL:
		if own || named || t.CaCertificates != "" {
			c.fault(at, "Remove the certificates, or use mode MUTUAL", "mode ISTIO_MUTUAL uses the mesh's own certificates")
		}
		return
	}
	if named {
		if own {
			c.fault(at.to("serverCertificate"), "Keep one", "certificates by name and by file exclude each other")
		}
		return
	}
	if t.ServerCertificate == "" {
		c.fault(at.to("serverCertificate"), "Name a file, or use credentialName", "mode %s needs a server certificate", t.Mode)
	}
	if t.PrivateKey == "" {
		c.fault(at.to("privateKey"), "Name a file, or use credentialName", "mode %s needs a private key", t.Mode)
	}
	if (t.Mode == networking.ServerTLSSettings_MUTUAL || t.Mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL) && t.CaCertificates == "" {
		c.fault(at.to("caCertificates"), "Name a file, or use credentialName", "mode %s needs CA certificates to check clients with", t.Mode)
	}
}
