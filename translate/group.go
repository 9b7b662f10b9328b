package translate

import (
	"slices"
	"sync"
	"sync/atomic"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// group is the outbound side that many Views have in common. It follows the Snapshots: what a change does not touch is
// kept as it is.
type group struct {
	key groupKey
	// last is when it was last asked for, gone says that it is forgotten.
	last atomic.Uint64
	gone atomic.Bool

	mu      sync.Mutex
	version uint64 // of the Snapshot that sets are right for; 0 before the first
	sets    outbound
	// rules remembers what was found for services, as long as no destination rule changes.
	rules map[*model.Service]*model.DestinationRule
	scope *world.Scope
	kept  kept
	// demand is what is made of sets for sidecars on demand.
	demand demanded
}

// work says which types must be made anew.
type work struct {
	clusters, endpoints, listeners, routes, names bool
	// planned says that the plan of listeners holds unless routes with TCP or TLS rules changed.
	planned bool
	// rules says that destination rules must be looked up again.
	rules bool
	// definitions says that services changed, which matters only if they are in scope.
	definitions bool
	// followed says that what a Sidecar lets in may have changed with its routes.
	followed bool
	// services are those whose endpoints changed, where nothing else did.
	services []model.ServiceKey
}

func everything() work {
	return work{clusters: true, endpoints: true, listeners: true, routes: true, names: true, rules: true}
}

// at returns the sets for the generation's Snapshot, or for a newer one.
func (g *group) at(t *Translator, gen *generation) outbound {
	g.mu.Lock()
	defer g.mu.Unlock()
	version := gen.snap.Version()
	if g.version >= version {
		return g.given()
	}
	w := everything()
	if g.version > 0 {
		if change, known := t.since(g.version, gen); known {
			w = g.plan(gen, &change)
		}
	}
	if w.rules || g.rules == nil || len(g.rules) > 2*gen.snap.ServiceCount() {
		// The last condition: services that are gone must not stay here for ever.
		g.forget()
	}
	s := newScope(t, gen, g)
	if w.definitions && s.world != g.scope || w.followed && !sameServices(s.world, g.scope) {
		w = everything()
		g.forget()
		s = newScope(t, gen, g)
	}
	g.scope = s.world
	s.sameServices = !w.rules
	g.update(s, w)
	g.version = version
	return g.given()
}

// given are the sets as the group's proxies get them.
func (g *group) given() outbound {
	if g.key.onDemand {
		return g.onDemand()
	}
	return g.sets
}

func (g *group) forget() {
	g.rules = map[*model.Service]*model.DestinationRule{}
}

// plan says what a change makes necessary.
func (g *group) plan(gen *generation, c *world.Change) work {
	w := work{planned: true}
	if c.Mesh || len(c.Sidecars) > 0 || touches(c.Policies, "Telemetry") {
		return everything()
	}
	for key, effect := range c.Services {
		svc := gen.snap.Service(key)
		if effect&world.DefinitionChanged != 0 || svc == nil {
			w.definitions = true
			continue
		}
		w.services = append(w.services, key)
		if effect&world.IdentitiesChanged != 0 || svc.Resolution == model.DNS || svc.Resolution == model.DNSRoundRobin {
			w.clusters = true
		}
		if svc.Headless || svc.Resolution == model.Passthrough {
			w.listeners, w.names, w.planned = true, true, false
			w.clusters = true // whether all its endpoints take mutual TLS decides for the whole cluster
		}
	}
	if len(c.VirtualServices) > 0 {
		// A Sidecar's scope follows its routes to services that no host names.
		w.routes, w.listeners = true, true
		w.followed = g.key.hasSidecar
	}
	if len(c.DestinationRules) > 0 {
		w.planned = false
		w.rules, w.clusters, w.endpoints, w.routes, w.listeners = true, true, true, true, true
	}
	if g.key.proxy == model.GatewayProxy && (len(c.Gateways) > 0 || len(c.Policies) > 0) {
		w.listeners, w.routes = true, true
	}
	if touches(c.Policies, "PeerAuthentication") {
		w.clusters, w.endpoints = true, true
	}
	return w
}

func (g *group) updateEndpoints(s *scope, w work) {
	switch {
	case w.endpoints:
		g.sets.endpoints = replace(g.sets.endpoints, s.t.shared.same(xds.NewSet(xds.EndpointType, s.assignments())))
	case len(w.services) > 0:
		if put := s.assignmentsOf(w.services); len(put) > 0 {
			g.sets.endpoints = s.t.shared.with(g.sets.endpoints, put)
		}
	}
}

func (g *group) update(s *scope, w work) {
	if g.key.dialect.Flavor == model.GRPCClient {
		g.updateGRPC(s, w)
		return
	}
	if w.clusters {
		g.sets.clusters = replace(g.sets.clusters, xds.NewSet(xds.ClusterType, s.clusters()))
	}
	g.updateEndpoints(s, w)
	if w.listeners || w.routes {
		listeners, routes, same := s.listeners(w.planned)
		if !same {
			g.sets.listeners = replace(g.sets.listeners, xds.NewSet(xds.ListenerType, listeners))
		}
		g.sets.routes = replace(g.sets.routes, xds.NewSet(xds.RouteType, routes))
		g.sets.hosts = s.sentHosts(g.sets.hosts)
		g.sets.extensions = g.kept.extensions
	}
	if w.names && g.key.dns {
		g.sets.names = replace(g.sets.names, xds.NewSet(xds.NameTableType, s.names()))
	}
}

// sameServices reports whether two scopes let in the same services, with the same ports, by the same listeners.
func sameServices(a, b *world.Scope) bool {
	return slices.Equal(a.Services, b.Services) && slices.EqualFunc(a.Egress, b.Egress, func(a, b world.EgressScope) bool {
		return a.Listener == b.Listener && slices.Equal(a.Services, b.Services)
	})
}

// replace keeps the old set where the new one has the same members, so that what hangs on it needn't be compared again.
func replace(old, now *xds.Set) *xds.Set {
	if old == nil || old.Len() != now.Len() {
		return now
	}
	if d := now.DiffFrom(old); len(d.Changed)+len(d.Removed) > 0 {
		return now
	}
	return old
}
