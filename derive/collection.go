package derive

import (
	"iter"
	"slices"
)

// Key is what the entries of a collection are filed under: comparable, and with an order, so that lists come out the same
// however they came about.
type Key[K any] interface {
	comparable
	Compare(K) int
}

// Value is what a collection holds. Equal says that an update changes nothing.
type Value[V any] interface {
	Equal(V) bool
}

// Entry is a key with its value.
type Entry[K, V any] struct {
	Key   K
	Value V
}

// Event is the difference that a batch made to one entry. Old is the zero value for an entry that is new, New for one that
// is gone.
type Event[K, V any] struct {
	Key    K
	Old    V
	New    V
	HadOld bool
	HasNew bool
}

// Collection is a set of entries that changes in batches. Reading it is allowed inside Update and View.
type Collection[K Key[K], V Value[V]] struct {
	graph   *Graph
	st      Stat
	entries map[K]V
	indexes []maintained[K, V]
	subs    []func([]Event[K, V])
	step    func() // what run does; nil for sources

	events []Event[K, V]
	// at finds an entry's event of this batch.
	at map[K]int
}

// maintained is an Index as its collection sees it.
type maintained[K, V any] interface {
	change(e Event[K, V])
	reset()
}

func newCollection[K Key[K], V Value[V]](g *Graph, kind, name string, inputs ...string) *Collection[K, V] {
	return &Collection[K, V]{
		graph: g, st: Stat{Name: name, Kind: kind, Inputs: inputs},
		entries: make(map[K]V), at: make(map[K]int),
	}
}

// Name returns the collection's name.
func (c *Collection[K, V]) Name() string { return c.st.Name }

// Len returns the number of entries.
func (c *Collection[K, V]) Len() int { return len(c.entries) }

// Get returns the entry's value and whether there is one.
func (c *Collection[K, V]) Get(key K) (V, bool) {
	v, ok := c.entries[key]
	return v, ok
}

// All yields the entries in the order of their keys.
func (c *Collection[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, e := range c.sorted(nil) {
			if !yield(e.Key, e.Value) {
				return
			}
		}
	}
}

func (c *Collection[K, V]) sorted(keep func(K, V) bool) []Entry[K, V] {
	var out []Entry[K, V]
	if keep == nil {
		out = make([]Entry[K, V], 0, len(c.entries))
	}
	for k, v := range c.entries {
		if keep == nil || keep(k, v) {
			out = append(out, Entry[K, V]{k, v})
		}
	}
	slices.SortFunc(out, func(a, b Entry[K, V]) int { return a.Key.Compare(b.Key) })
	return out
}

// Subscribe calls fn with the collection's entries as they are now, and at the end of every batch that changed some of them
// with the differences, at most one for each key. fn must not keep the slice.
func (c *Collection[K, V]) Subscribe(fn func([]Event[K, V])) {
	if len(c.entries) > 0 {
		events := make([]Event[K, V], 0, len(c.entries))
		for _, e := range c.sorted(nil) {
			events = append(events, Event[K, V]{Key: e.Key, New: e.Value, HasNew: true})
		}
		fn(events)
	}
	c.subs = append(c.subs, fn)
}

// put files a value. Only the collection's own node calls it.
func (c *Collection[K, V]) put(key K, value V) {
	old, had := c.entries[key]
	if had && old.Equal(value) {
		return
	}
	c.entries[key] = value
	c.record(Event[K, V]{Key: key, Old: old, New: value, HadOld: had, HasNew: true})
}

// remove takes an entry out, if it is there.
func (c *Collection[K, V]) remove(key K) {
	old, had := c.entries[key]
	if !had {
		return
	}
	delete(c.entries, key)
	c.record(Event[K, V]{Key: key, Old: old, HadOld: true})
}

// record keeps the event, merged with an earlier one of the same batch, and the indexes right.
func (c *Collection[K, V]) record(e Event[K, V]) {
	for _, ix := range c.indexes {
		ix.change(e)
	}
	i, again := c.at[e.Key]
	if !again {
		c.at[e.Key] = len(c.events)
		c.events = append(c.events, e)
		return
	}
	first := &c.events[i]
	first.New, first.HasNew = e.New, e.HasNew
	same := !first.HadOld && !first.HasNew || first.HadOld && first.HasNew && first.Old.Equal(first.New)
	if !same {
		return
	}
	// The batch left the entry as it was: the last event takes this one's place.
	delete(c.at, e.Key)
	last := len(c.events) - 1
	if i != last {
		c.events[i] = c.events[last]
		c.at[c.events[i].Key] = i
	}
	c.events = c.events[:last]
}

func (c *Collection[K, V]) run() {
	if c.step != nil {
		c.step()
	}
}

func (c *Collection[K, V]) deliver() {
	if len(c.events) == 0 {
		return
	}
	for _, fn := range c.subs {
		fn(c.events)
	}
}

// keepEvents is how many events' room a collection keeps between batches.
const keepEvents = 256

func (c *Collection[K, V]) reset() {
	if len(c.events) == 0 && len(c.at) == 0 {
		for _, ix := range c.indexes {
			ix.reset()
		}
		return
	}
	if cap(c.events) > keepEvents {
		c.events, c.at = nil, make(map[K]int)
	} else {
		clear(c.events)
		c.events = c.events[:0]
		clear(c.at)
	}
	for _, ix := range c.indexes {
		ix.reset()
	}
}

func (c *Collection[K, V]) pending() int { return len(c.events) }

func (c *Collection[K, V]) stat() *Stat {
	c.st.Size = len(c.entries)
	return &c.st
}
