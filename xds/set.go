package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"weak"
)

// Set is an immutable collection of resources of one type, sorted by name. The
// nil Set is an empty one.
type Set struct {
	typeURL string
	list    []*Resource
	// find is what the set has beside its members; see WithLookup.
	find func(name string) *Resource

	versionOnce sync.Once
	version     string

	// last is the newest difference computed against this set. Many clients
	// move from the same old set to the same new one at the same time, so one
	// entry serves nearly all of them.
	last atomic.Pointer[cachedDiff]
}

// NewSet makes a set of resources of the given type. The slice is copied. Of
// several resources with one name the first is kept, so that a duplicate can
// hurt nobody but itself.
func NewSet(typeURL string, resources []*Resource) *Set {
	list := slices.Clone(resources)
	slices.SortStableFunc(list, byName)
	list = slices.CompactFunc(list, func(a, b *Resource) bool { return a.Name == b.Name })
	return &Set{typeURL: typeURL, list: slices.Clip(list)}
}

func byName(a, b *Resource) int { return strings.Compare(a.Name, b.Name) }

// With is the set with the given resources added or replaced and the removed
// names taken out; what can be had by name only stays. It copies pointers and looks only at what changes: its time is
// that of the change times the logarithm of the set, and of a plain copy.
func (s *Set) With(put []*Resource, removed []string) *Set {
	put = slices.Clone(put)
	slices.SortStableFunc(put, byName)
	put = slices.CompactFunc(put, func(a, b *Resource) bool { return a.Name == b.Name })
	changes := make([]alteration, 0, len(put)+len(removed))
	for _, r := range put {
		changes = append(changes, alteration{r.Name, r})
	}
	for _, name := range removed {
		changes = append(changes, alteration{name, nil})
	}
	// Of a name that is put and removed, the put comes first and counts.
	slices.SortStableFunc(changes, func(a, b alteration) int { return strings.Compare(a.name, b.name) })
	changes = slices.CompactFunc(changes, func(a, b alteration) bool { return a.name == b.name })
	var list []*Resource
	var find func(string) *Resource
	if s != nil {
		list, find = s.list, s.find
	}
	out := make([]*Resource, 0, len(list)+len(put))
	for _, c := range changes {
		i, found := slices.BinarySearchFunc(list, c.name, func(r *Resource, name string) int { return strings.Compare(r.Name, name) })
		out = append(out, list[:i]...)
		if c.to != nil {
			out = append(out, c.to)
		}
		if found {
			i++
		}
		list = list[i:]
	}
	return &Set{typeURL: s.TypeURL(), list: append(out, list...), find: find}
}

// Alike reports whether both sets have the very same resources as members. It
// takes no look into them: resources that are merely equal don't count.
func (s *Set) Alike(other *Set) bool {
	return s == other || s != nil && other != nil && s.typeURL == other.typeURL && slices.Equal(s.list, other.list)
}

// alteration puts a resource under a name, or takes it away.
type alteration struct {
	name string
	to   *Resource
}

// WithLookup is the set with more that can be had by name, and by name only: a
// wildcard or a collection brings the members alone. find returns nil for what
// there is not. It must give the same answer at every time, the same pointer, and
// may be called by any number of goroutines.
func (s *Set) WithLookup(find func(name string) *Resource) *Set {
	out := &Set{typeURL: s.TypeURL(), find: find}
	if s != nil {
		out.list = s.list
	}
	return out
}

// OnDemand reports whether the set has more than its members.
func (s *Set) OnDemand() bool { return s != nil && s.find != nil }

// TypeURL is the type of the set's resources.
func (s *Set) TypeURL() string {
	if s == nil {
		return ""
	}
	return s.typeURL
}

// Len is the number of resources.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.list)
}

// Get finds a resource by name, a member or one that can be had by name only; nil
// if there is none.
func (s *Set) Get(name string) *Resource {
	if r := s.Member(name); r != nil || s == nil || s.find == nil {
		return r
	}
	return s.find(name)
}

// Member finds a member by name; nil if there is none.
func (s *Set) Member(name string) *Resource {
	if s == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(s.list, name, func(r *Resource, name string) int { return strings.Compare(r.Name, name) })
	if !ok {
		return nil
	}
	return s.list[i]
}

// Members yields the resources of the set that belong to the collection, in the
// order of their names.
func (s *Set) Members(collection string) iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		if s == nil {
			return
		}
		prefix := collection + "/"
		i, _ := slices.BinarySearchFunc(s.list, prefix, func(r *Resource, name string) int { return strings.Compare(r.Name, name) })
		for _, r := range s.list[i:] {
			if !strings.HasPrefix(r.Name, prefix) || Collection(s.typeURL, r.Name) == collection && !yield(r) {
				return
			}
		}
	}
}

// Cursor is where to look for names in the set.
func (s *Set) Cursor() Cursor { return Cursor{set: s} }

// Cursor finds resources by name like Get. Names that come in the set's order,
// as those of clients mostly do, cost one comparison each instead of a search.
type Cursor struct {
	set  *Set
	next int
}

// Get finds a resource by name; nil if there is none.
func (c *Cursor) Get(name string) *Resource {
	if c.set == nil {
		return nil
	}
	if c.next < len(c.set.list) && c.set.list[c.next].Name == name {
		c.next++
		return c.set.list[c.next-1]
	}
	i, ok := slices.BinarySearchFunc(c.set.list, name, func(r *Resource, name string) int { return strings.Compare(r.Name, name) })
	if !ok {
		c.next = i
		if c.set.find != nil {
			return c.set.find(name)
		}
		return nil
	}
	c.next = i + 1
	return c.set.list[i]
}

// All yields the resources in the order of their names.
func (s *Set) All() iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		if s == nil {
			return
		}
		for _, r := range s.list {
			if !yield(r) {
				return
			}
		}
	}
}

// Version is a hash over the names and versions of all members: equal sets have
// equal versions in every process. It is computed on first use.
func (s *Set) Version() string {
	if s == nil {
		return emptyVersion
	}
	s.versionOnce.Do(func() { s.version = hashMembers(s.list) })
	return s.version
}

var emptyVersion = hashMembers(nil)

func hashMembers(list []*Resource) string {
	h := sha256.New()
	var line []byte
	for _, r := range list {
		line = append(line[:0], r.Name...)
		line = append(line, 0)
		line = append(line, r.Version...)
		line = append(line, 0)
		h.Write(line)
	}
	return hex.EncodeToString(h.Sum(nil)[:versionBytes])
}

// Diff is what leads from one set to another, each list sorted by name.
type Diff struct {
	// Changed holds the new set's resources that the old one lacks or has in
	// another version.
	Changed []*Resource
	// Removed holds the names that only the old set has.
	Removed []string
}

// The old set is held weakly: a new set must not keep all its ancestors alive.
type cachedDiff struct {
	old  weak.Pointer[Set]
	diff *Diff
}

// DiffFrom is the difference that leads from old to s. The answer is shared, its
// slices too: read only. Equal questions asked in a row cost one computation.
func (s *Set) DiffFrom(old *Set) *Diff {
	if s == old {
		return &Diff{}
	}
	if s == nil {
		return diffLists(nil, old.list)
	}
	if old == nil {
		return &Diff{Changed: s.list}
	}
	if c := s.last.Load(); c != nil && c.old.Value() == old {
		return c.diff
	}
	d := diffLists(s.list, old.list)
	s.last.Store(&cachedDiff{old: weak.Make(old), diff: d})
	return d
}

func diffLists(now, old []*Resource) *Diff {
	d := &Diff{}
	i, j := 0, 0
	for i < len(now) && j < len(old) {
		if now[i] == old[j] {
			i++
			j++
			continue
		}
		switch c := strings.Compare(now[i].Name, old[j].Name); {
		case c < 0:
			d.Changed = append(d.Changed, now[i])
			i++
		case c > 0:
			d.Removed = append(d.Removed, old[j].Name)
			j++
		default:
			if now[i].Version != old[j].Version {
				d.Changed = append(d.Changed, now[i])
			}
			i++
			j++
		}
	}
	d.Changed = append(d.Changed, now[i:]...)
	for ; j < len(old); j++ {
		d.Removed = append(d.Removed, old[j].Name)
	}
	return d
}
