package derive

import "fmt"

// Ctx is a transformation's access to other collections. What is read through it is remembered: when it changes, the
// transformation runs again for the same input.
type Ctx struct {
	graph *Graph
	st    *Stat
	id    uint32 // the input that is being computed
	// trackers are what this collection's transformation reads, by the *Collection or *Index that is read.
	trackers map[any]tracker
	// used are the trackers that know each input, by its id.
	used [][]tracker
}

// tracker knows which inputs read what of one collection. Inputs are numbered by the reading collection.
type tracker interface {
	// affected marks the inputs that read something that this batch changed.
	affected(mark func(id uint32))
	// forget drops all that an input read.
	forget(id uint32)
}

// FetchKey returns the entry of c under key and whether there is one.
func FetchKey[K Key[K], V Value[V]](ctx *Ctx, c *Collection[K, V], key K) (V, bool) {
	t := trackerOf(ctx, trackByKey{c}, c.st.order, c.st.Name, func() *keyTracker[K] {
		return &keyTracker[K]{readers: make(map[K]idSet), keys: make(map[uint32][]K), changed: func(mark func(K)) {
			for i := range c.events {
				mark(c.events[i].Key)
			}
		}}
	})
	t.add(ctx, key)
	return c.Get(key)
}

// FetchIndex returns the entries under key in the index, sorted by their own keys. The list is not to be changed.
func FetchIndex[IK Key[IK], K Key[K], V Value[V]](ctx *Ctx, ix *Index[IK, K, V], key IK) []Entry[K, V] {
	t := trackerOf(ctx, ix, ix.c.st.order, ix.c.st.Name, func() *keyTracker[IK] {
		return &keyTracker[IK]{readers: make(map[IK]idSet), keys: make(map[uint32][]IK), changed: func(mark func(IK)) {
			for ik := range ix.changed {
				mark(ik)
			}
		}}
	})
	t.add(ctx, key)
	return ix.Get(key)
}

// FetchWhere returns the entries of c that keep takes, sorted by key. Each change of c is shown to keep again, so it costs
// more than FetchKey and FetchIndex; keep must be pure, and is kept.
func FetchWhere[K Key[K], V Value[V]](ctx *Ctx, c *Collection[K, V], keep func(K, V) bool) []Entry[K, V] {
	t := trackerOf(ctx, trackWhere{c}, c.st.order, c.st.Name, func() *whereTracker[K, V] {
		return &whereTracker[K, V]{c: c, preds: make(map[uint32][]func(K, V) bool)}
	})
	t.add(ctx, keep)
	return c.sorted(keep)
}

// FetchAll returns all entries of c, sorted by key. Every change of c makes the transformation run again.
func FetchAll[K Key[K], V Value[V]](ctx *Ctx, c *Collection[K, V]) []Entry[K, V] {
	return FetchWhere(ctx, c, func(K, V) bool { return true })
}

// trackByKey and trackWhere tell apart the two ways in which one collection can be tracked.
type (
	trackByKey struct{ c any }
	trackWhere struct{ c any }
)

func trackerOf[T tracker](ctx *Ctx, what any, order int, name string, make func() T) T {
	if t, ok := ctx.trackers[what]; ok {
		return t.(T)
	}
	if order >= ctx.st.order {
		panic(fmt.Sprintf("derive: %s reads %s, which was declared after it", ctx.st.Name, name))
	}
	t := make()
	ctx.trackers[what] = t
	ctx.st.reads(name)
	return t
}

// use remembers that t knows the present input.
func (c *Ctx) use(t tracker) {
	for int(c.id) >= len(c.used) {
		c.used = append(c.used, nil)
	}
	for _, u := range c.used[c.id] {
		if u == t {
			return
		}
	}
	c.used[c.id] = append(c.used[c.id], t)
}

// forget drops what the input read.
func (c *Ctx) forget(id uint32) {
	if int(id) >= len(c.used) {
		return
	}
	for _, t := range c.used[id] {
		t.forget(id)
	}
	c.used[id] = c.used[id][:0]
}

// keyTracker tracks reading by key, of a collection or of an index.
type keyTracker[K Key[K]] struct {
	readers map[K]idSet
	keys    map[uint32][]K
	changed func(mark func(K))
}

func (t *keyTracker[K]) add(ctx *Ctx, key K) {
	set := t.readers[key]
	if !set.add(ctx.id) {
		return
	}
	t.readers[key] = set
	t.keys[ctx.id] = append(t.keys[ctx.id], key)
	ctx.use(t)
}

func (t *keyTracker[K]) affected(mark func(id uint32)) {
	if len(t.readers) == 0 {
		return
	}
	t.changed(func(key K) {
		set := t.readers[key]
		set.each(mark)
	})
}

func (t *keyTracker[K]) forget(id uint32) {
	for _, key := range t.keys[id] {
		set := t.readers[key]
		if set.remove(id); set.empty() {
			delete(t.readers, key)
		} else {
			t.readers[key] = set
		}
	}
	delete(t.keys, id)
}

// whereTracker tracks reading by predicate.
type whereTracker[K Key[K], V Value[V]] struct {
	c     *Collection[K, V]
	preds map[uint32][]func(K, V) bool
}

func (t *whereTracker[K, V]) add(ctx *Ctx, keep func(K, V) bool) {
	t.preds[ctx.id] = append(t.preds[ctx.id], keep)
	ctx.use(t)
}

func (t *whereTracker[K, V]) affected(mark func(id uint32)) {
	if len(t.c.events) == 0 {
		return
	}
	for id, preds := range t.preds {
		if t.concerns(preds) {
			mark(id)
		}
	}
}

func (t *whereTracker[K, V]) concerns(preds []func(K, V) bool) bool {
	for i := range t.c.events {
		e := &t.c.events[i]
		for _, keep := range preds {
			if e.HadOld && keep(e.Key, e.Old) || e.HasNew && keep(e.Key, e.New) {
				return true
			}
		}
	}
	return false
}

func (t *whereTracker[K, V]) forget(id uint32) { delete(t.preds, id) }

// idSet is a set of numbers: a short list, or a map when it grows.
type idSet struct {
	few  []uint32
	many map[uint32]struct{}
}

const fewIDs = 8

func (s *idSet) add(id uint32) bool {
	if s.many != nil {
		if _, ok := s.many[id]; ok {
			return false
		}
		s.many[id] = struct{}{}
		return true
	}
	for _, x := range s.few {
		if x == id {
			return false
		}
	}
	if len(s.few) < fewIDs {
		s.few = append(s.few, id)
		return true
	}
	s.many = make(map[uint32]struct{}, 4*fewIDs)
	for _, x := range s.few {
		s.many[x] = struct{}{}
	}
	s.many[id], s.few = struct{}{}, nil
	return true
}

func (s *idSet) remove(id uint32) {
	if s.many != nil {
		delete(s.many, id)
		return
	}
	for i, x := range s.few {
		if x == id {
			s.few[i] = s.few[len(s.few)-1]
			s.few = s.few[:len(s.few)-1]
			return
		}
	}
}

func (s *idSet) empty() bool { return len(s.few) == 0 && len(s.many) == 0 }

func (s *idSet) each(f func(uint32)) {
	for _, x := range s.few {
		f(x)
	}
	for x := range s.many {
		f(x)
	}
}
