package validation

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config/host"
)

const meshGateway = "mesh"

func (c *checker) virtualService(vs *networking.VirtualService) {
	spec := field("spec")
	if len(vs.Hosts) == 0 {
		c.delegate(vs)
	} else {
		c.virtualHosts(vs)
	}
	c.gatewayNames(spec.to("gateways"), vs.Gateways)
	c.exportTo(spec.to("exportTo"), vs.ExportTo)
	if len(vs.Http)+len(vs.Tcp)+len(vs.Tls) == 0 {
		c.fault(spec, "Add http, tls or tcp routes", "the VirtualService has no routes")
	}
	for i, r := range vs.Http {
		c.httpRoute(spec.to("http").at(i), r, len(vs.Hosts) == 0)
	}
	for i, r := range vs.Tls {
		c.tlsRoute(spec.to("tls").at(i), r, vs.Hosts)
	}
	for i, r := range vs.Tcp {
		c.tcpRoute(spec.to("tcp").at(i), r)
	}
}

// delegate checks a VirtualService without hosts, which only serves another.
func (c *checker) delegate(vs *networking.VirtualService) {
	if len(vs.Gateways) > 0 {
		c.fault("spec.gateways", "Add hosts, or remove gateways", "a VirtualService without hosts is a delegate and has no gateways")
	}
	if len(vs.Tls)+len(vs.Tcp) > 0 {
		c.fault("spec", "Add hosts, or remove tls and tcp", "a VirtualService without hosts is a delegate and has only http routes")
	}
}

func (c *checker) virtualHosts(vs *networking.VirtualService) {
	at := field("spec.hosts")
	onMesh := len(vs.Gateways) == 0
	for _, g := range vs.Gateways {
		onMesh = onMesh || g == meshGateway
	}
	unique(c, at, "host", vs.Hosts, func(s string) string { return strings.ToLower(s) })
	for i, h := range vs.Hosts {
		c.wildcardHost(at.at(i), h)
		if h == "*" && onMesh {
			c.fault(at.at(i), "Name hosts, or bind it to gateways only", "the host \"*\" isn't allowed for sidecars (gateway \"mesh\")")
		}
	}
}

func (c *checker) gatewayNames(at path, names []string) {
	for i, n := range names {
		namespace, name, qualified := strings.Cut(n, "/")
		if !qualified {
			name = namespace
		}
		switch {
		case n == "":
			c.fault(at.at(i), "Name a Gateway", "the gateway's name is empty")
		case qualified && !isLabel(namespace), !isSubdomain(name):
			c.fault(at.at(i), "Write NAMESPACE/NAME, NAME, or mesh for all sidecars", "%q is no gateway name", n)
		case strings.Contains(name, ".svc."):
			c.warn(at.at(i), "Write NAMESPACE/NAME", "gateways are named by their object, not by a host: %q", n)
		}
	}
}

func (c *checker) tlsRoute(at path, r *networking.TLSRoute, hosts []string) {
	if len(r.Match) == 0 {
		c.fault(at, "Add a match with sniHosts", "a tls route needs a match")
	}
	for i, m := range r.Match {
		at := at.to("match").at(i)
		if len(m.SniHosts) == 0 {
			c.fault(at, "Add sniHosts", "a tls match needs sniHosts")
		}
		for j, s := range m.SniHosts {
			c.wildcardHost(at.to("sniHosts").at(j), s)
			c.sniWithin(at.to("sniHosts").at(j), s, hosts)
		}
		c.l4Match(at, m.DestinationSubnets, m.Port, m.SourceLabels, m.Gateways)
	}
	c.l4Destinations(at.to("route"), r.Route)
}

func (c *checker) sniWithin(at path, sni string, hosts []string) {
	for _, h := range hosts {
		if host.Name(sni).SubsetOf(host.Name(h)) {
			return
		}
	}
	c.fault(at, "Add it to hosts", "SNI host %q isn't covered by the VirtualService's hosts", sni)
}

func (c *checker) tcpRoute(at path, r *networking.TCPRoute) {
	for i, m := range r.Match {
		at := at.to("match").at(i)
		if m.SourceSubnet != "" {
			c.warn(at.to("sourceSubnet"), "Use an AuthorizationPolicy with ipBlocks", "sourceSubnet has no effect")
		}
		c.l4Match(at, m.DestinationSubnets, m.Port, m.SourceLabels, m.Gateways)
	}
	c.l4Destinations(at.to("route"), r.Route)
}

func (c *checker) l4Match(at path, subnets []string, port uint32, labels map[string]string, gateways []string) {
	for i, s := range subnets {
		if !isIP(s) && !isPrefix(s) {
			c.fault(at.to("destinationSubnets").at(i), "Write 10.0.0.0/8 or 10.1.2.3", "%q is neither an address nor a subnet", s)
		}
	}
	if port != 0 {
		c.port(at.to("port"), port)
	}
	c.labels(at.to("sourceLabels"), labels)
	c.gatewayNames(at.to("gateways"), gateways)
}

func (c *checker) l4Destinations(at path, routes []*networking.RouteDestination) {
	if len(routes) == 0 {
		c.fault(at, "Add a destination under route", "the route leads nowhere")
	}
	weights := make([]int32, len(routes))
	for i, r := range routes {
		weights[i] = r.Weight
		c.destination(at.at(i).to("destination"), r.Destination)
	}
	c.weights(at, weights)
}

// weights are relative; nothing says that they add up to 100.
func (c *checker) weights(at path, weights []int32) {
	var total int64
	for i, w := range weights {
		c.count(at.at(i).to("weight"), w)
		total += int64(max(w, 0))
	}
	if len(weights) > 1 && total == 0 {
		c.fault(at, "Give each destination a weight", "several destinations, but their weights add up to 0")
	}
	if total > 1<<32-1 {
		c.fault(at, "Use smaller weights", "the weights add up to more than %d", uint32(1<<32-1))
	}
}

func (c *checker) destination(at path, d *networking.Destination) {
	if d == nil {
		c.fault(at, "Add destination with a host", "the destination is missing")
		return
	}
	if d.Host == "*" {
		c.fault(at.to("host"), "Name the service", "a destination can't be \"*\"")
	} else {
		c.wildcardHost(at.to("host"), d.Host)
	}
	if d.Subset != "" && !isLabel(d.Subset) {
		c.fault(at.to("subset"), "Lower-case letters, digits and '-'", "%q is no subset name", d.Subset)
	}
	if d.Port != nil {
		c.port(at.to("port").to("number"), d.Port.Number)
	}
}
