package translate

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/route"
	"lateen.dev/lateen/translate/internal/stencil"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// maxDirectResponse is how long a direct response may be; Envoy's own limit of 4 KiB is too small for a page.
const maxDirectResponse = 1 << 20

// httpPort is the port on which routes for hosts that nobody declared are served.
const httpPort = 80

// routeTableName names one route configuration and says what belongs into it.
type routeTableName struct {
	name   string
	egress int    // index of the egress listener; -1 for all
	port   uint32 // of the services; 0 for all ports, told apart by the host's port
	only   string // the one service that the listener's address means
	open   bool   // the client dialled the proxy itself, so there is no original destination
}

// routeTable makes the route configuration of that name.
func (s *scope) routeTable(n routeTableName) *xds.Resource {
	list := s.hosts(n)
	if s.key.dialect.VHDS {
		return s.apart(n.name, n.port == 0, s.withRest(n, list.hosts))
	}
	if list.runs == nil {
		list.runs = s.t.answers.cut(list.hosts)
	}
	runs := list.runs
	if n.only == "" {
		runs = append(slices.Clip(runs), s.t.answers.cut([]*vhost{s.elsewhere(n.open)})...)
	}
	return s.joined(n.name, n.port == 0, runs)
}

// joined joins virtual hosts that are marshalled already into one resource, or finds it joined.
func (s *scope) joined(name string, ports bool, runs []*run) *xds.Resource {
	key := routesKey{name: name, ports: ports, digest: digestOf(runs)}
	if r := s.t.answers.routes.find(key, runs); r != nil {
		return r
	}
	pieces := make([]*xds.Piece, len(runs))
	for i, r := range runs {
		pieces[i] = r.fields
	}
	return s.t.answers.routes.put(key, runs, xds.Join(name, xds.RouteType, pb.Marshal(tableHead(name, ports)), pieces))
}

// tableHead is a route configuration without its virtual hosts.
func tableHead(name string, ports bool) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:                           name,
		ValidateClusters:               pb.Bool(false),
		MaxDirectResponseBodySizeBytes: pb.UInt32(maxDirectResponse),
		IgnorePortInHostMatching:       !ports,
	}
}

func (s *scope) egresses(i int) []world.EgressScope {
	if i < 0 {
		return s.world.Egress
	}
	return s.world.Egress[i : i+1]
}

// withDomains is a virtual host that lost some of its domains to another one.
func (s *scope) withDomains(v *vhost, domains []string) *vhost {
	key := vhostKey{host: v, domains: strings.Join(domains, " ")}
	return s.t.answers.vhosts.get(s.gen.seq, key, func() *vhost {
		m := &routev3.VirtualHost{}
		unmarshal(v.body(), m)
		m.Domains = domains
		return pack(m)
	})
}

// vhostKey is what a virtual host is made of where no route is involved.
type vhostKey struct {
	service  *model.Service
	mesh     *model.Mesh
	port     uint32
	local    bool // the proxy stands in the service's namespace, which short names depend on
	dns      bool
	ports    bool // hosts are written with their port
	only     bool // the listener's address already chose the service
	hash     *networking.LoadBalancerSettings_ConsistentHashLB
	ipv6     bool
	mode     string // of the host for everything else
	host     *vhost // cut to domains
	domains  string
	fromRule *routedHost
}

// serviceHost is the virtual host of one port of a service: with the rules of its route, or to its cluster.
func (s *scope) serviceHost(n routeTableName, index *routeIndex, svc *model.Service, port *model.Port) *vhost {
	return s.routedService(n, index.routeFor(svc.Hostname), svc, port)
}

func (s *scope) routedService(n routeTableName, v *model.VirtualService, svc *model.Service, port *model.Port) *vhost {
	whole := s.whole(svc)
	key := vhostKey{
		service: whole, mesh: s.mesh, port: port.Number, dns: s.key.dns, ports: n.port == 0, only: n.only != "", ipv6: s.key.ipv6,
	}
	_, namespace, ok := fqdnNamespace(svc.Hostname, s.mesh.Domain)
	key.local = ok && namespace == s.key.namespace
	listen := n.port
	if listen == 0 {
		listen = port.Number
	}
	if v != nil {
		key.fromRule = s.routesOf(v, model.MeshGateway, listen, false)
	}
	if key.fromRule == nil {
		key.hash = s.rule(whole).Policy("", port.Number).GetLoadBalancer().GetConsistentHash()
	}
	return s.t.answers.vhosts.get(s.gen.seq, key, func() *vhost {
		domains := []string{"*"}
		if !key.only {
			domains = s.domains(whole, port.Number, key.ports)
		}
		if key.fromRule == nil {
			return s.unrouted(svc.Hostname, port.Number, domains, key.hash)
		}
		return pack(&routev3.VirtualHost{
			Name: naming.VirtualHost(svc.Hostname, port.Number), Domains: domains, Routes: key.fromRule.routes,
			IncludeRequestAttemptCount: s.attemptCount(),
		})
	})
}

// unroutedShape is what the virtual hosts of services without a route have in common.
type unroutedShape struct {
	mesh *model.Mesh
	port uint32
}

// Holes of such a virtual host's Stencil. Its domains are the list.
const (
	holeVirtualHost = iota
	holeHost
)

// unrouted is the virtual host that leads to a service's cluster.
func (s *scope) unrouted(host string, port uint32, domains []string, hash *networking.LoadBalancerSettings_ConsistentHashLB) *vhost {
	st := s.t.answers.unrouted.get(s.gen.seq, unroutedShape{s.mesh, port}, func() *stencil.Stencil {
		return stencil.New(s.toCluster(stencil.Hole(holeVirtualHost), stencil.Hole(holeHost), port, []string{stencil.Each}, nil))
	})
	if hash != nil || st == nil {
		return pack(s.toCluster(naming.VirtualHost(host, port), host, port, domains, hash))
	}
	v := stencil.Values{Each: domains}
	v.Text[holeVirtualHost], v.Text[holeHost] = naming.VirtualHost(host, port), host
	scratch, _ := s.t.scratch.Get().(*[]byte)
	defer s.t.scratch.Put(scratch)
	*scratch = st.Append((*scratch)[:0], &v)
	return packBytes(v.Text[holeVirtualHost], domains, *scratch)
}

func (s *scope) toCluster(name, host string, port uint32, domains []string, hash *networking.LoadBalancerSettings_ConsistentHashLB) *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name: name, Domains: domains, IncludeRequestAttemptCount: s.attemptCount(),
		Routes: []*routev3.Route{route.Default(route.Target{
			Cluster: naming.Outbound(port, "", host), Host: host, Port: port, Hash: hash,
		}, s.mesh.Config.GetDefaultHttpRetryPolicy())},
	}
}

func (s *scope) attemptCount() bool {
	return !s.mesh.Config.GetDefaultConfig().GetProxyHeaders().GetAttemptCount().GetDisabled().GetValue()
}

// domains are the names under which the workload's requests may ask for a service.
func (s *scope) domains(svc *model.Service, port uint32, withPort bool) []string {
	var out []string
	add := func(host string) {
		bare := host
		if strings.Contains(host, ":") {
			bare = "[" + host + "]"
		}
		if !withPort || port == httpPort {
			out = append(out, bare)
		}
		if withPort {
			out = append(out, naming.VirtualHost(host, port))
		}
	}
	names := []string{svc.Hostname}
	for _, a := range svc.Aliases {
		names = append(names, a.Hostname)
	}
	for _, host := range names {
		for _, h := range s.shortNames(host) {
			add(h)
			if svc.Headless {
				add("*." + h) // endpoints have names of their own
			}
		}
		if !strings.HasPrefix(host, "*") && !isIP(host) {
			add(host + ".") // the absolute name, which some clients keep in Host; as Istio since 1.27
		}
	}
	for _, a := range s.addresses(svc) {
		if isIP(a) {
			add(a)
		}
	}
	return out
}

// shortNames are a hostname and what DNS search makes of it in the proxy's namespace: reviews, reviews.default and
// reviews.default.svc for reviews.default.svc.cluster.local.
func (s *scope) shortNames(host string) []string {
	out := []string{host}
	name, namespace, ok := fqdnNamespace(host, s.mesh.Domain)
	if !ok {
		return out
	}
	if namespace == s.key.namespace {
		out = append(out, name)
	}
	return append(out, name+"."+namespace+".svc", name+"."+namespace)
}

// elsewhere is the virtual host for requests to hosts that nobody declared. On a listener that clients dial themselves the
// original destination is the listener, so passing on would never end.
func (s *scope) elsewhere(open bool) *vhost {
	key := vhostKey{mode: s.unknown(), mesh: s.mesh}
	if open && key.mode == naming.PassthroughCluster {
		key.mode = naming.BlackHoleCluster
	}
	return s.t.answers.vhosts.get(s.gen.seq, key, func() *vhost {
		m := &routev3.VirtualHost{Domains: []string{"*"}, IncludeRequestAttemptCount: s.attemptCount()}
		r := &routev3.Route{Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}}
		m.Name, m.Routes = naming.AllowAny, []*routev3.Route{r}
		if key.mode == naming.BlackHoleCluster {
			m.Name = naming.BlockAll
			r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}}
		} else {
			action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: key.mode}}
			route.Timeout(action, nil)
			r.Action = &routev3.Route_Route{Route: action}
		}
		r.Name = m.Name
		return pack(m)
	})
}

// describe gives the metadata of a route's rules.
func describe(v *model.VirtualService) func(rule, match int) *corev3.Metadata {
	return func(rule, match int) *corev3.Metadata {
		md := pb.SetMetadata(nil, naming.IstioMetadata, "config", pb.String(naming.Config(v.Config)))
		if rule >= len(v.HTTP) {
			return md
		}
		from := v.HTTP[rule]
		ref := fmt.Sprintf("http[%d]", from.Index)
		if match >= 0 {
			ref += fmt.Sprintf(".match[%d]", match)
		}
		return naming.Describe(md, from.Config, from.Origin, ref)
	}
}
