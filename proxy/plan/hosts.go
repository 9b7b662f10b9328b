package plan

import (
	"fmt"
	"sort"
	"strings"
)

// HostTable finds a virtual host by authority, in Envoy's order: the exact domain, the longest "*suffix", the longest
// "prefix*", and "*".
type HostTable struct {
	exact    map[string]*VirtualHost
	suffixes []wildcard // longest first
	prefixes []wildcard // longest first
	any      *VirtualHost
	all      []*VirtualHost
}

type wildcard struct {
	length int
	hosts  map[string]*VirtualHost
}

// maxHost is the longest host that a lookup folds to lower case without allocating; DNS allows 253 bytes.
const maxHost = 320

// NewHostTable builds a table. Domains that two virtual hosts claim are an error.
func NewHostTable(hosts []*VirtualHost) (*HostTable, error) {
	t := &HostTable{exact: map[string]*VirtualHost{}, all: hosts}
	suffixes, prefixes := map[int]map[string]*VirtualHost{}, map[int]map[string]*VirtualHost{}
	for _, vh := range hosts {
		for _, domain := range vh.Domains {
			if err := t.add(vh, strings.ToLower(domain), suffixes, prefixes); err != nil {
				return nil, err
			}
		}
	}
	t.suffixes, t.prefixes = longestFirst(suffixes), longestFirst(prefixes)
	return t, nil
}

func (t *HostTable) add(vh *VirtualHost, domain string, suffixes, prefixes map[int]map[string]*VirtualHost) error {
	into, key := t.exact, domain
	switch {
	case domain == "*":
		if t.any != nil {
			return fmt.Errorf("domain \"*\" is claimed by virtual host %q and by %q", t.any.Name, vh.Name)
		}
		t.any = vh
		return nil
	case strings.HasPrefix(domain, "*"):
		key = domain[1:]
		into = at(suffixes, len(key))
	case strings.HasSuffix(domain, "*"):
		key = domain[:len(domain)-1]
		into = at(prefixes, len(key))
	}
	if other := into[key]; other != nil {
		return fmt.Errorf("domain %q is claimed by virtual host %q and by %q", domain, other.Name, vh.Name)
	}
	into[key] = vh
	return nil
}

func at(m map[int]map[string]*VirtualHost, n int) map[string]*VirtualHost {
	if m[n] == nil {
		m[n] = map[string]*VirtualHost{}
	}
	return m[n]
}

func longestFirst(m map[int]map[string]*VirtualHost) []wildcard {
	var out []wildcard
	for n, hosts := range m {
		out = append(out, wildcard{n, hosts})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].length > out[j].length })
	return out
}

// All returns the virtual hosts in the order of the configuration. The slice is the table's own.
func (t *HostTable) All() []*VirtualHost { return t.all }

// Find returns the virtual host for an authority in any case, or nil. It doesn't allocate. With ignorePort a port at
// its end doesn't count.
func (t *HostTable) Find(authority []byte, ignorePort bool) *VirtualHost {
	if ignorePort {
		authority = WithoutPort(authority)
	}
	if len(t.exact) == 0 && len(t.suffixes) == 0 && len(t.prefixes) == 0 || len(authority) > maxHost {
		return t.any
	}
	var buf [maxHost]byte
	host := buf[:len(authority)]
	for i, c := range authority {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		host[i] = c
	}
	if vh := t.exact[string(host)]; vh != nil {
		return vh
	}
	for i := range t.suffixes {
		// As in Envoy a wildcard stands for at least one character.
		if w := &t.suffixes[i]; w.length < len(host) {
			if vh := w.hosts[string(host[len(host)-w.length:])]; vh != nil {
				return vh
			}
		}
	}
	for i := range t.prefixes {
		if w := &t.prefixes[i]; w.length < len(host) {
			if vh := w.hosts[string(host[:w.length])]; vh != nil {
				return vh
			}
		}
	}
	return t.any
}

// WithoutPort returns an authority without its port, if it ends in one. [::1]:80 becomes [::1].
func WithoutPort(authority []byte) []byte {
	for i := len(authority) - 1; i >= 0; i-- {
		switch c := authority[i]; {
		case c == ':':
			if i > 0 && i < len(authority)-1 && (authority[i-1] == ']' || !hasColon(authority[:i])) {
				return authority[:i]
			}
			return authority
		case c < '0' || c > '9':
			return authority
		}
	}
	return authority
}

func hasColon(b []byte) bool {
	for _, c := range b {
		if c == ':' {
			return true
		}
	}
	return false
}
