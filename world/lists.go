package world

import (
	"slices"

	"lateen.dev/lateen/lib/persist"
)

// lists edits an immutable map of sorted lists. A list is copied when it is first written to, then changed in place until
// the edit ends.
type lists[K comparable, V any] struct {
	edit    *persist.Editor[K, []V]
	owned   map[K]struct{}
	compare func(a, b V) int
}

// editLists starts an edit. compare must tell any two values of one list apart.
func editLists[K comparable, V any](m persist.Map[K, []V], compare func(a, b V) int) *lists[K, V] {
	return &lists[K, V]{edit: m.Edit(), owned: make(map[K]struct{}), compare: compare}
}

// list returns the list under key, which may then be written to.
func (l *lists[K, V]) list(key K) []V {
	list, found := l.edit.Get(key)
	if _, ok := l.owned[key]; !ok {
		l.owned[key] = struct{}{}
		if found {
			list = slices.Clone(list)
			l.edit.Set(key, list)
		}
	}
	return list
}

// add files a value, in the place of one that compares equal.
func (l *lists[K, V]) add(key K, value V) {
	list := l.list(key)
	if n := len(list); n == 0 || l.compare(list[n-1], value) < 0 { // quick for values that come in order
		l.edit.Set(key, append(list, value))
		return
	}
	i, found := slices.BinarySearchFunc(list, value, l.compare)
	if found {
		list[i] = value
	} else {
		list = slices.Insert(list, i, value)
	}
	l.edit.Set(key, list)
}

// remove takes out the value that compares equal.
func (l *lists[K, V]) remove(key K, value V) {
	list := l.list(key)
	i, found := slices.BinarySearchFunc(list, value, l.compare)
	if !found {
		return
	}
	if len(list) == 1 {
		l.edit.Delete(key)
		return
	}
	l.edit.Set(key, slices.Delete(list, i, i+1))
}

func (l *lists[K, V]) done() persist.Map[K, []V] { return l.edit.Map() }
