package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/route"
	"lateen.dev/lateen/xds"
)

// gatewayServer is a server of a Gateway on its way to a listener.
type gatewayServer struct {
	*model.Server
	gateway *model.Gateway
	bind    string
	port    uint32 // that is really opened
	route   string // name of its routes, for HTTP
}

// gatewayPort is all servers that share an address.
type gatewayPort struct {
	bind    string
	port    uint32
	plain   bool // HTTP without TLS: one chain, hosts are told apart by routes
	servers []gatewayServer
}

// gatewayListeners makes a gateway's listeners and routes.
func (s *scope) gatewayListeners() (listeners, routes []*xds.Resource) {
	policies := policyInput(s.snap, s.key.namespace, s.labels)
	s.kept.extensions = s.t.filterConfigurations(s.gen, s.key.dialect, policies)
	tables := map[string][]gatewayServer{}
	for _, p := range s.gatewayPorts() {
		in := listener.Gateway{Bind: p.bind, Port: p.port, Policies: policies.Input}
		if p.plain {
			name := p.servers[0].route
			in.Chains = []listener.GatewayChain{{RouteName: name, Protocol: p.servers[0].Protocol}}
			tables[name] = p.servers
		} else {
			in.Chains = s.gatewayChains(p, tables)
		}
		if r := s.gatewayListener(in, policies); r != nil {
			listeners = append(listeners, r)
		}
	}
	for name, servers := range tables {
		routes = append(routes, s.gatewayRoutes(name, servers))
	}
	return listeners, routes
}

// gatewayListener makes a listener, or finds it made.
func (s *scope) gatewayListener(in listener.Gateway, policies policies) *xds.Resource {
	if len(in.Chains) == 0 {
		return nil
	}
	var spec strings.Builder
	fmt.Fprintf(&spec, "gateway|%s_%d|%s", in.Bind, in.Port, policies.in(s.key.dialect))
	for _, c := range in.Chains {
		fmt.Fprintf(&spec, "|%q %q %p %q %d %q", c.SNI, c.ALPN, c.TLS, c.RouteName, c.Protocol, c.Stat)
		if c.TCP != nil {
			fmt.Fprintf(&spec, " %q %v %p %t %p", c.TCP.Stat, c.TCP.Clusters, c.TCP.Pool, c.TCP.HashSource, c.TCP.Tunnel)
		}
	}
	return s.remember(spec.String(), []any{in, policies}, func() *xds.Resource {
		l := s.env.Gateway(in)
		return resource(l.GetName(), l)
	})
}

// gatewayPorts groups the servers of all Gateways that select the proxy by the address that they want. The oldest Gateway
// decides whether a port is plain HTTP; servers that don't fit are left out.
func (s *scope) gatewayPorts() []*gatewayPort {
	mapped := portsOf(s.key.bindPorts)
	byPlace := map[place]*gatewayPort{}
	var out []*gatewayPort
	for _, g := range s.snap.GatewaysFor(s.labels) {
		for _, srv := range g.Servers {
			gs := s.gatewayServer(g, srv, mapped)
			at := place{gs.bind, gs.port}
			p := byPlace[at]
			plain := srv.Protocol.IsHTTP()
			if p == nil {
				p = &gatewayPort{bind: gs.bind, port: gs.port, plain: plain}
				byPlace[at] = p
				out = append(out, p)
			}
			if p.plain == plain {
				p.servers = append(p.servers, gs)
			}
		}
	}
	slices.SortFunc(out, func(a, b *gatewayPort) int { return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.bind, b.bind)) })
	return out
}

func (s *scope) gatewayServer(g *model.Gateway, srv *model.Server, mapped map[uint32]uint32) gatewayServer {
	out := gatewayServer{Server: srv, gateway: g, bind: srv.Bind, port: srv.Port}
	if p, ok := mapped[srv.Port]; ok {
		out.port = p
	}
	if out.bind == "" {
		out.bind = s.env.Wildcard()
		if s.key.bind.IsValid() {
			out.bind = s.key.bind.String()
		}
	}
	switch {
	case srv.Protocol.IsHTTP():
		out.route = "http." + itoa(out.port)
		if srv.Bind != "" {
			out.route += "." + srv.Bind
		}
	case terminatesHTTP(srv):
		out.route = strings.Join([]string{"https", itoa(out.port), srv.PortName, g.Config.Name, g.Config.Namespace}, ".")
	}
	return out
}

// terminatesHTTP reports an HTTPS server whose requests the gateway reads.
func terminatesHTTP(s *model.Server) bool {
	return s.Protocol == model.HTTPS && s.TLS != nil && !passes(s.TLS)
}

func passes(t *networking.ServerTLSSettings) bool {
	m := t.GetMode()
	return m == networking.ServerTLSSettings_PASSTHROUGH || m == networking.ServerTLSSettings_AUTO_PASSTHROUGH
}

// gatewayChains makes one chain for each server, or for each TLS rule of a server that passes TLS on. Of several that
// claim one server name the first has it.
func (s *scope) gatewayChains(p *gatewayPort, tables map[string][]gatewayServer) []listener.GatewayChain {
	var out []listener.GatewayChain
	taken := map[string]bool{}
	add := func(c listener.GatewayChain) {
		c.SNI = slices.DeleteFunc(slices.Clone(c.SNI), func(h string) bool { return taken[h] })
		if len(c.SNI) == 0 && (len(out) > 0 || c.TLS != nil) {
			return
		}
		for _, h := range c.SNI {
			taken[h] = true
		}
		out = append(out, c)
	}
	for _, srv := range p.servers {
		switch {
		case srv.route != "":
			tables[srv.route] = append(tables[srv.route], srv)
			add(listener.GatewayChain{SNI: hostsOf(srv), TLS: srv.TLS, RouteName: srv.route, Protocol: model.HTTP, Stat: srv.Spec.GetName()})
		case srv.TLS == nil:
			if t := s.gatewayTCP(srv); t != nil {
				add(listener.GatewayChain{TCP: t})
			}
		case !passes(srv.TLS):
			if t := s.gatewayTCP(srv); t != nil {
				add(listener.GatewayChain{SNI: hostsOf(srv), TLS: srv.TLS, TCP: t})
			}
		default:
			for _, c := range s.gatewayTLS(srv) {
				add(c)
			}
		}
	}
	return out
}

func hostsOf(s gatewayServer) []string {
	var out []string
	for _, h := range s.Hosts {
		out = append(out, h.Host)
	}
	return out
}

// gatewayTCP is where the first TCP rule for the server leads; nil without one.
func (s *scope) gatewayTCP(srv gatewayServer) *listener.TCP {
	name := srv.gateway.Name()
	for _, v := range s.snap.VirtualServices(s.key.namespace, name) {
		if len(srv.Admits(v)) == 0 {
			continue
		}
		for _, r := range v.Spec.GetTcp() {
			applies := len(r.GetMatch()) == 0 || slices.ContainsFunc(r.GetMatch(), func(m *networking.L4MatchAttributes) bool {
				return s.applies(l4Match{m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetPort()}, name, srv.Server.Port)
			})
			if applies {
				return s.destinations(r.GetRoute(), srv.Server.Port, v)
			}
		}
	}
	return nil
}

// gatewayTLS makes a chain for each TLS rule for the server.
func (s *scope) gatewayTLS(srv gatewayServer) []listener.GatewayChain {
	name := srv.gateway.Name()
	var out []listener.GatewayChain
	for _, v := range s.snap.VirtualServices(s.key.namespace, name) {
		if len(srv.Admits(v)) == 0 {
			continue
		}
		for _, r := range v.Spec.GetTls() {
			for _, m := range r.GetMatch() {
				if !s.applies(l4Match{m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetPort()}, name, srv.Server.Port) {
					continue
				}
				if t := s.destinations(r.GetRoute(), srv.Server.Port, v); t != nil {
					out = append(out, listener.GatewayChain{SNI: m.GetSniHosts(), TCP: t})
				}
			}
		}
	}
	return out
}

// gatewayHost is a virtual host while routes are added to it.
type gatewayHost struct {
	host     string
	port     uint32
	routes   []*routev3.Route
	redirect bool
}

// gatewayRoutes makes one route configuration from the routes that are bound to its servers.
func (s *scope) gatewayRoutes(name string, servers []gatewayServer) *xds.Resource {
	hosts := map[string]*gatewayHost{}
	at := func(host string, srv gatewayServer) *gatewayHost {
		h := hosts[host]
		if h == nil {
			h = &gatewayHost{host: host, port: srv.Server.Port}
			hosts[host] = h
		}
		h.redirect = h.redirect || srv.TLS.GetHttpsRedirect()
		return h
	}
	done := map[string]bool{}
	for _, srv := range servers {
		for _, v := range s.snap.VirtualServices(s.key.namespace, srv.gateway.Name()) {
			routed := s.routesOf(v, srv.gateway.Name(), srv.Server.Port, srv.TLS != nil && srv.route[:5] == "https")
			if routed == nil {
				continue
			}
			for _, host := range srv.Admits(v) {
				h := at(host, srv)
				once := host + "|" + v.Config.String()
				if !done[once] {
					h.routes = append(h.routes, routed.routes...)
				}
				done[once] = true
			}
		}
		if srv.TLS.GetHttpsRedirect() {
			for _, h := range hostsOf(srv) {
				at(h, srv)
			}
		}
	}
	var out []*vhost
	for _, h := range hosts {
		out = append(out, s.gatewayHost(h))
	}
	if len(out) == 0 {
		// Without routes the gateway answers 404 to everything.
		out = []*vhost{pack(&routev3.VirtualHost{
			Name: naming.VirtualHost("blackhole", servers[0].Server.Port), Domains: []string{"*"},
		})}
	}
	slices.SortFunc(out, func(a, b *vhost) int { return strings.Compare(a.name, b.name) })
	if s.key.dialect.VHDS {
		return s.apart(name, false, out)
	}
	return s.joined(name, false, s.t.answers.cut(out))
}

// gatewayHost finishes a virtual host. Routes that match everything go last, so that several routes for one host don't
// shadow each other.
func (s *scope) gatewayHost(h *gatewayHost) *vhost {
	slices.SortStableFunc(h.routes, func(a, b *routev3.Route) int {
		return rank(route.CatchAll(a)) - rank(route.CatchAll(b))
	})
	m := &routev3.VirtualHost{
		Name: naming.VirtualHost(h.host, h.port), Domains: []string{h.host}, Routes: h.routes,
		IncludeRequestAttemptCount: s.attemptCount(),
	}
	if h.redirect {
		m.RequireTls = routev3.VirtualHost_ALL
	}
	return pack(m)
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}
