package xds

import (
	"slices"
	"time"
)

// State is everything that the control plane wants one client to have at one
// moment: a Set for each type. It is immutable; clients with equal needs share
// one State, and consecutive States share the Sets that did not change.
type State struct {
	// Revision is the number of the control plane's snapshot that the state was
	// made from. It rises with every snapshot, also where nothing changed for
	// this client, so that "this client has seen revision 7" can be answered.
	Revision uint64
	// Changed is when the change behind this revision reached the control
	// plane; the zero time if unknown. Convergence is measured from it.
	Changed time.Time

	*content
}

// content is what a state consists of, whatever its revision.
type content struct{ sets []*Set } // a few, of different types

// NewState makes a state of the given sets, at most one for each type.
func NewState(revision uint64, changed time.Time, sets ...*Set) *State {
	s := &State{Revision: revision, Changed: changed, content: &content{make([]*Set, 0, len(sets))}}
	for _, set := range sets {
		if set != nil {
			s.put(set)
		}
	}
	return s
}

// put is for a content that is being made.
func (c *content) put(set *Set) {
	for i, other := range c.sets {
		if other.typeURL == set.typeURL {
			c.sets[i] = set
			return
		}
	}
	c.sets = append(c.sets, set)
}

// At is the same state as a later revision, for a snapshot that changed
// nothing for its clients.
func (s *State) At(revision uint64, changed time.Time) *State {
	return &State{Revision: revision, Changed: changed, content: s.content}
}

// Same reports whether the state is made of what the other one was made of by At.
// Others may have equal sets nevertheless.
func (s *State) Same(other *State) bool { return s.content == other.content }

// With is the same state with another set.
func (s *State) With(set *Set) *State {
	out := &State{Revision: s.Revision, Changed: s.Changed, content: &content{slices.Clone(s.sets)}}
	out.put(set)
	return out
}

// Set is the state's set of the type; nil, which is an empty set, if it has
// none.
func (s *State) Set(typeURL string) *Set {
	if s == nil {
		return nil
	}
	for _, set := range s.sets {
		if set.typeURL == typeURL {
			return set
		}
	}
	return nil
}

// Types are the type URLs of the state's sets, sorted in the order of additions.
func (s *State) Types() []string {
	if s == nil {
		return nil
	}
	types := make([]string, 0, len(s.sets))
	for _, set := range s.sets {
		types = append(types, set.typeURL)
	}
	slices.SortFunc(types, CompareTypes)
	return types
}

// CompareTypes orders type URLs by rank, then by name.
func CompareTypes(a, b string) int {
	if ra, rb := Rank(a), Rank(b); ra != rb {
		return ra - rb
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
