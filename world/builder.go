package world

import (
	"cmp"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/derive"
	"lateen.dev/lateen/lib/persist"
	"lateen.dev/lateen/model"
)

// builder makes the next Snapshot out of the present one and a batch's events, and notes what changed. It is used for one
// batch, by the goroutine that applies it.
type builder struct {
	prev   *Snapshot
	next   *Snapshot
	vips   *allocator
	change Change

	services    *persist.Editor[model.ServiceKey, *model.Service]
	byHost      *lists[string, *model.Service]
	byNamespace *lists[string, *model.Service]
	byAddress   *lists[string, model.ServiceKey]
	byVIP       *lists[netip.Prefix, *model.Service]
	endpoints   *persist.Editor[model.ServiceKey, *model.EndpointSet]
	routes      *persist.Editor[model.ConfigKey, *model.VirtualService]
	routesBy    *lists[gateKey, *model.VirtualService]
	routesHost  *lists[string, *model.VirtualService]
	rules       *lists[hostKey, *model.DestinationRule]
	gateways    *lists[unit, *model.Gateway]
	sidecars    *lists[string, *model.Sidecar]

	// changedServices and changedRoutes are both forms, old and new, of what changed: what remembered answers may depend on.
	changedServices []*model.Service
	changedRoutes   []*model.VirtualService
	goneSidecars    map[*model.Sidecar]struct{}
}

func newBuilder(prev *Snapshot, vips *allocator) *builder {
	next := *prev
	return &builder{
		prev: prev, next: &next, vips: vips,
		change: Change{
			From: prev.version, Services: make(map[model.ServiceKey]Effect),
			VirtualServices: make(map[model.ConfigKey]struct{}), DestinationRules: make(map[model.ConfigKey]struct{}),
			Gateways: make(map[model.ConfigKey]struct{}), Sidecars: make(map[model.ConfigKey]struct{}),
			Policies: make(map[model.ConfigKey]struct{}),
		},
		services:     prev.services.Edit(),
		byHost:       editLists(prev.byHost, comparePreference),
		byNamespace:  editLists(prev.byNamespace, compareHostname),
		byAddress:    editLists(prev.byAddress, model.ServiceKey.Compare),
		byVIP:        editLists(prev.byVIP, comparePreference),
		endpoints:    prev.endpoints.Edit(),
		routes:       prev.routes.Edit(),
		routesBy:     editLists(prev.routesByGate, (*model.VirtualService).CompareAge),
		routesHost:   editLists(prev.routesByHost, (*model.VirtualService).CompareAge),
		rules:        editLists(prev.rules, (*model.DestinationRule).CompareAge),
		gateways:     editLists(prev.gateways, (*model.Gateway).CompareAge),
		sidecars:     editLists(prev.sidecars, compareSidecars),
		goneSidecars: make(map[*model.Sidecar]struct{}),
	}
}

// compareSidecars puts those with a selector first, then the older ones.
func compareSidecars(a, b *model.Sidecar) int {
	if sel := a.Selector != nil; sel != (b.Selector != nil) {
		if sel {
			return -1
		}
		return 1
	}
	return model.CompareAge(a.CreationTime, a.Config, b.CreationTime, b.Config)
}

// watch makes the plan's collections tell the builder of the batch that runs.
func (w *World) watch() {
	p := w.plan
	p.mesh.Subscribe(func(events []derive.Event[name, *model.Mesh]) { w.next.setMesh(events[0].New) })
	p.services.Subscribe(func(e []derive.Event[model.ServiceKey, *model.Service]) { w.next.setServices(e) })
	p.endpoints.Subscribe(func(e []derive.Event[model.ServiceKey, *model.EndpointSet]) { w.next.setEndpoints(e) })
	p.routes.Subscribe(func(e []derive.Event[config.Key, *model.VirtualService]) { w.next.setRoutes(e) })
	p.rules.Subscribe(func(e []derive.Event[ruleKey, *model.DestinationRule]) { w.next.setRules(e) })
	p.gateways.Subscribe(func(e []derive.Event[config.Key, *model.Gateway]) { w.next.setGateways(e) })
	p.sidecars.Subscribe(func(e []derive.Event[config.Key, *model.Sidecar]) { w.next.setSidecars(e) })
	watchScoped(w, p.authorization, func(s *policySet) *persist.Map[string, []*model.AuthorizationPolicy] { return &s.authorization })
	watchScoped(w, p.authentication, func(s *policySet) *persist.Map[string, []*model.RequestAuthentication] {
		return &s.authentication
	})
	watchScoped(w, p.peers, func(s *policySet) *persist.Map[string, []*model.PeerAuthentication] {
		w.next.next.peerAuths = newPeerAuths()
		return &s.peers
	})
	watchScoped(w, p.telemetry, func(s *policySet) *persist.Map[string, []*model.Telemetry] { return &s.telemetry })
	watchScoped(w, p.filters, func(s *policySet) *persist.Map[string, []*model.EnvoyFilter] { return &s.filters })
	watchScoped(w, p.proxyConfigs, func(s *policySet) *persist.Map[string, []*model.ProxyConfig] { return &s.proxyConfigs })
	watchScoped(w, p.plugins, func(s *policySet) *persist.Map[string, []*model.WasmPlugin] { return &s.plugins })
}

// watchScoped files the objects of one kind by namespace.
func watchScoped[S proto.Message](
	w *World, c *derive.Collection[config.Key, *model.Scoped[S]], field func(*policySet) *byNamespace[S],
) {
	c.Subscribe(func(events []derive.Event[config.Key, *model.Scoped[S]]) {
		m := field(&w.next.next.policies)
		l := editLists(*m, comparePolicies[S])
		for _, e := range events {
			if e.HadOld {
				l.remove(e.Key.Namespace, e.Old)
			}
			if e.HasNew {
				l.add(e.Key.Namespace, e.New)
			}
			w.next.change.Policies[e.Key] = struct{}{}
		}
		*m = l.done()
	})
}

// comparePolicies orders by age; kinds that have a priority, by that first.
func comparePolicies[S proto.Message](a, b *model.Scoped[S]) int {
	type prioritized interface{ GetPriority() int32 }
	if pa, ok := any(a.Spec).(prioritized); ok {
		if c := cmp.Compare(pa.GetPriority(), any(b.Spec).(prioritized).GetPriority()); c != 0 {
			return c
		}
	}
	return a.CompareAge(b)
}

func (b *builder) setMesh(m *model.Mesh) {
	b.next.mesh = m
	b.change.Mesh = true
}

func (b *builder) setServices(events []derive.Event[model.ServiceKey, *model.Service]) {
	for _, e := range events {
		if e.HadOld && (!e.HasNew || !needsVIP(e.New)) {
			b.vips.release(e.Key)
		}
	}
	// Those that are new take their addresses in the order of age, so that what each gets depends on the mesh and not on the
	// order in which it came to be known.
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(x, y derive.Event[model.ServiceKey, *model.Service]) int {
		if x.HasNew && y.HasNew {
			return x.New.CompareAge(y.New)
		}
		return 0
	})
	for _, e := range events {
		if old, ok := b.services.Get(e.Key); ok {
			b.byHost.remove(old.Hostname, old)
			b.byNamespace.remove(old.Namespace, old)
			for _, p := range old.Matches() {
				b.byVIP.remove(p, old)
			}
			b.changedServices = append(b.changedServices, old)
		}
		b.change.Services[e.Key] |= DefinitionChanged
		if !e.HasNew {
			b.services.Delete(e.Key)
			continue
		}
		svc := e.New
		if needsVIP(svc) {
			with := *svc
			with.AutoAddresses = b.vips.assign(e.Key)
			svc = &with
		}
		b.services.Set(e.Key, svc)
		b.byHost.add(svc.Hostname, svc)
		b.byNamespace.add(svc.Namespace, svc)
		for _, p := range svc.Matches() {
			b.byVIP.add(p, svc)
		}
		b.changedServices = append(b.changedServices, svc)
	}
}

func (b *builder) setEndpoints(events []derive.Event[model.ServiceKey, *model.EndpointSet]) {
	for _, e := range events {
		effect := EndpointsChanged
		if !sameIdentities(e.Old, e.New) {
			effect |= IdentitiesChanged
		}
		b.change.Services[e.Key] |= effect
		if e.HasNew {
			b.endpoints.Set(e.Key, e.New)
		} else {
			b.endpoints.Delete(e.Key)
		}
		before, after := addressesOf(e.Old), addressesOf(e.New)
		for a := range before {
			if _, still := after[a]; !still {
				b.byAddress.remove(a, e.Key)
			}
		}
		for a := range after {
			if _, already := before[a]; !already {
				b.byAddress.add(a, e.Key)
			}
		}
	}
}

func addressesOf(set *model.EndpointSet) map[string]struct{} {
	if set == nil {
		return nil
	}
	out := make(map[string]struct{}, len(set.Endpoints))
	for i := range set.Endpoints {
		out[set.Endpoints[i].Address] = struct{}{}
	}
	return out
}

// sameIdentities reports whether clients would expect the same certificates: the same SPIFFE ids, and either side having
// endpoints with and without mutual TLS alike.
func sameIdentities(a, b *model.EndpointSet) bool {
	am, ap := modes(a)
	bm, bp := modes(b)
	return am == bm && ap == bp && slices.Equal(a.Identities(), b.Identities())
}

func modes(set *model.EndpointSet) (mutual, plain bool) {
	if set == nil {
		return false, false
	}
	for i := range set.Endpoints {
		if set.Endpoints[i].TLSMode == model.TLSModeIstio {
			mutual = true
		} else {
			plain = true
		}
	}
	return mutual, plain
}

func (b *builder) setRoutes(events []derive.Event[config.Key, *model.VirtualService]) {
	for _, e := range events {
		b.change.VirtualServices[e.Key] = struct{}{}
		if e.HadOld {
			eachGate(e.Old, func(k gateKey) { b.routesBy.remove(k, e.Old) })
			for _, h := range e.Old.Hosts {
				b.routesHost.remove(filed(h), e.Old)
			}
			b.changedRoutes = append(b.changedRoutes, e.Old)
		}
		if !e.HasNew {
			b.routes.Delete(e.Key)
			continue
		}
		b.routes.Set(e.Key, e.New)
		eachGate(e.New, func(k gateKey) { b.routesBy.add(k, e.New) })
		for _, h := range e.New.Hosts {
			b.routesHost.add(filed(h), e.New)
		}
		b.changedRoutes = append(b.changedRoutes, e.New)
	}
}

func eachGate(v *model.VirtualService, f func(gateKey)) {
	for _, g := range v.Gateways {
		if v.ExportTo.Public {
			f(gateKey{gateway: g})
			continue
		}
		for _, ns := range v.ExportTo.Namespaces {
			f(gateKey{g, ns})
		}
	}
}

func (b *builder) setRules(events []derive.Event[ruleKey, *model.DestinationRule]) {
	for _, e := range events {
		if e.HadOld {
			b.rules.remove(hostKey{e.Old.Namespace, filed(e.Old.Host)}, e.Old)
			b.noteRule(e.Old)
		}
	}
	for _, e := range events {
		if e.HasNew {
			b.rules.add(hostKey{e.New.Namespace, filed(e.New.Host)}, e.New)
			b.noteRule(e.New)
		}
	}
}

func (b *builder) noteRule(d *model.DestinationRule) {
	for _, key := range d.From {
		b.change.DestinationRules[key] = struct{}{}
	}
}

func (b *builder) setGateways(events []derive.Event[config.Key, *model.Gateway]) {
	for _, e := range events {
		b.change.Gateways[e.Key] = struct{}{}
		if e.HadOld {
			b.gateways.remove(unit{}, e.Old)
		}
		if e.HasNew {
			b.gateways.add(unit{}, e.New)
		}
	}
}

func (b *builder) setSidecars(events []derive.Event[config.Key, *model.Sidecar]) {
	for _, e := range events {
		b.change.Sidecars[e.Key] = struct{}{}
		if e.HadOld {
			b.sidecars.remove(e.Key.Namespace, e.Old)
			b.goneSidecars[e.Old] = struct{}{}
		}
		if e.HasNew {
			b.sidecars.add(e.Key.Namespace, e.New)
		}
	}
}

// finish returns the next Snapshot and how it differs from the one before.
func (b *builder) finish(revisions map[string]uint64) (*Snapshot, Change) {
	n := b.next
	n.revisions = revisions
	n.services, n.byHost, n.byNamespace = b.services.Map(), b.byHost.done(), b.byNamespace.done()
	n.endpoints, n.byAddress, n.byVIP = b.endpoints.Map(), b.byAddress.done(), b.byVIP.done()
	n.routes, n.routesByGate, n.routesByHost = b.routes.Map(), b.routesBy.done(), b.routesHost.done()
	n.rules, n.gateways, n.sidecars = b.rules.done(), b.gateways.done(), b.sidecars.done()
	n.lazy = b.carry()
	if b.change.Mesh {
		n.peerAuths = newPeerAuths()
	}
	if !b.change.Empty() {
		n.version++
	}
	b.change.To = n.version
	return n, b.change
}
