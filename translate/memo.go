package translate

import "sync"

const (
	// keepGenerations is for how many Snapshots an answer surely stays without being asked for again. A few, because not
	// every View is built for every Snapshot.
	keepGenerations = 8
	// roomFor is how many answers a memo holds before it looks for old ones.
	roomFor = 128
)

// memo remembers answers under exactly what they depend on. Keys hold pointers to immutable values; the answer keeps what
// it was made of alive, so an address is never reused while it stands in a key.
//
// A memo looks for old answers when it has doubled. That way what is still right, but was not asked for because nothing
// around it changed, mostly survives; if it doesn't, it is made again and is equal.
type memo[K comparable, V any] struct {
	mu    sync.Mutex
	m     map[K]*remembered[V]
	limit int
}

type remembered[V any] struct {
	value V
	used  uint64
}

// get returns the answer under key, made by make if there is none. Two goroutines that ask for the same new key at once
// may both make it; the first one's answer counts, so that equal inputs have one answer.
func (m *memo[K, V]) get(generation uint64, key K, make func() V) V {
	if v, ok := m.find(generation, key); ok {
		return v
	}
	made := make()
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.m[key]; r != nil {
		r.used = generation
		return r.value
	}
	if m.m == nil {
		m.m = map[K]*remembered[V]{}
	}
	m.m[key] = &remembered[V]{value: made, used: generation}
	if len(m.m) > max(m.limit, roomFor) {
		m.sweepLocked(generation)
	}
	return made
}

func (m *memo[K, V]) find(generation uint64, key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.m[key]
	if r == nil {
		var zero V
		return zero, false
	}
	r.used = max(r.used, generation)
	return r.value, true
}

// sweepLocked forgets what was not asked for in the last generations.
func (m *memo[K, V]) sweepLocked(generation uint64) {
	for k, r := range m.m {
		if r.used+keepGenerations < generation {
			delete(m.m, k)
		}
	}
	m.limit = 2 * len(m.m)
}

func (m *memo[K, V]) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.m)
}
