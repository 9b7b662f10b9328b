package translate

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/route"
)

// routeIndex finds the route that claims a host.
type routeIndex struct {
	exact map[string]*model.VirtualService
	wild  []wildRoute // the most specific first
	// all are the routes with HTTP rules, in the order in which they compete.
	all []*model.VirtualService
}

type wildRoute struct {
	host  string
	route *model.VirtualService
}

// routeIndex indexes the routes of a table's egress listener. Of two that claim one host, the first has it.
func (s *scope) routeIndex(n routeTableName) *routeIndex {
	out := &routeIndex{exact: map[string]*model.VirtualService{}}
	egresses := s.egresses(n.egress)
	for _, e := range egresses {
		for _, v := range e.VirtualServices {
			if len(v.Spec.GetHttp()) > 0 && (len(egresses) == 1 || !slices.Contains(out.all, v)) {
				out.add(v)
			}
		}
	}
	out.sort()
	return out
}

func (x *routeIndex) add(v *model.VirtualService) {
	x.all = append(x.all, v)
	for _, h := range v.Hosts {
		switch {
		case model.IsWildcard(h):
			if !slices.ContainsFunc(x.wild, func(w wildRoute) bool { return w.host == h }) {
				x.wild = append(x.wild, wildRoute{h, v})
			}
		case x.exact[h] == nil:
			x.exact[h] = v
		}
	}
}

// changedSince yields the hosts, no wildcards, that another route claims than did before, or none.
func (x *routeIndex) changedSince(before *routeIndex) iter.Seq[string] {
	return func(yield func(string) bool) {
		for h, v := range x.exact {
			if before.exact[h] != v && !yield(h) {
				return
			}
		}
		for h := range before.exact {
			if x.exact[h] == nil && !yield(h) {
				return
			}
		}
	}
}

func (x *routeIndex) sort() {
	slices.SortStableFunc(x.wild, func(a, b wildRoute) int { return model.CompareHosts(a.host, b.host) })
}

func (x *routeIndex) routeFor(host string) *model.VirtualService {
	if v := x.exact[host]; v != nil {
		return v
	}
	for _, w := range x.wild {
		if model.HostSubsetOf(host, w.host) {
			return w.route
		}
	}
	return nil
}

// foreignHosts are virtual hosts of routes for names that no service declares. They are served on the ports of the services
// that the route claims besides, or on port 80.
func (s *scope) foreignHosts(n routeTableName, index *routeIndex) []*vhost {
	var out []*vhost
	for _, v := range index.all {
		var foreign []string
		onPort, anyService := false, false
		for _, h := range v.Hosts {
			claimed := s.claimed(h)
			if len(claimed) == 0 {
				foreign = append(foreign, h)
			}
			for _, svc := range claimed {
				anyService = true
				p, _ := svc.Port(n.port)
				onPort = onPort || n.port == 0 || p != nil && listener.KindOf(p.Protocol) != listener.KindTCP
			}
		}
		if len(foreign) == 0 || !onPort && (anyService || n.port != httpPort && n.port != 0) {
			continue
		}
		port := n.port
		if port == 0 {
			port = httpPort
		}
		routed := s.routesOf(v, model.MeshGateway, port, false)
		if routed == nil {
			continue
		}
		for _, h := range foreign {
			out = append(out, s.foreignHost(h, port, n.port == 0, routed))
		}
	}
	return out
}

// claimed lists the services in scope that a route's host stands for.
func (s *scope) claimed(host string) []*model.Service {
	if !model.IsWildcard(host) {
		if svc := s.world.Service(host); svc != nil {
			return []*model.Service{svc}
		}
		return nil
	}
	var out []*model.Service
	for _, svc := range s.world.Services {
		if model.HostSubsetOf(svc.Hostname, host) {
			out = append(out, svc)
		}
	}
	return out
}

func (s *scope) foreignHost(host string, port uint32, withPort bool, routed *routedHost) *vhost {
	key := vhostKey{fromRule: routed, mode: host, port: port, ports: withPort, mesh: s.mesh}
	return s.t.answers.vhosts.get(s.gen.seq, key, func() *vhost {
		m := &routev3.VirtualHost{
			Name: naming.VirtualHost(host, port), Domains: []string{host}, Routes: routed.routes,
			IncludeRequestAttemptCount: s.attemptCount(),
		}
		if withPort && host != "*" {
			m.Domains = append(m.Domains, naming.VirtualHost(host, port))
		}
		return pack(m)
	})
}

// routedKey is what the routes of a VirtualService are made of. refs describes what its destinations were resolved to.
type routedKey struct {
	route     *model.VirtualService
	mesh      *model.Mesh
	gateway   string
	namespace string
	labels    string
	port      uint32
	tls       bool
	refs      string
}

// routedHost is the routes of a VirtualService for one kind of client, or nil routes if no rule is for it.
type routedHost struct {
	routes []*routev3.Route
	refs   []any // keeps alive what refs points to
}

// routesOf makes the routes of a VirtualService for requests to the port; nil if no rule is for this proxy.
func (s *scope) routesOf(v *model.VirtualService, gateway string, port uint32, tls bool) *routedHost {
	resolve := resolver{s: s, port: port, known: map[*networking.Destination]route.Target{}}
	resolve.all(v.Spec.GetHttp())
	key := routedKey{route: v, mesh: s.mesh, gateway: gateway, port: port, tls: tls, refs: resolve.refs.String()}
	if resolve.namespaces {
		key.namespace = s.key.namespace
	}
	if resolve.labels {
		key.labels = s.key.labels
	}
	out := s.t.answers.routed.get(s.gen.seq, key, func() *routedHost {
		return &routedHost{refs: resolve.keep, routes: route.HTTP(v.Spec.GetHttp(), route.Context{
			Gateway: gateway, Labels: s.labels, Namespace: s.key.namespace, Port: port, TLS: tls, Name: v.Config.Name,
			Resolve: resolve.target, DefaultRetry: s.mesh.Config.GetDefaultHttpRetryPolicy(), Describe: describe(v),
		})}
	})
	if len(out.routes) == 0 {
		return nil
	}
	return out
}

// resolver finds the cluster of each destination of a route, and writes down what it found as a part of the memo's key.
type resolver struct {
	s     *scope
	port  uint32
	known map[*networking.Destination]route.Target
	refs  strings.Builder
	keep  []any
	// namespaces and labels say that rules tell clients apart by them.
	namespaces, labels bool
}

func (r *resolver) all(rules []*networking.HTTPRoute) {
	for _, rule := range rules {
		for _, m := range rule.GetMatch() {
			r.namespaces = r.namespaces || m.GetSourceNamespace() != ""
			r.labels = r.labels || len(m.GetSourceLabels()) > 0
		}
		for _, d := range rule.GetRoute() {
			r.add(d.GetDestination())
		}
		if rule.GetMirror() != nil {
			r.add(rule.GetMirror())
		}
		for _, m := range rule.GetMirrors() {
			r.add(m.GetDestination())
		}
	}
}

func (r *resolver) add(d *networking.Destination) {
	svc, host, port := r.s.target(d, r.port)
	t := route.Target{Cluster: naming.Outbound(port, d.GetSubset(), host), Host: host, Port: port}
	if svc != nil {
		t.Hash = r.s.rule(r.s.whole(svc)).Policy(d.GetSubset(), port).GetLoadBalancer().GetConsistentHash()
		r.keep = append(r.keep, t.Hash)
	}
	r.known[d] = t
	fmt.Fprintf(&r.refs, "%s %p,", t.Cluster, t.Hash)
}

func (r *resolver) target(d *networking.Destination) route.Target { return r.known[d] }

// unmarshal reads what pack wrote.
func unmarshal(body []byte, m proto.Message) {
	if err := proto.Unmarshal(body, m); err != nil {
		panic(fmt.Sprintf("unmarshal what was marshalled here: %v", err))
	}
}
