package validation

import (
	"strconv"
	"strings"

	"lateen.dev/lateen/config"
)

// exportToAnnotation is where a Service says who may see it.
const exportToAnnotation = "networking.istio.io/exportTo"

func (c *checker) service(s *config.ServiceSpec) {
	spec := field("spec")
	external := s.Type == "ExternalName"
	switch s.Type {
	case "", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName":
	default:
		c.fault(spec.to("type"), "ClusterIP, NodePort, LoadBalancer or ExternalName", "%q is no type of service", s.Type)
	}
	if external && s.ExternalName == "" {
		c.fault(spec.to("externalName"), "Name the host", "a service of type ExternalName needs externalName")
	}
	if s.ExternalName != "" {
		c.host(spec.to("externalName"), s.ExternalName)
	}
	if len(s.Ports) == 0 && !external && !s.Headless() {
		c.fault(spec.to("ports"), "Add ports", "the service has no ports")
	}
	if !isLabel(c.object.Name) && isSubdomain(c.object.Name) {
		c.fault("metadata.name", "Remove the dots", "a service's name is one DNS label, which %q isn't", c.object.Name)
	}
	c.selector(spec.to("selector"), s.Selector)
	c.servicePorts(spec.to("ports"), s.Ports)
	for i, a := range s.ClusterIPs {
		if !isIP(a) && a != "None" {
			c.fault(spec.to("clusterIPs").at(i), "Write an IP address or None", "%q is no IP address", a)
		}
	}
	if a := s.ClusterIP; a != "" && !isIP(a) && a != "None" {
		c.fault(spec.to("clusterIP"), "Write an IP address or None", "%q is no IP address", a)
	}
	if v, ok := c.object.Annotations[exportToAnnotation]; ok {
		var values []string
		for s := range strings.SplitSeq(v, ",") {
			values = append(values, strings.TrimSpace(s))
		}
		c.exportTo(path("metadata.annotations").key(exportToAnnotation), values)
	}
}

func (c *checker) servicePorts(at path, ports []config.ServicePort) {
	if len(ports) > 1 {
		for i, p := range ports {
			if p.Name == "" {
				c.fault(at.at(i).to("name"), "Name it, as in http or tcp-db", "a port needs a name when there are several")
			}
		}
	}
	unique(c, at, "port name", ports, func(p config.ServicePort) string { return p.Name })
	type number struct {
		transport string
		port      int32
	}
	seen := map[number]bool{}
	for i, p := range ports {
		at := at.at(i)
		c.portNumber(at.to("port"), p.Port)
		if p.Name != "" && !isLabel(p.Name) {
			c.fault(at.to("name"), "Lower-case letters, digits and '-'", "%q is no port name", p.Name)
		}
		transport := p.Protocol
		switch transport {
		case "":
			transport = "TCP"
		case "TCP", "UDP", "SCTP":
		default:
			c.fault(at.to("protocol"), "Write TCP or UDP here, and HTTP and the like into appProtocol or the port's name", "%q is no transport protocol", p.Protocol)
		}
		if seen[number{transport, p.Port}] {
			c.fault(at.to("port"), "Keep one of the two", "port %d is given twice", p.Port)
		}
		seen[number{transport, p.Port}] = true
		if t := p.TargetPort; t.Name == "" && t.Number != 0 {
			c.portNumber(at.to("targetPort"), t.Number)
		} else if t.Name != "" && !isLabel(t.Name) {
			c.fault(at.to("targetPort"), "A number, or a port's name", "%q is no port name", t.Name)
		}
	}
}

func (c *checker) portNumber(at path, n int32) {
	if n < 0 {
		c.fault(at, "Ports are 1 to 65535", "%s is no port number", strconv.Itoa(int(n)))
		return
	}
	c.port(at, uint32(n))
}
