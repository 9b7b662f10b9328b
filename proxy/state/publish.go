package state

import (
	"lateen.dev/lateen/proxy/plan"
)

// publish puts a new plan in force if anything in it changed.
func (s *Store) publish() []plan.Rejection {
	if s.version > 0 && !s.anyDirty() {
		return nil
	}
	prev := s.cfg.Current.Load()
	s.version++
	parts := plan.Parts{Version: s.version, Gone: map[plan.Kind][]string{}}
	if s.version > 1 {
		parts.Prev = prev
	}
	parts.Listeners = changed(s, plan.KindListener, parts.Gone, func(v *version) *plan.Listener { return v.Listener })
	parts.Clusters = changed(s, plan.KindCluster, parts.Gone, func(v *version) *plan.Cluster { return v.Cluster })
	parts.RouteConfigs = changed(s, plan.KindRouteConfig, parts.Gone, func(v *version) *plan.RouteConfig { return v.RouteConfig })
	parts.Secrets = changed(s, plan.KindSecret, parts.Gone, func(v *version) *plan.Secret { return v.Secret })
	parts.Extensions = changed(s, plan.KindExtension, parts.Gone, func(v *version) *plan.Extension { return v.Extension })
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

// changed takes the changes of a kind: it returns what is new, and adds the names of what is gone.
func changed[T any](s *Store, kind plan.Kind, gone map[plan.Kind][]string, get func(*version) *T) []*T {
	var out []*T
	for name := range s.dirty[kind] {
		if e := s.kinds[kind][name]; e != nil && e.live != nil {
			out = append(out, get(e.live))
		} else {
			gone[kind] = append(gone[kind], name)
		}
	}
	s.dirty[kind] = nil
	return out
}

// touch notes that a resource's live version changed or went. Endpoints are in the plan as parts of clusters only, and
// virtual hosts as parts of route configurations.
func (s *Store) touch(kind plan.Kind, name string) {
	if kind == plan.KindEndpoints || kind == plan.KindVirtualHost {
		return
	}
	if s.dirty[kind] == nil {
		s.dirty[kind] = map[string]bool{}
	}
	s.dirty[kind][name] = true
}

func (s *Store) anyDirty() bool {
	for _, d := range s.dirty {
		if len(d) > 0 {
			return true
		}
	}
	return false
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
