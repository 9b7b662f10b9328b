package translate

import (
	"net/netip"
	"slices"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
)

// known is the View that a proxy had, and what it hangs on.
type known struct {
	view    View
	state   *viewState // of the View; nil before it was first asked for
	version uint64     // of the Snapshot that it is right for
	used    uint64
	// served are the services of the proxy's workload.
	served []model.ServiceKey
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
	defer t.mu.Unlock()
	k := t.proxies[p]
	if k == nil {
		return site{}, false
	}
	at := k.version
	steps := t.stepsLocked(at)
	for i := range steps {
		if steps[i].change.From != at || steps[i].concerns(p, k.served) {
			return site{}, false
		}
		at = steps[i].change.To
	}
	if at != t.now.snap.Version() {
		return site{}, false
	}
	k.version, k.used = at, t.now.seq
	if k.state == nil || k.state.gone {
		k.state = t.viewLocked(k.view)
	}
	return t.placeLocked(k.state), true
}

func (t *Translator) remember(p *model.Proxy, gen *generation, v View, served []model.ServiceKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proxies[p] = &known{view: v, version: gen.snap.Version(), used: gen.seq, served: served}
}
