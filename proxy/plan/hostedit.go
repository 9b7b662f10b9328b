package plan

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
)

// hostSeed spreads domains over the maps of this process's tables.
var hostSeed = maphash.MakeSeed()

// perShard is how many domains a map holds on average, at most, in a table that has changed.
const perShard = 64

// With is the table without some of its virtual hosts and with others, sorted by name. It costs what changes, besides
// copies of two lists of pointers. A domain that is claimed twice goes to the first by name: such claims are left over
// where a change arrived in part, and end with the rest of it.
func (t *HostTable) With(put, gone []*VirtualHost) *HostTable {
	out := *t
	out.all, out.sorted = t.merged(put, gone), true
	if t.contested {
		return rebuiltHosts(out.all)
	}
	e := &hostEdit{HostTable: &out}
	e.spread()
	for _, vh := range gone {
		for _, domain := range vh.Domains {
			e.release(strings.ToLower(domain), vh)
		}
	}
	for _, vh := range put {
		for _, domain := range vh.Domains {
			if e.claim(strings.ToLower(domain), vh) != nil {
				return rebuiltHosts(out.all)
			}
		}
	}
	return &out
}

func rebuiltHosts(sorted []*VirtualHost) *HostTable {
	t, _ := buildHosts(sorted) // whether it is contested stands in the table
	t.sorted = true
	return t
}

func byHostName(a, b *VirtualHost) int { return cmp.Compare(a.Name, b.Name) }

// merged is the list with changes. Names are looked for, the rest is copied as it stands.
func (t *HostTable) merged(put, gone []*VirtualHost) []*VirtualHost {
	type edit struct {
		at   int
		drop bool
		vh   *VirtualHost
	}
	old := t.all
	if !t.sorted {
		old = slices.SortedStableFunc(slices.Values(old), byHostName)
	}
	var edits []edit
	for _, vh := range gone {
		i, _ := slices.BinarySearchFunc(old, vh, byHostName)
		for ; i < len(old) && old[i].Name == vh.Name; i++ {
			if old[i] == vh {
				edits = append(edits, edit{at: i, drop: true, vh: vh})
			}
		}
	}
	for _, vh := range put {
		i, _ := slices.BinarySearchFunc(old, vh, byHostName)
		edits = append(edits, edit{at: i, vh: vh})
	}
	slices.SortStableFunc(edits, func(a, b edit) int {
		if a.at == b.at && a.drop != b.drop {
			if a.drop {
				return 1 // what is put at a place comes before what was there
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.at, b.at), byHostName(a.vh, b.vh))
	})
	out := make([]*VirtualHost, 0, len(old)+len(put))
	from := 0
	for _, e := range edits {
		out = append(out, old[from:e.at]...)
		from = e.at
		if e.drop {
			from++
		} else {
			out = append(out, e.vh)
		}
	}
	return append(out, old[from:]...)
}

// hostEdit changes a table that nobody else has seen. Its maps belong to the table before until they are copied.
type hostEdit struct {
	*HostTable
	// fresh says that all maps are this table's own; own lists those that are, otherwise.
	fresh         bool
	own           map[int]bool
	wildcardsOwn  bool
	suffixesOwned map[int]bool
	prefixesOwned map[int]bool
}

// spread divides the exact domains over more maps when there are many in each, and makes the list of maps its own.
func (e *hostEdit) spread() {
	want := 1
	for want*perShard < e.domains {
		want *= 2
	}
	if want <= len(e.exact) {
		e.exact, e.own = slices.Clone(e.exact), map[int]bool{}
		return
	}
	old := e.exact
	e.exact = make([]map[string]*VirtualHost, want)
	for i := range e.exact {
		e.exact[i] = make(map[string]*VirtualHost, perShard)
	}
	for _, m := range old {
		for domain, vh := range m {
			e.exact[e.shardOf(domain)][domain] = vh
		}
	}
	e.own = make(map[int]bool, want)
	for i := range e.exact {
		e.own[i] = true
	}
}

func (e *hostEdit) shardOf(domain string) int {
	if len(e.exact) == 1 {
		return 0
	}
	return int(maphash.String(hostSeed, domain)) & (len(e.exact) - 1)
}

// shard is the map of an exact domain, to be written.
func (e *hostEdit) shard(domain string) map[string]*VirtualHost {
	i := e.shardOf(domain)
	if !e.fresh && !e.own[i] {
		e.exact[i] = maps.Clone(e.exact[i])
		e.own[i] = true
	}
	return e.exact[i]
}

// claim gives a domain to a virtual host, unless another has it, which it returns.
func (e *hostEdit) claim(domain string, vh *VirtualHost) (other *VirtualHost) {
	if domain == "*" {
		if e.any != nil {
			return e.any
		}
		e.any = vh
		return nil
	}
	m, key := e.place(domain, true)
	if m[key] != nil {
		return m[key]
	}
	m[key] = vh
	return nil
}

// release takes a domain from a virtual host, if it is that one's.
func (e *hostEdit) release(domain string, vh *VirtualHost) {
	if domain == "*" {
		if e.any == vh {
			e.any = nil
		}
		return
	}
	if m, key := e.place(domain, false); m[key] == vh {
		delete(m, key)
	}
}

// place is the map in which a domain stands, to be written, and its key there. It counts exact domains as they come
// and go.
func (e *hostEdit) place(domain string, coming bool) (m map[string]*VirtualHost, key string) {
	switch {
	case strings.HasPrefix(domain, "*"):
		e.ownWildcards()
		return wildcardAt(&e.suffixes, e.suffixesOwned, len(domain)-1), domain[1:]
	case strings.HasSuffix(domain, "*"):
		e.ownWildcards()
		return wildcardAt(&e.prefixes, e.prefixesOwned, len(domain)-1), domain[:len(domain)-1]
	}
	m = e.shard(domain)
	switch had := m[domain] != nil; {
	case coming && !had:
		e.domains++
	case !coming && had:
		e.domains--
	}
	return m, domain
}

func (e *hostEdit) ownWildcards() {
	if e.wildcardsOwn {
		return
	}
	e.wildcardsOwn = true
	e.suffixes, e.prefixes = slices.Clone(e.suffixes), slices.Clone(e.prefixes)
	e.suffixesOwned, e.prefixesOwned = map[int]bool{}, map[int]bool{}
}

// wildcardAt is the map of the wildcards of a length, to be written.
func wildcardAt(list *[]wildcard, own map[int]bool, length int) map[string]*VirtualHost {
	i, found := slices.BinarySearchFunc(*list, length, func(w wildcard, n int) int { return cmp.Compare(n, w.length) })
	switch {
	case !found:
		*list = slices.Insert(*list, i, wildcard{length, map[string]*VirtualHost{}})
	case !own[length]:
		(*list)[i].hosts = maps.Clone((*list)[i].hosts)
	}
	own[length] = true
	return (*list)[i].hosts
}
