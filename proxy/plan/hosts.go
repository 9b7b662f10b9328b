package plan

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// HostTable finds a virtual host by authority, in Envoy's order: the exact domain, the longest "*suffix", the longest
// "prefix*", and "*". It is immutable; With makes the next one.
type HostTable struct {
	// exact holds the exact domains: all in one map, or spread over a power of two of them by shardOf, so that a table
	// that changes copies only those maps in which something changes.
	exact    []map[string]*VirtualHost
	domains  int        // in exact
	suffixes []wildcard // longest first
	prefixes []wildcard // longest first
	any      *VirtualHost
	all      []*VirtualHost
	sorted   bool // all is, by name
	// contested says that a domain is claimed twice.
	contested bool
}

type wildcard struct {
	length int
	hosts  map[string]*VirtualHost
}

// maxHost is the longest host that a lookup folds to lower case without allocating; DNS allows 253 bytes.
const maxHost = 320

// NewHostTable builds a table. Domains that two virtual hosts claim are an error.
func NewHostTable(hosts []*VirtualHost) (*HostTable, error) {
	t, err := buildHosts(hosts)
	if t.contested {
		return nil, err
	}
	return t, nil
}

// buildHosts gives a domain that is claimed twice to the first; err tells of the last such.
func buildHosts(hosts []*VirtualHost) (t *HostTable, err error) {
	t = &HostTable{exact: []map[string]*VirtualHost{{}}, all: hosts}
	e := &hostEdit{HostTable: t, fresh: true}
	for _, vh := range hosts {
		for _, domain := range vh.Domains {
			if other := e.claim(strings.ToLower(domain), vh); other != nil {
				t.contested = true
				err = fmt.Errorf("domain %q is claimed by virtual host %q and by %q", strings.ToLower(domain), other.Name, vh.Name)
			}
		}
	}
	return t, err
}

// All returns the virtual hosts in the order of the configuration. The slice is the table's own.
func (t *HostTable) All() []*VirtualHost { return t.all }

// Find returns the virtual host for an authority in any case, or nil. It doesn't allocate. With ignorePort a port at
// its end doesn't count.
func (t *HostTable) Find(authority []byte, ignorePort bool) *VirtualHost {
	if ignorePort {
		authority = WithoutPort(authority)
	}
	if t.domains == 0 && len(t.suffixes) == 0 && len(t.prefixes) == 0 || len(authority) > maxHost {
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
	shard := 0
	if len(t.exact) > 1 {
		shard = int(maphash.Bytes(hostSeed, host)) & (len(t.exact) - 1)
	}
	if vh := t.exact[shard][string(host)]; vh != nil {
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
