package translate

import (
	"slices"
	"sync"

	"lateen.dev/lateen/xds"
)

// sharedSets lets groups with equal load assignments have them in one Set, so that the list of all of them stands in memory
// once, is copied once for each change, and is compared once with the one before: as often as clients differ in what they
// see, not once for each namespace. Safe for concurrent use.
type sharedSets struct {
	mu     sync.Mutex
	recent [recentSets]derived // the newest first
}

// derived is a Set and what it was made of: another one, with some members replaced or added.
type derived struct {
	from *xds.Set
	put  []*xds.Resource
	set  *xds.Set
}

// recentSets is how many different Sets are remembered.
const recentSets = 8

// with is old with the resources put into it.
func (s *sharedSets) with(old *xds.Set, put []*xds.Resource) *xds.Set {
	s.mu.Lock()
	for i := range s.recent {
		if d := &s.recent[i]; d.set != nil && d.from == old && slices.Equal(d.put, put) {
			s.mu.Unlock()
			return d.set
		}
	}
	s.mu.Unlock()
	return s.share(derived{old, put, old.With(put, nil)})
}

// same is a set with the same members: mostly another group's.
func (s *sharedSets) same(set *xds.Set) *xds.Set { return s.share(derived{set: set}) }

func (s *sharedSets) share(made derived) *xds.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.recent {
		if d := &s.recent[i]; d.set != nil && d.set.Alike(made.set) {
			made.set = d.set
			break
		}
	}
	copy(s.recent[1:], s.recent[:])
	s.recent[0] = made
	return made.set
}
