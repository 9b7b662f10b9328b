package source

import (
	"slices"

	"lateen.dev/lateen/config"
)

// Live holds the objects of a source that hears of them one by one, and makes
// the batches that lead from what was emitted to what there is: each key once,
// nothing that didn't change, generations counted. The zero Live is empty. It
// belongs to one goroutine, or to its owner's lock.
type Live struct {
	now      map[config.Key]*config.Object
	emitted  map[config.Key]*config.Object
	touched  map[config.Key]struct{}
	revision uint64
	began    bool
}

// Put adds or replaces an object, which Live completes: it must be the caller's
// alone. An object equal to the one there is dropped.
func (l *Live) Put(o *config.Object) {
	if l.now == nil {
		l.now, l.emitted, l.touched = map[config.Key]*config.Object{}, map[config.Key]*config.Object{}, map[config.Key]struct{}{}
	}
	old := l.now[o.Key]
	if old.Equal(o) {
		return
	}
	o.Generation, o.ResourceVersion = 1, o.ContentHash()
	if old != nil {
		if o.Generation = old.Generation; !o.SameContent(old) {
			o.Generation++
		}
	}
	l.now[o.Key] = o
	l.touched[o.Key] = struct{}{}
}

// Drop takes an object away; it is no error if there is none.
func (l *Live) Drop(key config.Key) {
	if _, there := l.now[key]; there {
		delete(l.now, key)
		l.touched[key] = struct{}{}
	}
}

// Replace makes objects the whole set.
func (l *Live) Replace(objects []*config.Object) {
	keep := make(map[config.Key]struct{}, len(objects))
	for _, o := range objects {
		keep[o.Key] = struct{}{}
		l.Put(o)
	}
	for key := range l.now {
		if _, there := keep[key]; !there {
			l.Drop(key)
		}
	}
}

// Len is how many objects have been emitted.
func (l *Live) Len() int { return len(l.emitted) }

// Objects are all that have been emitted, by key.
func (l *Live) Objects() []*config.Object {
	all := make([]*config.Object, 0, len(l.emitted))
	for _, o := range l.emitted {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b *config.Object) int { return a.Compare(b.Key) })
	return all
}

// Batch is what changed since the last Batch; the first is the initial one. ok
// is false when there is nothing to tell.
func (l *Live) Batch() (b Batch, ok bool) {
	for key := range l.touched {
		now, was := l.now[key], l.emitted[key]
		switch {
		case now == nil && was == nil, now != nil && now.Equal(was):
			continue
		case now == nil:
			delete(l.emitted, key)
			b.Changes = append(b.Changes, Drop(key))
		default:
			l.emitted[key] = now
			b.Changes = append(b.Changes, Put(now))
		}
	}
	clear(l.touched)
	slices.SortFunc(b.Changes, func(a, b Change) int { return a.Key.Compare(b.Key) })
	b.Initial, l.began = !l.began, true
	if len(b.Changes) > 0 {
		l.revision++
	}
	b.Revision = l.revision
	return b, b.Initial || len(b.Changes) > 0
}
