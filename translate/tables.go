package translate

import (
	"hash/maphash"
	"slices"
	"sync"
	"weak"

	"lateen.dev/lateen/xds"
)

// run is some virtual hosts that stand beside each other in route tables, as one piece of those. The tables of all
// namespaces have most runs in common.
type run struct {
	hosts  []*vhost
	fields *xds.Piece
}

// cut cuts a list of virtual hosts into runs.
func (a *answers) cut(hosts []*vhost) []*run {
	out := make([]*run, 0, 1+len(hosts)/8)
	for len(hosts) > 0 {
		n := 1 + slices.IndexFunc(hosts, func(v *vhost) bool { return v.ends })
		if n == 0 {
			n = len(hosts)
		}
		out = append(out, a.run(hosts[:n]))
		hosts = hosts[n:]
	}
	return out
}

// cutAgain is the runs of a list that differs from that of before in some places only; nil if there were none.
func (a *answers) cutAgain(before []*run, hosts []*vhost, at []int) []*run {
	if before == nil || len(at) == 0 {
		return before
	}
	out := slices.Clone(before)
	from := 0
	for i, b := range before {
		to := from + len(b.hosts)
		if slices.ContainsFunc(at, func(place int) bool { return from <= place && place < to }) {
			out[i] = a.run(hosts[from:to])
		}
		from = to
	}
	return out
}

// run makes the run of just these hosts, or finds it made.
func (a *answers) run(hosts []*vhost) *run {
	key := digestOf(hosts)
	if found := a.runs.find(key, hosts); found != nil {
		return found
	}
	size := 0
	for _, v := range hosts {
		size += len(v.field)
	}
	fields := make([]byte, 0, size)
	for _, v := range hosts {
		fields = append(fields, v.field...)
	}
	hosts = slices.Clone(hosts)
	return a.runs.put(key, hosts, &run{hosts: hosts, fields: xds.NewPiece(fields)})
}

// routesKey finds a table again by its runs. A digest of their addresses stands in the key.
type routesKey struct {
	name   string
	ports  bool
	digest uint64
}

// assembly finds again what was put together of parts: route tables of runs, runs of virtual hosts. A table is as large as
// the mesh and there may be one for each namespace, so it is remembered only for as long as somebody has it in use.
type assembly[K comparable, P, V any] struct {
	mu    sync.Mutex
	m     map[K]*assembled[P, V]
	limit int
}

// assembled keeps the parts alive, so that their addresses mean the same as long as it stands here.
type assembled[P, V any] struct {
	parts []*P
	whole weak.Pointer[V]
}

// find returns what was made of just these parts; nil if nobody has it.
func (t *assembly[K, P, V]) find(key K, parts []*P) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	if have := t.m[key]; have != nil && slices.Equal(have.parts, parts) {
		return have.whole.Value()
	}
	return nil
}

// put remembers what was made and returns it, or an equal one that another goroutine has put there meanwhile.
func (t *assembly[K, P, V]) put(key K, parts []*P, made *V) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	if have := t.m[key]; have != nil && slices.Equal(have.parts, parts) {
		if v := have.whole.Value(); v != nil {
			return v
		}
	}
	if t.m == nil {
		t.m = map[K]*assembled[P, V]{}
	}
	t.m[key] = &assembled[P, V]{parts: parts, whole: weak.Make(made)}
	if len(t.m) > t.limit {
		t.sweepLocked()
	}
	return made
}

// sweepLocked forgets what nobody has, and looks again when there is half as much more.
func (t *assembly[K, P, V]) sweepLocked() {
	const few = 16
	for key, have := range t.m {
		if have.whole.Value() == nil {
			delete(t.m, key)
		}
	}
	t.limit = len(t.m) + max(few, len(t.m)/2)
}

func (t *assembly[K, P, V]) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}

// digestSeed makes digests of this process; they are compared within it only.
var digestSeed = maphash.MakeSeed()

// digestOf is a digest of addresses.
func digestOf[P any](parts []*P) uint64 {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	for _, p := range parts {
		maphash.WriteComparable(&h, p)
	}
	return h.Sum64()
}
