package plan

import (
	"cmp"
	"slices"
)

// table holds the resources of one kind of one plan.
type table[T any] struct {
	slots  []slot[T]
	byName map[string]*T
	sorted []*T
}

type slot[T any] struct {
	gen uint32
	v   *T
}

func (t *table[T]) get(r Ref) *T {
	if int(r.slot) >= len(t.slots) || r.gen == 0 {
		return nil
	}
	if s := &t.slots[r.slot]; s.gen == r.gen {
		return s.v
	}
	return nil
}

// Names gives out the Refs of one proxy. It belongs to the goroutine that writes the state.
type Names struct {
	clusters, routeConfigs, secrets interner
}

// NewNames returns an empty set of names.
func NewNames() *Names { return &Names{} }

// Cluster returns the Ref of a cluster's name, whether the cluster exists or not. Empty names have the zero Ref.
func (n *Names) Cluster(name string) ClusterRef { return ClusterRef{n.clusters.ref(name)} }

// RouteConfig returns the Ref of a route configuration's name.
func (n *Names) RouteConfig(name string) RouteConfigRef {
	return RouteConfigRef{n.routeConfigs.ref(name)}
}

// Secret returns the Ref of a secret's name.
func (n *Names) Secret(name string) SecretRef { return SecretRef{n.secrets.ref(name)} }

// Forget frees the names for which used answers false, so that a proxy that sees names come and go doesn't grow.
// A Ref still held to a freed name resolves to nothing, for ever.
func (n *Names) Forget(used func(k Kind, name string) bool) {
	n.clusters.forget(func(name string) bool { return used(KindCluster, name) })
	n.routeConfigs.forget(func(name string) bool { return used(KindRouteConfig, name) })
	n.secrets.forget(func(name string) bool { return used(KindSecret, name) })
}

// Len is how many names are held.
func (n *Names) Len() int {
	return len(n.clusters.byName) + len(n.routeConfigs.byName) + len(n.secrets.byName)
}

type interner struct {
	byName map[string]Ref
	gens   []uint32
	free   []uint32
}

func (in *interner) ref(name string) Ref {
	if name == "" {
		return Ref{}
	}
	if r, ok := in.byName[name]; ok {
		return r
	}
	if in.byName == nil {
		in.byName = map[string]Ref{}
	}
	var at uint32
	if n := len(in.free); n > 0 {
		at = in.free[n-1]
		in.free = in.free[:n-1]
	} else {
		at = uint32(len(in.gens))
		in.gens = append(in.gens, 0)
	}
	in.gens[at]++
	r := Ref{slot: at, gen: in.gens[at]}
	in.byName[name] = r
	return r
}

func (in *interner) forget(used func(string) bool) {
	for name, r := range in.byName {
		if !used(name) {
			delete(in.byName, name)
			in.free = append(in.free, r.slot)
		}
	}
}

// Parts are what a plan is built from. A nil list takes that of Prev.
type Parts struct {
	Version      uint64
	Prev         *Plan
	Listeners    []*Listener
	Clusters     []*Cluster
	RouteConfigs []*RouteConfig
	Secrets      []*Secret
}

// New builds a plan. names must be the one that the parts' Refs come from. When two parts of a kind have one name
// the later one counts.
func New(names *Names, parts Parts) *Plan {
	p := &Plan{}
	if parts.Prev != nil {
		*p = *parts.Prev
	}
	p.Version = parts.Version
	if parts.Listeners != nil || parts.Prev == nil {
		p.setListeners(parts.Listeners)
	}
	if parts.Clusters != nil || parts.Prev == nil {
		p.clusters = newTable(&names.clusters, parts.Clusters, func(c *Cluster) string { return c.Name })
	}
	if parts.RouteConfigs != nil || parts.Prev == nil {
		p.routeConfigs = newTable(&names.routeConfigs, parts.RouteConfigs, func(c *RouteConfig) string { return c.Name })
	}
	if parts.Secrets != nil || parts.Prev == nil {
		p.secrets = newTable(&names.secrets, parts.Secrets, func(s *Secret) string { return s.Name })
	}
	return p
}

func (p *Plan) setListeners(list []*Listener) {
	p.listeners = make(map[string]*Listener, len(list))
	for _, l := range list {
		p.listeners[l.Name] = l
	}
	p.Listeners = make([]*Listener, 0, len(list))
	for _, l := range p.listeners {
		p.Listeners = append(p.Listeners, l)
	}
	slices.SortFunc(p.Listeners, func(a, b *Listener) int { return cmp.Compare(a.Name, b.Name) })
}

func newTable[T any](in *interner, parts []*T, name func(*T) string) table[T] {
	t := table[T]{byName: make(map[string]*T, len(parts))}
	for _, v := range parts {
		t.byName[name(v)] = v
	}
	for n := range t.byName {
		in.ref(n)
	}
	t.slots = make([]slot[T], len(in.gens))
	t.sorted = make([]*T, 0, len(t.byName))
	for n, v := range t.byName {
		r := in.ref(n)
		if !r.IsZero() {
			t.slots[r.slot] = slot[T]{gen: r.gen, v: v}
		}
		t.sorted = append(t.sorted, v)
	}
	slices.SortFunc(t.sorted, func(a, b *T) int { return cmp.Compare(name(a), name(b)) })
	return t
}
