package world

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
)

// Sidecar returns the Sidecar resource for a workload of the namespace with these labels: the oldest one whose selector
// takes them in, else the namespace's one without selector, else the root namespace's, else nil.
func (s *Snapshot) Sidecar(namespace string, labels map[string]string) *model.Sidecar {
	for _, sc := range s.sidecars.At(namespace) { // those with a selector come first
		if sc.Selector == nil || model.SubsetOf(sc.Selector, labels) {
			return sc
		}
	}
	if namespace == s.mesh.RootNamespace {
		return nil
	}
	for _, sc := range s.sidecars.At(s.mesh.RootNamespace) {
		if sc.Selector == nil {
			return sc
		}
	}
	return nil
}

// Scope is what sidecars of one namespace under one Sidecar resource may call. It knows no endpoints, so it stays the same
// value when only endpoints change.
type Scope struct {
	Namespace string
	// Sidecar is nil if none applies: then everything visible is in scope.
	Sidecar *model.Sidecar
	// Egress has one entry for each egress listener, in the order written, or one without Listener if none was written.
	Egress []EgressScope
	// Services are those of all listeners together, one for each hostname, sorted by hostname. A service that several
	// listeners import with different ports has all of those ports here.
	Services []*model.Service

	// listeners are the Sidecar's as they are meant in this namespace.
	listeners []model.EgressListener
}

// EgressScope is what one egress listener may call.
type EgressScope struct {
	// Listener is nil for the default listener that takes in everything.
	Listener *networking.IstioEgressListener
	// Services are sorted by hostname. If the listener has a port, each has only the port of that number.
	Services []*model.Service
	// VirtualServices are bound to "mesh" and in the order in which they compete.
	VirtualServices []*model.VirtualService
}

type scopeKey struct {
	namespace string
	sidecar   *model.Sidecar
}

// Scope returns the scope of sidecars of the namespace under a Sidecar resource, nil for none.
func (s *Snapshot) Scope(namespace string, sc *model.Sidecar) *Scope {
	key := scopeKey{namespace, sc}
	s.lazy.mu.Lock()
	found := s.lazy.scopes[key]
	s.lazy.mu.Unlock()
	if found != nil {
		return found
	}
	built := s.buildScope(namespace, sc)
	s.lazy.mu.Lock()
	defer s.lazy.mu.Unlock()
	if found := s.lazy.scopes[key]; found != nil {
		return found
	}
	s.lazy.scopes[key] = built
	return built
}

// Service returns the service of that hostname in scope, or nil.
func (c *Scope) Service(hostname string) *model.Service {
	if i, ok := slices.BinarySearchFunc(c.Services, hostname, searchHostname); ok {
		return c.Services[i]
	}
	return nil
}

func searchHostname(s *model.Service, hostname string) int {
	return strings.Compare(s.Hostname, hostname)
}

func compareHostname(a, b *model.Service) int { return strings.Compare(a.Hostname, b.Hostname) }

func (s *Snapshot) buildScope(namespace string, sc *model.Sidecar) *Scope {
	out := &Scope{Namespace: namespace, Sidecar: sc}
	if sc == nil || len(sc.Egress) == 0 {
		services := s.VisibleServices(namespace)
		out.Egress = []EgressScope{{Services: services, VirtualServices: s.VirtualServices(namespace, model.MeshGateway)}}
		out.Services = services
		return out
	}
	merged := make(map[string]*model.Service)
	for i := range sc.Egress {
		l := sc.Egress[i].In(namespace, s.mesh.Domain)
		out.listeners = append(out.listeners, l)
		e := s.egressScope(namespace, &l)
		out.Egress = append(out.Egress, e)
		for _, svc := range e.Services {
			merge(merged, svc)
		}
		for _, v := range e.VirtualServices {
			for _, d := range destinations(v, namespace) {
				if svc := s.inferred(namespace, d, e.Listener); svc != nil {
					merge(merged, svc)
				}
			}
		}
	}
	out.Services = make([]*model.Service, 0, len(merged))
	for _, svc := range merged {
		out.Services = append(out.Services, svc)
	}
	slices.SortFunc(out.Services, compareHostname)
	return out
}

// egressScope selects what one listener's hosts name.
func (s *Snapshot) egressScope(namespace string, e *model.EgressListener) EgressScope {
	out := EgressScope{Listener: e.Spec}
	chosen := make(map[string]*model.Service)
	for _, h := range e.Hosts {
		s.selectHost(namespace, h, func(svc *model.Service) {
			if old := chosen[svc.Hostname]; old == nil || preferred(namespace, svc, old) {
				chosen[svc.Hostname] = svc
			}
		})
	}
	for _, svc := range chosen {
		if svc = trimToListener(svc, e.Spec); svc != nil {
			out.Services = append(out.Services, svc)
		}
	}
	slices.SortFunc(out.Services, compareHostname)
	for _, v := range s.VirtualServices(namespace, model.MeshGateway) {
		if slices.ContainsFunc(v.Hosts, func(h string) bool { return e.Imports(v.Namespace, h) }) {
			out.VirtualServices = append(out.VirtualServices, v)
		}
	}
	return out
}

// selectHost calls add for the services visible to the namespace that one entry of a Sidecar's hosts names. It looks at no
// more of the mesh than the entry can mean.
func (s *Snapshot) selectHost(namespace string, h model.EgressHost, add func(*model.Service)) {
	switch {
	case h.Namespace == "~":
	case h.Namespace == "*" && h.Host == "*":
		for _, svc := range s.VisibleServices(namespace) {
			add(svc)
		}
	case !model.IsWildcard(h.Host):
		for _, svc := range s.byHost.At(h.Host) {
			if svc.ExportTo.VisibleTo(namespace) && (h.Namespace == "*" || h.Namespace == svc.Namespace) {
				add(svc)
			}
		}
	case h.Namespace != "*":
		for _, svc := range s.byNamespace.At(h.Namespace) {
			if svc.ExportTo.VisibleTo(namespace) && model.HostSubsetOf(svc.Hostname, h.Host) {
				add(svc)
			}
		}
	default:
		for _, svc := range s.VisibleServices(namespace) {
			if model.HostSubsetOf(svc.Hostname, h.Host) {
				add(svc)
			}
		}
	}
}

// preferred reports whether a client in the namespace means a rather than b by their common hostname.
func preferred(namespace string, a, b *model.Service) bool {
	if own := a.Namespace == namespace; own != (b.Namespace == namespace) {
		return own
	}
	return comparePreference(a, b) < 0
}

// comparePreference orders services of one hostname: Kubernetes Services first, so that nobody can take a name with an older
// ServiceEntry; then by age.
func comparePreference(a, b *model.Service) int {
	if k := a.Registry == model.KubernetesRegistry; k != (b.Registry == model.KubernetesRegistry) {
		if k {
			return -1
		}
		return 1
	}
	return a.CompareAge(b)
}

// trimToListener leaves of a service the port that the listener is for; nil if it has none such. A listener without a port,
// or for an HTTP proxy, is for all of them.
func trimToListener(svc *model.Service, e *networking.IstioEgressListener) *model.Service {
	number := e.GetPort().GetNumber()
	if number == 0 || strings.EqualFold(e.GetPort().GetProtocol(), "HTTP_PROXY") {
		return svc
	}
	return withPorts(svc, func(p *model.Port) bool { return p.Number == number })
}

// withPorts returns the service with only the ports that keep says, itself if those are all, nil if none.
func withPorts(svc *model.Service, keep func(*model.Port) bool) *model.Service {
	var ports []model.Port
	for i := range svc.Ports {
		if keep(&svc.Ports[i]) {
			ports = append(ports, svc.Ports[i])
		}
	}
	switch len(ports) {
	case len(svc.Ports):
		return svc
	case 0:
		return nil
	}
	trimmed := *svc
	trimmed.Ports = ports
	return &trimmed
}

// merge adds a service to what earlier listeners imported; of the same service under the same hostname the ports are joined,
// a different one under the same hostname stays out.
func merge(into map[string]*model.Service, svc *model.Service) {
	have := into[svc.Hostname]
	if have == nil {
		into[svc.Hostname] = svc
		return
	}
	if have == svc || have.Key() != svc.Key() {
		return
	}
	joined := *have
	joined.Ports = slices.Clone(have.Ports)
	for _, p := range svc.Ports {
		if _, i := joined.Port(p.Number); i < 0 {
			joined.Ports = append(joined.Ports, p)
		}
	}
	slices.SortFunc(joined.Ports, func(a, b model.Port) int { return int(a.Number) - int(b.Number) })
	into[svc.Hostname] = &joined
}

// destination is a host that a route leads to, with the ports named; none means all.
type destination struct {
	host  string
	ports []uint32
}

// destinations returns where a route's rules for clients in the namespace lead, in the order written.
func destinations(v *model.VirtualService, namespace string) []destination {
	var out []destination
	add := func(d *networking.Destination) {
		if d == nil {
			return
		}
		i := slices.IndexFunc(out, func(o destination) bool { return o.host == d.GetHost() })
		if i < 0 {
			i = len(out)
			out = append(out, destination{host: d.GetHost()})
		} else if out[i].ports == nil {
			return // all ports already
		}
		if d.GetPort() == nil {
			out[i].ports = nil
			return
		}
		out[i].ports = append(out[i].ports, d.GetPort().GetNumber())
	}
	for _, r := range v.Spec.GetHttp() {
		if !slices.ContainsFunc(r.GetMatch(), func(m *networking.HTTPMatchRequest) bool {
			return m.GetSourceNamespace() == "" || m.GetSourceNamespace() == namespace
		}) && len(r.GetMatch()) > 0 {
			continue
		}
		for _, d := range r.GetRoute() {
			add(d.GetDestination())
		}
		add(r.GetMirror())
		for _, m := range r.GetMirrors() {
			add(m.GetDestination())
		}
	}
	for _, r := range v.Spec.GetTcp() {
		for _, d := range r.GetRoute() {
			add(d.GetDestination())
		}
	}
	for _, r := range v.Spec.GetTls() {
		for _, d := range r.GetRoute() {
			add(d.GetDestination())
		}
	}
	return out
}

// inferred returns the service that a route in scope leads to, though no host of the listener names it: the namespace's own,
// else that of the first namespace by the alphabet that exports it.
func (s *Snapshot) inferred(namespace string, d destination, e *networking.IstioEgressListener) *model.Service {
	var svc *model.Service
	for _, c := range s.byHost.At(d.host) {
		switch {
		case c.Namespace == namespace:
			svc = c
		case !c.ExportTo.VisibleTo(namespace):
		case svc == nil || svc.Namespace != namespace && c.Namespace < svc.Namespace:
			svc = c
		}
	}
	if svc == nil {
		return nil
	}
	if e.GetPort().GetNumber() != 0 {
		return trimToListener(svc, e)
	}
	if len(d.ports) == 0 {
		return svc
	}
	return withPorts(svc, func(p *model.Port) bool { return slices.Contains(d.ports, p.Number) })
}
