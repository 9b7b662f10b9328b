package translate

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
)

// known is the View that a proxy had, and what it hangs on.
type known struct {
	view View
	// served are the services of the proxy's workload.
	served []model.ServiceKey
	used   atomic.Uint64

	mu      sync.Mutex // guards what follows; it comes before the Translator's
	state   *viewState // of the View; nil before it was first asked for
	version uint64     // of the Snapshot that it is right for
}

// step is one change, with the addresses at which services changed.
type step struct {
	change world.Change
	// everybody says that the change may concern any proxy's own workload.
	everybody bool
	addresses map[netip.Addr]struct{}
}

// manyServices is from when on a change is taken to concern everybody; then there is much to do anyway.
const manyServices = 64

func newStep(snap *world.Snapshot, c world.Change) step {
	s := step{change: c}
	s.everybody = c.Mesh || len(c.Sidecars)+len(c.Policies)+len(c.DestinationRules)+len(c.VirtualServices)+len(c.Gateways) > 0 ||
		len(c.Services) > manyServices
	if s.everybody {
		return s
	}
	s.addresses = map[netip.Addr]struct{}{}
	for key, effect := range c.Services {
		if effect&world.DefinitionChanged != 0 {
			// A selector may take in workloads that are no endpoints yet.
			s.everybody = true
			return s
		}
		set := snap.Endpoints(key)
		if set == nil {
			continue
		}
		for i := range set.Endpoints {
			if a, err := netip.ParseAddr(set.Endpoints[i].Address); err == nil {
				s.addresses[a] = struct{}{}
			}
		}
	}
	return s
}

// concerns reports whether the step may change the View of a proxy that serves these services.
func (s *step) concerns(p *model.Proxy, served []model.ServiceKey) bool {
	if s.everybody {
		return true
	}
	for _, key := range served {
		if _, ok := s.change.Services[key]; ok {
			return true
		}
	}
	return slices.ContainsFunc(p.IPs, func(a netip.Addr) bool { _, ok := s.addresses[a]; return ok })
}

// unchanged finds where the State is made of the View that the proxy had, if nothing that has happened since can have changed
// it.
func (t *Translator) unchanged(p *model.Proxy) (site, bool) {
	t.mu.Lock()
	k, gen, history := t.proxies[p], t.now, t.history
	t.mu.Unlock()
	if k == nil {
		return site{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.version
	steps := stepsFrom(history, at)
	for i := range steps {
		if steps[i].change.From != at || steps[i].concerns(p, k.served) {
			return site{}, false
		}
		at = steps[i].change.To
	}
	if at != gen.snap.Version() {
		return site{}, false
	}
	k.version = at
	k.used.Store(gen.seq)
	if k.state == nil || k.state.gone.Load() {
		out := t.site(k.view)
		k.state = out.view
		return out, true
	}
	if g := k.state.group.Load(); !g.gone.Load() {
		return k.state.used(g, gen), true
	}
	return t.site(k.view), true
}

func (t *Translator) remember(p *model.Proxy, gen *generation, v View, served []model.ServiceKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := &known{view: v, version: gen.snap.Version(), served: served}
	k.used.Store(gen.seq)
	t.proxies[p] = k
}
