package persist

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// The map is a hash array mapped trie: each level takes five bits of the hash, inner nodes hold only the slots in use, and
// keys whose whole hashes agree share a leaf of several entries.
const (
	levelBits = 5
	levelMask = 1<<levelBits - 1
)

// seed is the same for all maps of the process; it is never written after start.
var seed = maphash.MakeSeed()

// Map is an immutable map. The zero Map is empty.
type Map[K comparable, V any] struct {
	root *node[K, V]
	size int
}

// node is an inner node (slots by bitmap) or a leaf (entries with one hash).
type node[K comparable, V any] struct {
	owner  *token // of the Editor that may write to it in place
	bitmap uint32
	slots  []slot[K, V]
}

// slot holds a child node, or one or more entries of equal hash.
type slot[K comparable, V any] struct {
	child *node[K, V]
	hash  uint64
	key   K
	value V
	more  *[]entry[K, V] // further entries whose hash is the same, nil for none; shared between maps, so never written to
}

func (s *slot[K, V]) others() []entry[K, V] {
	if s.more == nil {
		return nil
	}
	return *s.more
}

// token is the identity of an Editor. It has a size so that each is at an address of its own.
type token struct{ _ byte }

type entry[K comparable, V any] struct {
	key   K
	value V
}

// Len returns the number of entries.
func (m Map[K, V]) Len() int { return m.size }

// Get returns the entry's value and whether there is one.
func (m Map[K, V]) Get(key K) (V, bool) {
	h := maphash.Comparable(seed, key)
	n := m.root
	for shift := uint(0); n != nil; shift += levelBits {
		bit := uint32(1) << (h >> shift & levelMask)
		if n.bitmap&bit == 0 {
			break
		}
		s := &n.slots[bits.OnesCount32(n.bitmap&(bit-1))]
		if s.child != nil {
			n = s.child
			continue
		}
		if s.hash != h {
			break
		}
		return s.find(key)
	}
	var zero V
	return zero, false
}

func (s *slot[K, V]) find(key K) (V, bool) {
	if s.key == key {
		return s.value, true
	}
	for _, e := range s.others() {
		if e.key == key {
			return e.value, true
		}
	}
	var zero V
	return zero, false
}

// At returns the entry's value, or the zero value.
func (m Map[K, V]) At(key K) V {
	v, _ := m.Get(key)
	return v
}

// All yields every entry, in an order that is the same for the same Map but otherwise arbitrary.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.root != nil {
			m.root.each(yield)
		}
	}
}

func (n *node[K, V]) each(yield func(K, V) bool) bool {
	for i := range n.slots {
		s := &n.slots[i]
		if s.child != nil {
			if !s.child.each(yield) {
				return false
			}
			continue
		}
		if !yield(s.key, s.value) {
			return false
		}
		for _, e := range s.others() {
			if !yield(e.key, e.value) {
				return false
			}
		}
	}
	return true
}

// Edit starts a set of changes. The map itself stays as it is.
func (m Map[K, V]) Edit() *Editor[K, V] {
	return &Editor[K, V]{m: m, id: new(token)}
}

// Editor makes a new Map out of an old one. It writes in place to nodes that it made itself.
type Editor[K comparable, V any] struct {
	m  Map[K, V]
	id *token
}

// Len returns the number of entries as edited so far.
func (e *Editor[K, V]) Len() int { return e.m.size }

// Get reads the map as edited so far.
func (e *Editor[K, V]) Get(key K) (V, bool) { return e.m.Get(key) }

// Map ends the editing.
func (e *Editor[K, V]) Map() Map[K, V] {
	e.id = nil
	return e.m
}

// Set adds or replaces an entry.
func (e *Editor[K, V]) Set(key K, value V) {
	h := maphash.Comparable(seed, key)
	if e.m.root == nil {
		e.m.root = &node[K, V]{owner: e.id}
	}
	root, added := e.set(e.m.root, 0, slot[K, V]{hash: h, key: key, value: value})
	e.m.root = root
	if added {
		e.m.size++
	}
}

func (e *Editor[K, V]) set(n *node[K, V], shift uint, s slot[K, V]) (*node[K, V], bool) {
	n = e.own(n)
	bit := uint32(1) << (s.hash >> shift & levelMask)
	i := bits.OnesCount32(n.bitmap & (bit - 1))
	if n.bitmap&bit == 0 {
		n.bitmap |= bit
		n.slots = append(n.slots, slot[K, V]{})
		copy(n.slots[i+1:], n.slots[i:])
		n.slots[i] = s
		return n, true
	}
	old := &n.slots[i]
	if old.child != nil {
		child, added := e.set(old.child, shift+levelBits, s)
		old.child = child
		return n, added
	}
	if old.hash == s.hash {
		return n, old.put(s.key, s.value)
	}
	// Two hashes part further down: both move there.
	child := &node[K, V]{owner: e.id}
	child, _ = e.set(child, shift+levelBits, *old)
	child, _ = e.set(child, shift+levelBits, s)
	n.slots[i] = slot[K, V]{child: child}
	return n, true
}

// put replaces or adds an entry of the slot's own hash.
func (s *slot[K, V]) put(key K, value V) (added bool) {
	if s.key == key {
		s.value = value
		return false
	}
	more := slices.Clone(s.others())
	i := slices.IndexFunc(more, func(e entry[K, V]) bool { return e.key == key })
	if i >= 0 {
		more[i].value = value
	} else {
		more = append(more, entry[K, V]{key, value})
	}
	s.more = &more
	return i < 0
}

// Delete removes an entry, if there is one.
func (e *Editor[K, V]) Delete(key K) {
	if e.m.root == nil {
		return
	}
	if _, ok := e.m.Get(key); !ok {
		return
	}
	e.m.root = e.remove(e.m.root, 0, maphash.Comparable(seed, key), key)
	e.m.size--
}

// remove deletes a key that is known to be there; nil is returned for a node left without slots.
func (e *Editor[K, V]) remove(n *node[K, V], shift uint, h uint64, key K) *node[K, V] {
	n = e.own(n)
	bit := uint32(1) << (h >> shift & levelMask)
	i := bits.OnesCount32(n.bitmap & (bit - 1))
	s := &n.slots[i]
	if s.child != nil {
		s.child = e.remove(s.child, shift+levelBits, h, key)
		switch {
		case s.child == nil:
			n.drop(i, bit)
		case len(s.child.slots) == 1 && s.child.slots[0].child == nil:
			*s = s.child.slots[0] // a lone leaf moves up, so that equal maps have equal shapes
		}
	} else if !s.cut(key) {
		n.drop(i, bit)
	}
	if len(n.slots) == 0 {
		return nil
	}
	return n
}

// cut takes one entry out of a leaf and reports whether others remain.
func (s *slot[K, V]) cut(key K) bool {
	more := slices.Clone(s.others())
	if len(more) == 0 {
		return false
	}
	if s.key == key {
		s.key, s.value = more[0].key, more[0].value
		more = more[1:]
	} else {
		more = slices.DeleteFunc(more, func(e entry[K, V]) bool { return e.key == key })
	}
	s.more = nil
	if len(more) > 0 {
		s.more = &more
	}
	return true
}

func (n *node[K, V]) drop(i int, bit uint32) {
	n.bitmap &^= bit
	copy(n.slots[i:], n.slots[i+1:])
	n.slots[len(n.slots)-1] = slot[K, V]{}
	n.slots = n.slots[:len(n.slots)-1]
}

// own returns a node that this Editor may write to: n itself if it made it, else a copy.
func (e *Editor[K, V]) own(n *node[K, V]) *node[K, V] {
	if e.id == nil {
		panic("persist: Editor used after Map")
	}
	if n.owner == e.id {
		return n
	}
	c := &node[K, V]{owner: e.id, bitmap: n.bitmap, slots: make([]slot[K, V], len(n.slots), len(n.slots)+1)}
	copy(c.slots, n.slots)
	return c
}
