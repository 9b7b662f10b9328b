package dns

import (
	"net/netip"
	"slices"
	"strings"
)

// TTL is how long clients may keep an answer of the table.
const TTL = 30 // seconds

// Host is a name of the mesh.
type Host struct {
	// Name is fully qualified, with or without the last dot. "*.example.com"
	// stands for every name below example.com.
	Name string
	// Addrs may mix families. A host without any is not in the table: the
	// machine's resolvers are asked for it.
	Addrs []netip.Addr
}

// TableConfig is what a Table is made of.
type TableConfig struct {
	Hosts []Host
	// Namespace is the workload's: its services are known by their bare name.
	Namespace string
	// Domain is the cluster's, for example cluster.local. Hosts of the form
	// NAME.NAMESPACE.svc.DOMAIN get the short names of Kubernetes. The zone
	// svc.DOMAIN is the mesh's: unknown names in it don't exist.
	Domain string
	// Search are the search domains of the machine's resolver configuration.
	Search []string
}

// Table maps names to addresses. It is immutable.
type Table struct {
	exact    map[string][]netip.Addr
	wildcard map[string][]netip.Addr // by the part after "*."
	reverse  map[netip.Addr]string
	search   []string
	zone     string // "svc.DOMAIN"
}

// NewTable builds a table. Of hosts with equal names, the first counts.
func NewTable(c TableConfig) *Table {
	t := &Table{
		exact:    make(map[string][]netip.Addr, 4*len(c.Hosts)),
		wildcard: make(map[string][]netip.Addr),
		reverse:  make(map[netip.Addr]string, len(c.Hosts)),
	}
	if c.Domain != "" {
		t.zone = "svc." + canonical(c.Domain)
	}
	for _, s := range c.Search {
		if s = canonical(s); s != "" {
			t.search = append(t.search, s)
		}
	}
	for _, h := range c.Hosts {
		t.addFull(canonical(h.Name), h.Addrs)
	}
	// Short names come second, so that they never hide a host that is really
	// called so.
	for _, h := range c.Hosts {
		for _, short := range t.shortNames(canonical(h.Name), c.Namespace) {
			addIfNew(t.exact, short, h.Addrs)
		}
	}
	return t
}

func (t *Table) addFull(name string, addrs []netip.Addr) {
	if below, ok := strings.CutPrefix(name, "*."); ok {
		addIfNew(t.wildcard, below, addrs)
		return
	}
	addIfNew(t.exact, name, addrs)
	for _, a := range addrs {
		if _, taken := t.reverse[a.Unmap()]; !taken {
			t.reverse[a.Unmap()] = name
		}
	}
}

func addIfNew(m map[string][]netip.Addr, name string, addrs []netip.Addr) {
	if _, taken := m[name]; taken || name == "" || len(addrs) == 0 {
		return
	}
	own := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		own[i] = a.Unmap()
	}
	m[name] = own
}

// shortNames of details.default.svc.cluster.local are details.default.svc,
// details.default, and in its own namespace details.
func (t *Table) shortNames(name, namespace string) []string {
	if t.zone == "" {
		return nil
	}
	service, ok := strings.CutSuffix(name, "."+t.zone)
	if !ok {
		return nil
	}
	short := []string{service + ".svc", service}
	i := strings.LastIndexByte(service, '.')
	if i > 0 && service[i+1:] == namespace {
		short = append(short, service[:i])
	}
	return short
}

// Lookup returns the addresses of a name. The slice belongs to the table.
func (t *Table) Lookup(name string) ([]netip.Addr, bool) {
	name = canonical(name)
	if addrs, ok := t.lookup(name); ok {
		return addrs, true
	}
	for _, s := range t.search {
		if rest, ok := strings.CutSuffix(name, "."+s); ok {
			if addrs, ok := t.lookup(rest); ok {
				return addrs, true
			}
		}
	}
	return nil, false
}

// lookup prefers the exact name, then the longest wildcard.
func (t *Table) lookup(name string) ([]netip.Addr, bool) {
	if addrs, ok := t.exact[name]; ok {
		return addrs, true
	}
	if len(t.wildcard) == 0 {
		return nil, false
	}
	for rest := name; ; {
		_, below, ok := strings.Cut(rest, ".")
		if !ok {
			return nil, false
		}
		if addrs, ok := t.wildcard[below]; ok {
			return addrs, true
		}
		rest = below
	}
}

// Reverse returns the fully qualified name of an address.
func (t *Table) Reverse(a netip.Addr) (string, bool) {
	name, ok := t.reverse[a.Unmap()]
	return name, ok
}

// Owns says whether a name lies in the mesh's own zone, of which the table
// knows all there is.
func (t *Table) Owns(name string) bool {
	name = canonical(name)
	return t.zone != "" && (name == t.zone || strings.HasSuffix(name, "."+t.zone))
}

// Names returns every name that has addresses, sorted; for debug pages.
func (t *Table) Names() []string {
	names := make([]string, 0, len(t.exact)+len(t.wildcard))
	for n := range t.exact {
		names = append(names, n)
	}
	for n := range t.wildcard {
		names = append(names, "*."+n)
	}
	slices.Sort(names)
	return names
}

// canonical is lower case without the last dot. DNS compares ASCII letters
// only.
func canonical(name string) string {
	name = strings.TrimSuffix(name, ".")
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			return lower(name)
		}
	}
	return name
}

func lower(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
