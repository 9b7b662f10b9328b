package source

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"lateen.dev/lateen/config"
)

// Merge holds what several sources say, and decides which object counts where
// two have one of the same key: the one of the source that comes first. Sources
// that were not given an order come last, by name. All methods are safe for
// concurrent use.
type Merge struct {
	mu      sync.Mutex // guards all below
	order   []string
	objects map[config.Key][]claim // sorted by precedence
	held    map[string]map[config.Key]struct{}
	// contested are the keys with several claims.
	contested map[config.Key]struct{}
}

// claim is one source's object of a key.
type claim struct {
	source string
	object *config.Object
}

// NewMerge makes a Merge whose first sources are these, in order of precedence.
func NewMerge(order ...string) *Merge {
	return &Merge{order: order, objects: map[config.Key][]claim{}, held: map[string]map[config.Key]struct{}{}, contested: map[config.Key]struct{}{}}
}

// Apply takes a source's batch in and returns what changed of what counts.
func (m *Merge) Apply(source string, b Batch) []Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes := b.Changes
	if b.Initial {
		gone := maps.Clone(m.held[source])
		for _, c := range b.Changes {
			delete(gone, c.Key)
		}
		for key := range gone {
			changes = append(changes[:len(changes):len(changes)], Drop(key))
		}
	}
	var out []Change
	for _, c := range changes {
		before := m.winnerLocked(c.Key)
		m.claimLocked(source, c)
		if now := m.winnerLocked(c.Key); now != before {
			out = append(out, Change{Key: c.Key, Object: now})
		}
	}
	return out
}

func (m *Merge) winnerLocked(key config.Key) *config.Object {
	if claims := m.objects[key]; len(claims) > 0 {
		return claims[0].object
	}
	return nil
}

func (m *Merge) claimLocked(source string, c Change) {
	held := m.held[source]
	if held == nil {
		held = map[config.Key]struct{}{}
		m.held[source] = held
	}
	claims := slices.DeleteFunc(slices.Clone(m.objects[c.Key]), func(x claim) bool { return x.source == source })
	delete(held, c.Key)
	if c.Object != nil {
		held[c.Key] = struct{}{}
		at, _ := slices.BinarySearchFunc(claims, source, func(x claim, name string) int { return m.compare(x.source, name) })
		claims = slices.Insert(claims, at, claim{source, c.Object})
	}
	m.objects[c.Key] = claims
	delete(m.contested, c.Key)
	switch len(claims) {
	case 0:
		delete(m.objects, c.Key)
	case 1:
	default:
		m.contested[c.Key] = struct{}{}
	}
}

func (m *Merge) compare(a, b string) int {
	rank := func(name string) int {
		if i := slices.Index(m.order, name); i >= 0 {
			return i
		}
		return len(m.order)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
}

// Objects are those that count, by key.
func (m *Merge) Objects() []*config.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*config.Object, 0, len(m.objects))
	for _, claims := range m.objects {
		all = append(all, claims[0].object)
	}
	slices.SortFunc(all, func(a, b *config.Object) int { return a.Compare(b.Key) })
	return all
}

// Rivals complains about objects that don't count because another source has
// one of the same key and another content. Those of the sources named yield
// without a word: that is what they are for.
func (m *Merge) Rivals(quiet ...string) config.Problems {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ps config.Problems
	code := config.CodeRivalSources
	for key := range m.contested {
		claims := m.objects[key]
		first := claims[0]
		for _, c := range claims[1:] {
			if slices.Contains(quiet, c.source) || sameMeaning(c.object, first.object) {
				continue
			}
			ps = append(ps, config.Problem{
				Severity: config.Warning, Code: code.ID, Name: code.Name, Object: key.Ref(), Position: c.object.Origin.Position,
				Message: fmt.Sprintf("not used: %s, which comes first, has another one at %s", first.source, first.object.Origin),
				Hint:    "Remove one of the two, or give it another name",
			})
		}
	}
	return ps.Sorted()
}

// sameMeaning says that two objects differ in nothing but when they were made.
func sameMeaning(a, b *config.Object) bool {
	c := *b
	c.Created = a.Created
	return a.SameContent(&c)
}
