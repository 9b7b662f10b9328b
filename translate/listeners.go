package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/xds"
)

// listeners makes the outbound listeners and the routes that they name. same says, instead of giving the listeners, that
// they are those of the time before.
func (s *scope) listeners(planned bool) (listeners, routes []*xds.Resource, same bool) {
	if s.gateway() {
		listeners, routes = s.gatewayListeners()
		return listeners, routes, false
	}
	l4 := s.l4Routes()
	same = planned && s.kept.tables != nil && slices.Equal(l4, s.kept.l4)
	if !same {
		listeners, s.kept.tables = s.planListeners()
		s.kept.l4 = l4
	}
	maps.DeleteFunc(s.kept.hosts, func(name string, _ *hostList) bool { return s.kept.tables[name].name == "" })
	for _, n := range s.kept.tables {
		routes = append(routes, s.routeTable(n))
	}
	return listeners, routes, same
}

// planListeners makes the listeners and says which route tables they ask for.
func (s *scope) planListeners() (listeners []*xds.Resource, names map[string]routeTableName) {
	plan := s.planOutbound()
	names = map[string]routeTableName{}
	var always []*xds.Resource
	http := 0
	for _, e := range plan {
		listeners = append(listeners, s.makeListener(e))
		if s.key.onDemand && s.held(e, &http) {
			always = append(always, listeners[len(listeners)-1])
		}
		for _, c := range e.chains {
			if c.RouteName != "" {
				names[c.RouteName] = c.table
			}
		}
	}
	if s.key.interception != model.InterceptNone {
		fallback := s.unknown()
		listeners = append(listeners, s.virtualOutbound(fallback))
		always = append(always, listeners[len(listeners)-1])
	}
	if port := s.httpProxyPort(); port != 0 {
		bind := ""
		if s.key.bind.IsValid() {
			bind = s.key.bind.String()
		}
		listeners = append(listeners, s.remember(fmt.Sprintf("proxy|%s|%d", bind, port), nil, func() *xds.Resource {
			l := s.env.HTTPProxy(bind, port)
			return resource(l.GetName(), l)
		}))
		always = append(always, listeners[len(listeners)-1])
		names[naming.HTTPProxyRoute] = routeTableName{name: naming.HTTPProxyRoute, egress: -1, open: true}
	}
	s.kept.always = always
	return listeners, names
}

// virtualOutbound is the listener that captured connections arrive at. On demand it says that listeners which are not
// there may be asked for.
func (s *scope) virtualOutbound(fallback string) *xds.Resource {
	return s.remember(fmt.Sprintf("virtual|%s|%t", fallback, s.key.onDemand), nil, func() *xds.Resource {
		l := s.env.VirtualOutbound(fallback)
		if s.key.onDemand {
			l.Metadata = pb.SetMetadata(nil, naming.LateenMetadata, onDemandField, pb.String("true"))
		}
		return resource(naming.VirtualOutbound, l)
	})
}

func (s *scope) httpProxyPort() uint32 {
	if s.key.httpProxy != 0 {
		return s.key.httpProxy
	}
	return uint32(s.mesh.Config.GetProxyHttpPort())
}

// listenerKey is what a listener is made of. What digests of pointers stand for is kept alive by the answer.
type listenerKey struct {
	env  listener.Env
	spec string
}

type madeListener struct {
	resource *xds.Resource
	keep     any
}

// remember makes a listener once for each description of it. keep is what the description points to.
func (s *scope) remember(spec string, keep any, make func() *xds.Resource) *xds.Resource {
	return s.t.answers.listeners.get(s.gen.seq, listenerKey{s.env, spec}, func() *madeListener {
		return &madeListener{resource: make(), keep: keep}
	}).resource
}

// makeListener makes the listener of an entry, or finds it made.
func (s *scope) makeListener(e *entry) *xds.Resource {
	fallback := s.unknown()
	if e.open {
		fallback = ""
	}
	var spec strings.Builder
	fmt.Fprintf(&spec, "%s_%d|%t|%s", e.bind, e.port, e.open, fallback)
	for _, c := range e.chains {
		fmt.Fprintf(&spec, "|%q %q %q %d %t %p %s %d", c.SNI, c.CIDRs, c.RouteName, c.Protocol, c.Sniff, c.route, c.list, c.rule.Index)
		if c.TCP != nil {
			fmt.Fprintf(&spec, " %q %v %p %t %p", c.TCP.Stat, c.TCP.Clusters, c.TCP.Pool, c.TCP.HashSource, c.TCP.Tunnel)
		}
	}
	return s.remember(spec.String(), e, func() *xds.Resource {
		in := listener.Outbound{Bind: e.bind, Port: e.port, Open: e.open, Fallback: fallback}
		for _, c := range e.chains {
			c.Metadata = c.describe()
			in.Chains = append(in.Chains, c.Chain)
		}
		return resource(in.Name(), s.env.Outbound(in))
	})
}

func (c outChain) describe() *corev3.Metadata {
	if c.route == nil {
		return nil
	}
	md := pb.SetMetadata(nil, naming.IstioMetadata, "config", pb.String(naming.Config(c.route.Config)))
	return naming.Describe(md, c.rule.Config, c.rule.Origin, fmt.Sprintf("%s[%d]", c.list, c.rule.Index))
}
