package translate

import (
	"hash/maphash"
	"slices"
	"sync"
	"weak"

	"lateen.dev/lateen/xds"
)

// tables finds route tables again by their virtual hosts. A table is as large as the mesh and there may be one for each
// namespace, so it is remembered only for as long as some group has it in use.
type tables struct {
	mu    sync.Mutex
	m     map[routesKey]*routeTable
	limit int
}

// routesKey finds a table again by its virtual hosts. A digest of their addresses stands in the key; the table has them.
type routesKey struct {
	name   string
	ports  bool
	digest uint64
}

// routeTable keeps the hosts alive, so that their addresses mean the same as long as it stands here.
type routeTable struct {
	hosts    []*vhost
	resource weak.Pointer[xds.Resource]
}

// find returns the table of just these hosts; nil if nobody has it.
func (t *tables) find(key routesKey, hosts []*vhost) *xds.Resource {
	t.mu.Lock()
	defer t.mu.Unlock()
	if table := t.m[key]; table != nil && slices.Equal(table.hosts, hosts) {
		return table.resource.Value()
	}
	return nil
}

// put remembers a table and returns it, or an equal one that another goroutine has put there meanwhile.
func (t *tables) put(key routesKey, hosts []*vhost, made *xds.Resource) *xds.Resource {
	t.mu.Lock()
	defer t.mu.Unlock()
	if table := t.m[key]; table != nil && slices.Equal(table.hosts, hosts) {
		if r := table.resource.Value(); r != nil {
			return r
		}
	}
	if t.m == nil {
		t.m = map[routesKey]*routeTable{}
	}
	t.m[key] = &routeTable{hosts: hosts, resource: weak.Make(made)}
	if len(t.m) > t.limit {
		t.sweepLocked()
	}
	return made
}

// sweepLocked forgets the tables that nobody has, and looks again when there are half as many more.
func (t *tables) sweepLocked() {
	const few = 16
	for key, table := range t.m {
		if table.resource.Value() == nil {
			delete(t.m, key)
		}
	}
	t.limit = len(t.m) + max(few, len(t.m)/2)
}

func (t *tables) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.m)
}

// tableSeed makes digests of this process; they are compared within it only.
var tableSeed = maphash.MakeSeed()

func digestOf(hosts []*vhost) uint64 {
	var h maphash.Hash
	h.SetSeed(tableSeed)
	for _, v := range hosts {
		maphash.WriteComparable(&h, v)
	}
	return h.Sum64()
}
