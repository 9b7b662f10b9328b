package derive

// Join makes a collection of the entries of all the others. Of several under one key, that of the collection named first
// counts.
func Join[K Key[K], V Value[V]](g *Graph, name string, in ...*Collection[K, V]) *Collection[K, V] {
	return JoinWith(g, name, func(_ K, values []V) V { return values[0] }, in...)
}

// JoinWith makes a collection of the entries of all the others; merge makes one value of those under one key, which come in
// the order in which the collections are named. It must be pure and must not keep the list.
func JoinWith[K Key[K], V Value[V]](
	g *Graph, name string, merge func(key K, values []V) V, in ...*Collection[K, V],
) *Collection[K, V] {
	names := make([]string, len(in))
	for i, c := range in {
		names[i] = c.Name()
	}
	out := newCollection[K, V](g, "join", name, names...)
	values := make([]V, 0, len(in))
	one := func(key K) {
		out.st.Computed++
		values = values[:0]
		for _, c := range in {
			if v, ok := c.Get(key); ok {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			out.remove(key)
			return
		}
		var v V
		if g.guard(&out.st, key, func() { v = merge(key, values) }) {
			out.put(key, v)
		}
	}
	run := func(first bool) {
		dirty := make(map[K]struct{})
		for _, c := range in {
			if first {
				for k := range c.entries {
					dirty[k] = struct{}{}
				}
			}
			for i := range c.events {
				dirty[c.events[i].Key] = struct{}{}
			}
		}
		for _, k := range sortedKeys(dirty) {
			one(k)
		}
	}
	return start(g, out, run)
}
