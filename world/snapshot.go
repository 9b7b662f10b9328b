package world

import (
	"iter"
	"net/netip"
	"slices"
	"sync"

	"lateen.dev/lateen/lib/persist"
	"lateen.dev/lateen/model"
)

// Snapshot is everything that the mesh knows at one moment. It never changes; a newer one shares with it what is the same.
//
// Lists are returned without copying: do not modify them.
type Snapshot struct {
	version   uint64
	revisions map[string]uint64
	mesh      *model.Mesh

	services     persist.Map[model.ServiceKey, *model.Service]
	byHost       persist.Map[string, []*model.Service]       // preferred first: Kubernetes, then by age
	byNamespace  persist.Map[string, []*model.Service]       // by hostname
	byAddress    persist.Map[string, []model.ServiceKey]     // of endpoints
	byVIP        persist.Map[netip.Prefix, []*model.Service] // virtual addresses; preferred first
	endpoints    persist.Map[model.ServiceKey, *model.EndpointSet]
	routes       persist.Map[model.ConfigKey, *model.VirtualService]
	routesByGate persist.Map[gateKey, []*model.VirtualService] // by age
	routesByHost persist.Map[string, []*model.VirtualService]  // by age
	rules        persist.Map[hostKey, []*model.DestinationRule]
	gateways     persist.Map[unit, []*model.Gateway]   // one list, by age
	sidecars     persist.Map[string, []*model.Sidecar] // by namespace; those with a selector first, then by age
	policies     policySet
	peerAuths    *peerAuths

	lazy *lazyViews
}

// hostKey is a hostname, as filed writes it, of which one namespace speaks.
type hostKey struct{ namespace, host string }

// lazyViews are answers that were asked for before. A Snapshot starts with those of its predecessor that are still right.
type lazyViews struct {
	mu      sync.Mutex
	visible map[string][]*model.Service // by client namespace
	scopes  map[scopeKey]*Scope
}

// Version counts Snapshots of this process, from 1.
func (s *Snapshot) Version() uint64 { return s.version }

// Revision is the last revision of the named source that the Snapshot takes into account.
func (s *Snapshot) Revision(source string) uint64 { return s.revisions[source] }

// Mesh returns what holds for everybody.
func (s *Snapshot) Mesh() *model.Mesh { return s.mesh }

// Service returns a service, or nil.
func (s *Snapshot) Service(key model.ServiceKey) *model.Service { return s.services.At(key) }

// Services yields every service, in no particular order.
func (s *Snapshot) Services() iter.Seq2[model.ServiceKey, *model.Service] { return s.services.All() }

// ServiceCount returns the number of services.
func (s *Snapshot) ServiceCount() int { return s.services.Len() }

// ServicesByHost returns the services of that exact hostname in all namespaces, the preferred one first: a Kubernetes
// Service before ServiceEntries, then the oldest.
func (s *Snapshot) ServicesByHost(hostname string) []*model.Service { return s.byHost.At(hostname) }

// ServicesIn returns a namespace's services by hostname.
func (s *Snapshot) ServicesIn(namespace string) []*model.Service { return s.byNamespace.At(namespace) }

// ServicesAt returns the services with the virtual address, or with the smallest CIDR that has it; the preferred one first.
func (s *Snapshot) ServicesAt(addr netip.Addr) []*model.Service {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if p, err := addr.Prefix(bits); err == nil {
			if found := s.byVIP.At(p); found != nil {
				return found
			}
		}
	}
	return nil
}

// VisibleService returns the service that a client in the namespace means by an exact hostname: of those exported to it, its
// own namespace's first, then a Kubernetes Service, then the oldest. It is nil if none is visible.
func (s *Snapshot) VisibleService(namespace, hostname string) *model.Service {
	return pickVisible(namespace, s.byHost.At(hostname))
}

func pickVisible(namespace string, candidates []*model.Service) *model.Service {
	var best *model.Service
	for _, c := range candidates {
		if !c.ExportTo.VisibleTo(namespace) {
			continue
		}
		if c.Namespace == namespace {
			return c
		}
		if best == nil {
			best = c
		}
	}
	return best
}

// VisibleServices returns one service for every hostname that a client in the namespace sees (VisibleService), sorted by
// hostname.
func (s *Snapshot) VisibleServices(namespace string) []*model.Service {
	s.lazy.mu.Lock()
	defer s.lazy.mu.Unlock()
	if list, ok := s.lazy.visible[namespace]; ok {
		return list
	}
	list := make([]*model.Service, 0, s.byHost.Len())
	for _, candidates := range s.byHost.All() {
		if svc := pickVisible(namespace, candidates); svc != nil {
			list = append(list, svc)
		}
	}
	slices.SortFunc(list, compareHostname)
	for _, other := range s.lazy.visible { // most namespaces see the same
		if slices.Equal(list, other) {
			list = other
			break
		}
	}
	s.lazy.visible[namespace] = list
	return list
}

// Endpoints returns a service's endpoints; nil if it has none. A nil *EndpointSet answers like an empty one.
func (s *Snapshot) Endpoints(key model.ServiceKey) *model.EndpointSet { return s.endpoints.At(key) }

// Gateways returns all gateways by age.
func (s *Snapshot) Gateways() []*model.Gateway { return s.gateways.At(unit{}) }

// GatewaysFor returns the gateways whose selector takes in these labels, by age.
func (s *Snapshot) GatewaysFor(labels map[string]string) []*model.Gateway {
	var out []*model.Gateway
	for _, g := range s.Gateways() {
		if model.SubsetOf(g.Selector, labels) {
			out = append(out, g)
		}
	}
	return out
}
