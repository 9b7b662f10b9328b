package source

import (
	"context"
	"slices"

	"lateen.dev/lateen/config"
)

// Source is a place that configuration objects come from.
type Source interface {
	// Name identifies the source in logs and in Origin.Source: "file", "workload".
	Name() string
	// Run emits the full set of objects as one first Batch with Initial set
	// (also when there are none), then a Batch per set of changes, until ctx
	// ends; it returns nil then, and an error only when it can't go on. It is
	// called once. It calls sink from one goroutine at a time.
	Run(ctx context.Context, sink Sink) error
	// Problems are the present complaints about what the source holds. An
	// object that became invalid is complained about here while its last good
	// version stays live. Safe to call at any time.
	Problems() config.Problems
}

// Sink takes what a Source emits. Apply must not block for long and must not
// call back into the source; it may keep the batch's objects, which are immutable.
type Sink interface {
	Apply(Batch)
}

// SinkFunc lets a function be a Sink.
type SinkFunc func(Batch)

// Apply calls the function.
func (f SinkFunc) Apply(b Batch) { f(b) }

// Batch is a set of changes that belong together: they are all applied before
// anybody looks at the result. At most one change per key.
type Batch struct {
	// Initial marks the first batch of a Run: the complete set.
	Initial bool
	// Revision numbers the state that the source is in after the batch. It
	// never falls, and equals what the source's writing methods returned for
	// the change, so that a caller can wait for its own change.
	Revision uint64
	Changes  []Change
}

// Change is one object added, updated or deleted.
type Change struct {
	Key config.Key
	// Object is the new object; nil means deleted.
	Object *config.Object
}

// Put is the change that adds or replaces an object.
func Put(o *config.Object) Change { return Change{Key: o.Key, Object: o} }

// Drop is the change that deletes an object.
func Drop(k config.Key) Change { return Change{Key: k} }

// Overlay joins lists of objects into one, sorted by key. For a key in several
// lists the earlier list's object counts.
func Overlay(lists ...[]*config.Object) []*config.Object {
	seen := map[config.Key]bool{}
	var all []*config.Object
	for _, list := range lists {
		for _, o := range list {
			if !seen[o.Key] {
				seen[o.Key] = true
				all = append(all, o)
			}
		}
	}
	slices.SortFunc(all, func(a, b *config.Object) int { return a.Compare(b.Key) })
	return all
}
