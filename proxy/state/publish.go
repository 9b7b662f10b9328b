package state

import (
	"lateen.dev/lateen/proxy/plan"
)

// publish puts a new plan in force if anything in it changed.
func (s *Store) publish() []plan.Rejection {
	if s.dirty == [numKinds]bool{} && s.version > 0 {
		return nil
	}
	prev := s.cfg.Current.Load()
	s.version++
	parts := plan.Parts{Version: s.version}
	if s.version > 1 {
		parts.Prev = prev
	}
	if s.dirty[plan.KindListener] {
		parts.Listeners = live(s, plan.KindListener, func(v *version) *plan.Listener { return v.Listener })
	}
	if s.dirty[plan.KindCluster] {
		parts.Clusters = live(s, plan.KindCluster, func(v *version) *plan.Cluster { return v.Cluster })
	}
	if s.dirty[plan.KindRouteConfig] {
		parts.RouteConfigs = live(s, plan.KindRouteConfig, func(v *version) *plan.RouteConfig { return v.RouteConfig })
	}
	if s.dirty[plan.KindSecret] {
		parts.Secrets = live(s, plan.KindSecret, func(v *version) *plan.Secret { return v.Secret })
	}
	s.dirty = [numKinds]bool{}
	next := plan.New(s.cfg.Compiler.Names, parts)
	if s.cfg.Engine != nil {
		s.cfg.Engine.Prepare(prev, next)
	}
	s.cfg.Current.Publish(next)
	if s.cfg.Engine == nil {
		return nil
	}
	rejected := s.cfg.Engine.Activate(prev, next)
	s.noteRejected(rejected)
	return rejected
}

// noteRejected remembers refusals of the engine for admin. The resource stays, so that a later plan tries again.
func (s *Store) noteRejected(rejected []plan.Rejection) {
	for _, r := range rejected {
		if e := s.kinds[r.Kind][r.Name]; e != nil && e.live != nil {
			e.failure = &Failure{Details: r.Reason, Version: e.live.info, Time: s.cfg.Now(), Body: e.live.body}
		}
	}
}

// live lists what is live of a kind; never nil, which would mean "unchanged".
func live[T any](s *Store, kind plan.Kind, get func(*version) *T) []*T {
	out := make([]*T, 0, len(s.kinds[kind]))
	for _, e := range s.kinds[kind] {
		if e.live != nil {
			out = append(out, get(e.live))
		}
	}
	return out
}

// spareNames is how many names of things long gone are kept before they are forgotten.
const spareNames = 1024

// forget frees names that nothing refers to, once there are many.
func (s *Store) forget() {
	names := s.cfg.Compiler.Names
	total := len(s.wants)
	for _, k := range s.kinds {
		total += len(k)
	}
	if names.Len() < 2*total+spareNames {
		return
	}
	used := map[key]bool{}
	for k := range s.wants {
		used[k] = true
	}
	for kind := range s.kinds {
		for name, e := range s.kinds[kind] {
			used[key{plan.Kind(kind), name}] = true
			for _, v := range []*version{e.live, e.warming} {
				if v == nil {
					continue
				}
				for _, c := range v.Needs.Clusters {
					used[key{plan.KindCluster, c}] = true
				}
			}
		}
	}
	names.Forget(func(k plan.Kind, name string) bool { return used[key{k, name}] })
}
