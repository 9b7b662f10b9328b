package plan

import (
	"cmp"
	"maps"
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
	clusters, routeConfigs, secrets, extensions interner
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

// Extension returns the Ref of a filter configuration's name.
func (n *Names) Extension(name string) ExtensionRef { return ExtensionRef{n.extensions.ref(name)} }

// Forget frees the names for which used answers false, so that a proxy that sees names come and go doesn't grow.
// A Ref still held to a freed name resolves to nothing, for ever.
func (n *Names) Forget(used func(k Kind, name string) bool) {
	n.clusters.forget(func(name string) bool { return used(KindCluster, name) })
	n.routeConfigs.forget(func(name string) bool { return used(KindRouteConfig, name) })
	n.secrets.forget(func(name string) bool { return used(KindSecret, name) })
	n.extensions.forget(func(name string) bool { return used(KindExtension, name) })
}

// Len is how many names are held.
func (n *Names) Len() int {
	return len(n.clusters.byName) + len(n.routeConfigs.byName) + len(n.secrets.byName) + len(n.extensions.byName)
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

// Parts are what a plan is built from: what is new or changed since Prev, and the names of what is gone.
type Parts struct {
	Version      uint64
	Prev         *Plan // nil for nothing
	Listeners    []*Listener
	Clusters     []*Cluster
	RouteConfigs []*RouteConfig
	Secrets      []*Secret
	Extensions   []*Extension
	Gone         map[Kind][]string
}

// New builds a plan. names must be the one that the parts' Refs come from. When two parts of a kind have one name
// the later one counts.
func New(names *Names, parts Parts) *Plan {
	p := &Plan{}
	if parts.Prev != nil {
		*p = *parts.Prev
	}
	p.Version = parts.Version
	p.setListeners(parts.Listeners, parts.Gone[KindListener])
	p.clusters = p.clusters.with(&names.clusters, change[Cluster]{parts.Clusters, parts.Gone[KindCluster], func(c *Cluster) string { return c.Name }})
	p.routeConfigs = p.routeConfigs.with(&names.routeConfigs,
		change[RouteConfig]{parts.RouteConfigs, parts.Gone[KindRouteConfig], func(c *RouteConfig) string { return c.Name }})
	p.secrets = p.secrets.with(&names.secrets, change[Secret]{parts.Secrets, parts.Gone[KindSecret], func(s *Secret) string { return s.Name }})
	p.extensions = p.extensions.with(&names.extensions,
		change[Extension]{parts.Extensions, parts.Gone[KindExtension], func(x *Extension) string { return x.Name }})
	return p
}

func (p *Plan) setListeners(put []*Listener, gone []string) {
	if len(put)+len(gone) == 0 {
		return
	}
	c := change[Listener]{put, gone, func(l *Listener) string { return l.Name }}
	p.Listeners = c.sorted(p.Listeners)
	p.listeners = make(map[string]*Listener, len(p.Listeners))
	for _, l := range p.Listeners {
		p.listeners[l.Name] = l
	}
}

// change is what happens to a table.
type change[T any] struct {
	put  []*T
	gone []string
	name func(*T) string
}

// with returns the table after a change; the old one stays as it is. It costs a copy of the table's three parts, and no
// hashing or sorting of what did not change.
func (t table[T]) with(in *interner, c change[T]) table[T] {
	if len(c.put)+len(c.gone) == 0 {
		return t
	}
	out := table[T]{byName: make(map[string]*T)}
	if len(t.byName) > 0 {
		out.byName = maps.Clone(t.byName)
	}
	for _, n := range c.gone {
		delete(out.byName, n)
	}
	for _, v := range c.put {
		out.byName[c.name(v)] = v
		in.ref(c.name(v))
	}
	out.slots = make([]slot[T], len(in.gens))
	copy(out.slots, t.slots)
	for _, n := range c.gone {
		out.place(in, n, nil)
	}
	for _, v := range c.put {
		out.place(in, c.name(v), v)
	}
	out.sorted = c.sorted(t.sorted)
	return out
}

// place writes a slot. A name that was forgotten has none any more, or another one.
func (t *table[T]) place(in *interner, name string, v *T) {
	if r, ok := in.byName[name]; ok {
		t.slots[r.slot] = slot[T]{gen: r.gen, v: v}
	}
}

// sorted merges the change into a list sorted by name.
func (c *change[T]) sorted(old []*T) []*T {
	put := slices.Clone(c.put)
	slices.SortStableFunc(put, func(a, b *T) int { return cmp.Compare(c.name(a), c.name(b)) })
	gone := make(map[string]bool, len(c.gone))
	for _, n := range c.gone {
		gone[n] = true
	}
	out := make([]*T, 0, len(old)+len(put))
	for len(old) > 0 || len(put) > 0 {
		switch {
		case len(put) > 1 && c.name(put[0]) == c.name(put[1]):
			put = put[1:] // the later one counts
		case len(old) == 0 || len(put) > 0 && c.name(put[0]) < c.name(old[0]):
			out, put = append(out, put[0]), put[1:]
		case len(put) > 0 && c.name(put[0]) == c.name(old[0]):
			out, put, old = append(out, put[0]), put[1:], old[1:]
		case gone[c.name(old[0])]:
			old = old[1:]
		default:
			out, old = append(out, old[0]), old[1:]
		}
	}
	return out
}
