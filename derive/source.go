package derive

// Source is a collection that is changed from outside, inside Update.
type Source[K Key[K], V Value[V]] struct {
	*Collection[K, V]
}

// NewSource returns an empty Source.
func NewSource[K Key[K], V Value[V]](g *Graph, name string) *Source[K, V] {
	c := newCollection[K, V](g, "source", name)
	g.add(c)
	return &Source[K, V]{c}
}

// NewStatic returns a collection that never changes.
func NewStatic[K Key[K], V Value[V]](g *Graph, name string, entries []Entry[K, V]) *Collection[K, V] {
	c := newCollection[K, V](g, "static", name)
	for _, e := range entries {
		c.entries[e.Key] = e.Value
	}
	g.add(c)
	return c
}

// Set adds or replaces an entry.
func (s *Source[K, V]) Set(key K, value V) {
	s.mustBeInBatch()
	s.put(key, value)
}

// Delete removes an entry, if there is one.
func (s *Source[K, V]) Delete(key K) {
	s.mustBeInBatch()
	s.remove(key)
}

// Replace makes the entries exactly these.
func (s *Source[K, V]) Replace(entries []Entry[K, V]) {
	s.mustBeInBatch()
	keep := make(map[K]struct{}, len(entries))
	for _, e := range entries {
		keep[e.Key] = struct{}{}
		s.put(e.Key, e.Value)
	}
	for _, e := range s.sorted(func(k K, _ V) bool { _, ok := keep[k]; return !ok }) {
		s.remove(e.Key)
	}
}

func (s *Source[K, V]) mustBeInBatch() {
	if !s.graph.busy {
		panic("derive: " + s.st.Name + " changed outside Update")
	}
}
