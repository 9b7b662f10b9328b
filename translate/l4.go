package translate

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/naming"
)

// l4Chains makes the chains of a port whose connections are forwarded as bytes: those that routes make of it by server name
// or address, and the one to the service itself.
func (s *scope) l4Chains(o offer) []outChain {
	routes := s.routesFor(o)
	if o.protocol.IsTLS() {
		return s.tlsChains(o, routes)
	}
	return s.tcpChains(o, routes)
}

// routesFor lists the routes with TLS or TCP rules that name the service, in the order in which they compete.
func (s *scope) routesFor(o offer) []*model.VirtualService {
	var out []*model.VirtualService
	for _, v := range s.world.Egress[o.egress].VirtualServices {
		if len(v.Spec.GetTls())+len(v.Spec.GetTcp()) == 0 {
			continue
		}
		if slices.ContainsFunc(v.Hosts, func(h string) bool { return model.HostMatches(h, o.service.Hostname) }) {
			out = append(out, v)
		}
	}
	return out
}

func (s *scope) tlsChains(o offer, routes []*model.VirtualService) []outChain {
	var out []outChain
	for _, v := range routes {
		for i, r := range v.Spec.GetTls() {
			for _, m := range r.GetMatch() {
				if !s.applies(l4Match{m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetPort()}, model.MeshGateway, o.port) {
					continue
				}
				c := outChain{
					Chain: listener.Chain{SNI: m.GetSniHosts(), CIDRs: o.cidrs, TCP: s.destinations(r.GetRoute(), o.port, v)},
					route: v, rule: v.TLS[i], list: "tls",
				}
				if len(m.GetDestinationSubnets()) > 0 && o.port > 0 {
					c.CIDRs = m.GetDestinationSubnets()
				}
				if c.TCP != nil && !slices.ContainsFunc(out, func(h outChain) bool { return sameMatch(h, c) }) {
					out = append(out, c)
				}
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	own := outChain{Chain: listener.Chain{CIDRs: o.cidrs, TCP: s.toService(o)}}
	if o.bind == anyIPv4 || o.bind == anyIPv6 {
		// Only the server name tells the services apart that share the wildcard.
		own.SNI = []string{o.service.Hostname}
		for _, a := range o.service.Aliases {
			own.SNI = append(own.SNI, a.Hostname)
		}
	}
	return []outChain{own}
}

func (s *scope) tcpChains(o offer, routes []*model.VirtualService) []outChain {
	var out []outChain
	for _, v := range routes {
		for i, r := range v.Spec.GetTcp() {
			chain := outChain{Chain: listener.Chain{CIDRs: o.cidrs, TCP: s.destinations(r.GetRoute(), o.port, v)}, route: v, rule: v.TCP[i], list: "tcp"}
			if chain.TCP == nil {
				continue
			}
			final, subnets := s.tcpMatches(r.GetMatch(), o.port)
			switch {
			case final:
				return append(out, chain)
			case len(subnets) > 0:
				chain.CIDRs = subnets
				out = append(out, chain)
			}
		}
	}
	own := outChain{Chain: listener.Chain{CIDRs: o.cidrs, TCP: s.toService(o)}}
	if slices.ContainsFunc(out, func(h outChain) bool { return sameMatch(h, own) }) {
		return out
	}
	return append(out, own)
}

// tcpMatches reads the matches of a TCP rule: final if one of them takes every address, else the subnets that are taken.
func (s *scope) tcpMatches(matches []*networking.L4MatchAttributes, port uint32) (final bool, subnets []string) {
	if len(matches) == 0 {
		return true, nil
	}
	for _, m := range matches {
		if !s.applies(l4Match{m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetPort()}, model.MeshGateway, port) {
			continue
		}
		if len(m.GetDestinationSubnets()) == 0 || port == 0 {
			return true, nil
		}
		subnets = append(subnets, m.GetDestinationSubnets()...)
	}
	return false, subnets
}

// l4Match is what TLS and TCP matches have in common and what is known when listeners are made.
type l4Match struct {
	gateways  []string
	labels    map[string]string
	namespace string
	port      uint32
}

func (s *scope) applies(m l4Match, gateway string, port uint32) bool {
	return (len(m.gateways) == 0 || slices.Contains(m.gateways, gateway)) &&
		(m.port == 0 || m.port == port) &&
		(m.namespace == "" || m.namespace == s.key.namespace) &&
		model.SubsetOf(m.labels, s.labels)
}

// destinations is where the bytes of a rule go; nil if it names nobody.
func (s *scope) destinations(routes []*networking.RouteDestination, port uint32, v *model.VirtualService) *listener.TCP {
	if len(routes) == 0 {
		return nil
	}
	out := &listener.TCP{Side: s.side(), Stat: v.Config.Name + "." + v.Config.Namespace}
	for i, r := range routes {
		svc, host, p := s.target(r.GetDestination(), port)
		name := naming.Outbound(p, r.GetDestination().GetSubset(), host)
		if len(routes) > 1 && r.GetWeight() == 0 {
			continue
		}
		out.Clusters = append(out.Clusters, listener.Weighted{Cluster: name, Weight: uint32(max(r.GetWeight(), 0))})
		if i == 0 && svc != nil {
			s.limits(out, svc, r.GetDestination().GetSubset(), p)
		}
	}
	switch len(out.Clusters) {
	case 0:
		return nil
	case 1:
		out.Stat = out.Clusters[0].Cluster
	}
	return out
}

// toService sends the bytes to the service itself.
func (s *scope) toService(o offer) *listener.TCP {
	port := o.port
	if p, _ := o.service.Port(port); p == nil && len(o.service.Ports) == 1 {
		port = o.service.Ports[0].Number // a Sidecar may open another port for it
	}
	name := naming.Outbound(port, "", o.service.Hostname)
	out := &listener.TCP{Side: s.side(), Stat: name, Clusters: listener.To(name)}
	s.limits(out, o.service, "", port)
	return out
}

// limits applies what the destination's rule says of connections.
func (s *scope) limits(out *listener.TCP, svc *model.Service, subset string, port uint32) {
	policy := s.rule(s.whole(svc)).Policy(subset, port)
	out.Pool = policy.GetConnectionPool().GetTcp()
	out.HashSource = policy.GetLoadBalancer().GetConsistentHash().GetUseSourceIp()
	out.Tunnel = policy.GetTunnel()
}

func (s *scope) side() listener.Direction {
	if s.gateway() {
		return listener.GatewaySide
	}
	return listener.OutboundSide
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func fqdnNamespace(host, domain string) (name, namespace string, ok bool) {
	rest, ok := strings.CutSuffix(host, ".svc."+domain)
	if !ok {
		return "", "", false
	}
	name, namespace, ok = strings.Cut(rest, ".")
	return name, namespace, ok && name != "*"
}
