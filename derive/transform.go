package derive

import "strings"

// Part is the key of what MapMany makes of an input: the input's key, and a name that is the part's own within it.
type Part[K Key[K]] struct {
	Of   K
	Name string
}

// Compare orders parts by input and name.
func (p Part[K]) Compare(o Part[K]) int {
	if c := p.Of.Compare(o.Of); c != 0 {
		return c
	}
	return strings.Compare(p.Name, o.Name)
}

// Map makes a collection in which each entry of in has an entry under the same key, if f returns one.
func Map[K Key[K], I Value[I], O Value[O]](
	in *Collection[K, I], name string, f func(ctx *Ctx, key K, value I) (O, bool),
) *Collection[K, O] {
	out := newCollection[K, O](in.graph, "map", name, in.Name())
	t := newTransform(in, &out.st)
	t.compute = func(key K, value I) {
		var o O
		var ok bool
		if !in.graph.guard(&out.st, key, func() { o, ok = f(t.ctx, key, value) }) {
			return
		}
		if ok {
			out.put(key, o)
		} else {
			out.remove(key)
		}
	}
	t.gone = out.remove
	return start(in.graph, out, t.run)
}

// MapMany makes a collection of the parts into which f takes apart each entry of in. f calls emit for each part; of two
// parts of one name the later one counts.
func MapMany[K Key[K], I Value[I], O Value[O]](
	in *Collection[K, I], name string, f func(ctx *Ctx, key K, value I, emit func(part string, value O)),
) *Collection[Part[K], O] {
	out := newCollection[Part[K], O](in.graph, "mapMany", name, in.Name())
	t := newTransform(in, &out.st)
	parts := make(map[K][]string)
	t.compute = func(key K, value I) {
		var names []string
		values := make(map[string]O)
		if !in.graph.guard(&out.st, key, func() {
			f(t.ctx, key, value, func(part string, o O) {
				if _, again := values[part]; !again {
					names = append(names, part)
				}
				values[part] = o
			})
		}) {
			return
		}
		for _, old := range parts[key] {
			if _, still := values[old]; !still {
				out.remove(Part[K]{key, old})
			}
		}
		for _, n := range names {
			out.put(Part[K]{key, n}, values[n])
		}
		if len(names) == 0 {
			delete(parts, key)
		} else {
			parts[key] = names
		}
	}
	t.gone = func(key K) {
		for _, old := range parts[key] {
			out.remove(Part[K]{key, old})
		}
		delete(parts, key)
	}
	return start(in.graph, out, t.run)
}

// start takes the collection into the graph and computes it for the first time.
func start[K Key[K], V Value[V]](g *Graph, out *Collection[K, V], run func(first bool)) *Collection[K, V] {
	g.add(out)
	run(true)
	if !g.busy {
		out.reset()
	}
	out.step = func() { run(false) }
	return out
}

// transform is what Map and MapMany have in common: which inputs to compute, and what they read.
type transform[K Key[K], I Value[I]] struct {
	in      *Collection[K, I]
	st      *Stat
	ctx     *Ctx
	compute func(K, I)
	gone    func(K)

	ids  map[K]uint32
	keys []K // by id
	free []uint32
}

func newTransform[K Key[K], I Value[I]](in *Collection[K, I], st *Stat) *transform[K, I] {
	return &transform[K, I]{
		in: in, st: st, ids: make(map[K]uint32),
		ctx: &Ctx{graph: in.graph, st: st, trackers: make(map[any]tracker)},
	}
}

func (t *transform[K, I]) run(first bool) {
	if first {
		for k, v := range t.in.All() {
			t.one(k, v)
		}
		return
	}
	dirty := make(map[K]struct{}, len(t.in.events))
	for i := range t.in.events {
		dirty[t.in.events[i].Key] = struct{}{}
	}
	for _, tr := range t.ctx.trackers {
		tr.affected(func(id uint32) { dirty[t.keys[id]] = struct{}{} })
	}
	for _, k := range sortedKeys(dirty) {
		if v, ok := t.in.Get(k); ok {
			t.one(k, v)
		} else {
			t.end(k)
		}
	}
}

func (t *transform[K, I]) one(key K, value I) {
	id, known := t.ids[key]
	if known {
		t.ctx.forget(id)
	} else {
		id = t.newID(key)
	}
	t.ctx.id = id
	t.st.Computed++
	t.compute(key, value)
}

func (t *transform[K, I]) end(key K) {
	id, known := t.ids[key]
	if !known {
		return // it came and went within a batch
	}
	t.ctx.forget(id)
	delete(t.ids, key)
	var none K
	t.keys[id] = none
	t.free = append(t.free, id)
	t.gone(key)
}

func (t *transform[K, I]) newID(key K) uint32 {
	var id uint32
	if n := len(t.free); n > 0 {
		id = t.free[n-1]
		t.free = t.free[:n-1]
		t.keys[id] = key
	} else {
		id = uint32(len(t.keys))
		t.keys = append(t.keys, key)
	}
	t.ids[key] = id
	return id
}
