package derive

import (
	"slices"
)

// Index files the entries of a collection under further keys.
type Index[IK Key[IK], K Key[K], V Value[V]] struct {
	c       *Collection[K, V]
	name    string
	keys    func(K, V) []IK
	buckets map[IK]*bucket[K, V]
	// changed are the keys whose buckets differ in this batch.
	changed map[IK]struct{}
}

// bucket is a list sorted by key. Once handed out it is not written to any more: the next change copies it.
type bucket[K Key[K], V any] struct {
	entries []Entry[K, V]
	shared  bool
}

// NewIndex makes an index of c; keys returns under which keys an entry is to be found, none if under none. It must be pure.
func NewIndex[IK Key[IK], K Key[K], V Value[V]](c *Collection[K, V], name string, keys func(K, V) []IK) *Index[IK, K, V] {
	ix := &Index[IK, K, V]{
		c: c, name: name, keys: keys,
		buckets: make(map[IK]*bucket[K, V]), changed: make(map[IK]struct{}),
	}
	for _, e := range c.sorted(nil) {
		for _, ik := range keys(e.Key, e.Value) {
			ix.put(ik, e)
		}
	}
	c.indexes = append(c.indexes, ix)
	return ix
}

// Get returns the entries under the key, sorted by their own keys. The list is not to be changed.
func (ix *Index[IK, K, V]) Get(key IK) []Entry[K, V] {
	b := ix.buckets[key]
	if b == nil {
		return nil
	}
	b.shared = true
	return b.entries
}

// Len returns the number of keys that have entries.
func (ix *Index[IK, K, V]) Len() int { return len(ix.buckets) }

func (ix *Index[IK, K, V]) change(e Event[K, V]) {
	var old, now []IK
	if e.HadOld {
		old = ix.keys(e.Key, e.Old)
	}
	if e.HasNew {
		now = ix.keys(e.Key, e.New)
	}
	for _, ik := range old {
		if !slices.Contains(now, ik) {
			ix.drop(ik, e.Key)
			ix.changed[ik] = struct{}{}
		}
	}
	for _, ik := range now {
		ix.put(ik, Entry[K, V]{e.Key, e.New})
		ix.changed[ik] = struct{}{}
	}
}

func (ix *Index[IK, K, V]) put(ik IK, e Entry[K, V]) {
	b := ix.buckets[ik]
	if b == nil {
		ix.buckets[ik] = &bucket[K, V]{entries: []Entry[K, V]{e}}
		return
	}
	b.own()
	i, found := b.find(e.Key)
	if found {
		b.entries[i] = e
		return
	}
	b.entries = slices.Insert(b.entries, i, e)
}

func (ix *Index[IK, K, V]) drop(ik IK, key K) {
	b := ix.buckets[ik]
	if b == nil {
		return
	}
	i, found := b.find(key)
	if !found {
		return
	}
	if len(b.entries) == 1 {
		delete(ix.buckets, ik)
		return
	}
	b.own()
	b.entries = slices.Delete(b.entries, i, i+1)
}

func (b *bucket[K, V]) own() {
	if b.shared {
		b.entries = slices.Clone(b.entries)
		b.shared = false
	}
}

// find is quick for keys that come in order.
func (b *bucket[K, V]) find(key K) (int, bool) {
	if n := len(b.entries); n > 0 && b.entries[n-1].Key.Compare(key) < 0 {
		return n, false
	}
	return slices.BinarySearchFunc(b.entries, key, func(e Entry[K, V], k K) int { return e.Key.Compare(k) })
}

func (ix *Index[IK, K, V]) reset() {
	switch {
	case len(ix.changed) == 0:
	case len(ix.changed) > keepEvents:
		ix.changed = make(map[IK]struct{})
	default:
		clear(ix.changed)
	}
}

// Group is the list of entries under one key of an index, sorted by their own keys; never empty.
type Group[K Key[K], V Value[V]] []Entry[K, V]

// Equal reports whether both lists have equal entries.
func (g Group[K, V]) Equal(o Group[K, V]) bool {
	return slices.EqualFunc(g, o, func(a, b Entry[K, V]) bool { return a.Key == b.Key && a.Value.Equal(b.Value) })
}

// Groups makes a collection of an index: an entry for each key that has entries.
func Groups[IK Key[IK], K Key[K], V Value[V]](ix *Index[IK, K, V], name string) *Collection[IK, Group[K, V]] {
	out := newCollection[IK, Group[K, V]](ix.c.graph, "groups", name, ix.c.Name())
	update := func(ik IK) {
		out.st.Computed++
		if members := ix.Get(ik); members != nil {
			out.put(ik, Group[K, V](members))
			return
		}
		out.remove(ik)
	}
	out.step = func() {
		for _, ik := range sortedKeys(ix.changed) {
			update(ik)
		}
	}
	ix.c.graph.add(out)
	for ik := range ix.buckets {
		out.entries[ik] = Group[K, V](ix.Get(ik))
	}
	return out
}

func sortedKeys[K Key[K], X any](m map[K]X) []K {
	if len(m) == 0 {
		return nil
	}
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	if len(out) > 1 {
		slices.SortFunc(out, func(a, b K) int { return a.Compare(b) })
	}
	return out
}
