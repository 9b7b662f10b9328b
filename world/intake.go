package world

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"lateen.dev/lateen/config"
)

// intake holds what the sources say and decides, for a key that several have, whose object counts. It belongs to the
// goroutine that applies.
type intake struct {
	rank    map[string]int // of the listed sources
	objects map[config.Key][]sourced
	// held are the keys that each source has, so that a source which starts again can be cleared.
	held      map[string]map[config.Key]struct{}
	revisions map[string]uint64
}

// sourced is an object with the name of its source; lists of them are sorted by precedence.
type sourced struct {
	source string
	object *config.Object
}

func newIntake(sources []string) intake {
	in := intake{
		rank: make(map[string]int), objects: make(map[config.Key][]sourced),
		held: make(map[string]map[config.Key]struct{}), revisions: make(map[string]uint64),
	}
	for i, s := range sources {
		in.rank[s] = i
	}
	return in
}

// compare orders sources by precedence: the listed ones as listed, then the others by name.
func (in *intake) compare(a, b string) int {
	ra, aListed := in.rank[a]
	rb, bListed := in.rank[b]
	switch {
	case aListed && bListed:
		return cmp.Compare(ra, rb)
	case aListed != bListed && aListed:
		return -1
	case aListed != bListed:
		return 1
	default:
		return strings.Compare(a, b)
	}
}

// apply takes a batch in and returns the objects that count now under the keys that it touched, nil for none.
func (in *intake) apply(b Batch) map[config.Key]*config.Object {
	held := in.held[b.Source]
	if held == nil {
		held = make(map[config.Key]struct{}, len(b.Changes))
		in.held[b.Source] = held
	}
	out := make(map[config.Key]*config.Object, len(b.Changes))
	touch := func(key config.Key, o *config.Object) {
		in.put(b.Source, key, o)
		if o != nil {
			held[key] = struct{}{}
		} else {
			delete(held, key)
		}
		out[key] = in.winner(key)
	}
	if b.Initial {
		gone := maps.Clone(held)
		for i := range b.Changes {
			if b.Changes[i].Object != nil {
				delete(gone, b.Changes[i].Key)
			}
		}
		for key := range gone {
			touch(key, nil)
		}
	}
	for i := range b.Changes {
		touch(b.Changes[i].Key, b.Changes[i].Object)
	}
	in.revisions = maps.Clone(in.revisions) // Snapshots keep the old one
	in.revisions[b.Source] = b.Revision
	return out
}

func (in *intake) put(source string, key config.Key, o *config.Object) {
	list := in.objects[key]
	i, found := slices.BinarySearchFunc(list, source, func(s sourced, name string) int { return in.compare(s.source, name) })
	switch {
	case found && o != nil:
		list[i].object = o
	case found:
		list = slices.Delete(list, i, i+1)
	case o != nil:
		list = slices.Insert(list, i, sourced{source, o})
	}
	if len(list) == 0 {
		delete(in.objects, key)
		return
	}
	in.objects[key] = list
}

func (in *intake) winner(key config.Key) *config.Object {
	if list := in.objects[key]; len(list) > 0 {
		return list[0].object
	}
	return nil
}
