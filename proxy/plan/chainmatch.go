package plan

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"
)

// ConnFacts is what is known of a connection when its filter chain is chosen.
type ConnFacts struct {
	// Destination is the original destination: where the client meant to connect to. Invalid for unix sockets.
	Destination netip.AddrPort
	// ServerName is the SNI in lower case; empty when there is none.
	ServerName string
	// Transport is "tls" when a ClientHello was seen, else "raw_buffer".
	Transport string
	// ALPN are the application protocols: the ClientHello's, or what the HTTP inspector found (http/1.0, http/1.1, h2c).
	ALPN []string
	// DirectSource is the connection's peer; Source is the client, the same unless a PROXY header told otherwise.
	DirectSource netip.Addr
	Source       netip.AddrPort
	// Local is the connection's own local address, by which "same IP or loopback" is judged.
	Local netip.Addr
}

// SourceType restricts where a connection comes from.
type SourceType uint8

// The source types.
const (
	SourceAny SourceType = iota
	SourceLocal
	SourceExternal
)

// ChainMatch is the match of one filter chain; empty fields match everything.
type ChainMatch struct {
	DestinationPort uint16
	Destination     []netip.Prefix
	ServerNames     []string // lower case; "*.example.com" matches every name below example.com
	Transport       string
	ALPN            []string
	DirectSource    []netip.Prefix
	SourceType      SourceType
	Source          []netip.Prefix
	SourcePorts     []uint16
}

// MatchedChain is a filter chain with its match. Chain is what a connection gets.
type MatchedChain struct {
	Match ChainMatch
	Chain *FilterChain
}

// ChainMatcher chooses a filter chain as Envoy does: criterion by criterion in a fixed order, at each the most
// specific value that some chain names, without coming back when later criteria then fail.
type ChainMatcher struct {
	chains  []MatchedChain
	def     *FilterChain
	byPort  map[uint16]*destinationIPs
	trivial *FilterChain // the only chain, when its match is empty
}

// Chains returns the chains in the order of the configuration. The slice is the matcher's own.
func (m *ChainMatcher) Chains() []MatchedChain { return m.chains }

// Default returns the chain for connections that match no other, or nil.
func (m *ChainMatcher) Default() *FilterChain { return m.def }

// The levels of the tree, one type for each criterion so that their order can't be confused.
type (
	destinationIPs prefixTable[serverNames]
	serverNames    struct {
		exact    map[string]*transports
		wildcard map[string]*transports // key ".example.com"
		none     *transports
	}
	transports    = map[string]*alpns
	alpns         = map[string]*directSources
	directSources prefixTable[sourceTypes]
	sourceTypes   [3]*sources
	sources       prefixTable[map[uint16]*FilterChain]
)

// prefixTable finds the longest prefix that holds an address.
type prefixTable[T any] struct{ entries []prefixEntry[T] } // longest first

type prefixEntry[T any] struct {
	prefix netip.Prefix // invalid matches everything, and comes last
	v      T
}

func (t *prefixTable[T]) find(a netip.Addr) *T {
	a = a.Unmap()
	for i := range t.entries {
		e := &t.entries[i]
		if !e.prefix.IsValid() || e.prefix.Contains(a) {
			return &e.v
		}
	}
	return nil
}

func (t *prefixTable[T]) at(p netip.Prefix) *T {
	if p.IsValid() {
		p = p.Masked()
	}
	for i := range t.entries {
		if t.entries[i].prefix == p {
			return &t.entries[i].v
		}
	}
	i := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].prefix.Bits() < p.Bits() })
	t.entries = append(t.entries, prefixEntry[T]{})
	copy(t.entries[i+1:], t.entries[i:])
	t.entries[i] = prefixEntry[T]{prefix: p}
	return &t.entries[i].v
}

// NewChainMatcher builds a matcher. Two chains with the same match are an error.
func NewChainMatcher(chains []MatchedChain, def *FilterChain) (*ChainMatcher, error) {
	m := &ChainMatcher{chains: chains, def: def, byPort: map[uint16]*destinationIPs{}}
	for i := range chains {
		if err := m.add(&chains[i]); err != nil {
			return nil, err
		}
	}
	if len(chains) == 1 && chains[0].Match.empty() {
		m.trivial = chains[0].Chain
	}
	return m, nil
}

func (c *ChainMatch) empty() bool {
	return c.DestinationPort == 0 && len(c.Destination) == 0 && len(c.ServerNames) == 0 && c.Transport == "" &&
		len(c.ALPN) == 0 && len(c.DirectSource) == 0 && c.SourceType == SourceAny && len(c.Source) == 0 && len(c.SourcePorts) == 0
}

func orAny[T any](list []T) []T {
	if len(list) == 0 {
		var zero T
		return []T{zero}
	}
	return list
}

func (m *ChainMatcher) add(mc *MatchedChain) error {
	c := &mc.Match
	ips := m.byPort[c.DestinationPort]
	if ips == nil {
		ips = &destinationIPs{}
		m.byPort[c.DestinationPort] = ips
	}
	for _, dst := range orAny(c.Destination) {
		names := (*prefixTable[serverNames])(ips).at(dst)
		for _, name := range orAny(c.ServerNames) {
			protocols, err := names.at(name)
			if err != nil {
				return err
			}
			if protocols[c.Transport] == nil {
				protocols[c.Transport] = &alpns{}
			}
			for _, alpn := range orAny(c.ALPN) {
				if err := addSources(*protocols[c.Transport], alpn, mc); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *serverNames) at(name string) (transports, error) {
	var slot **transports
	switch {
	case name == "" || name == "*":
		slot = &s.none
	case strings.HasPrefix(name, "*."):
		if s.wildcard == nil {
			s.wildcard = map[string]*transports{}
		}
		if s.wildcard[name[1:]] == nil {
			s.wildcard[name[1:]] = &transports{}
		}
		return *s.wildcard[name[1:]], nil
	case strings.Contains(name, "*"):
		return nil, fmt.Errorf("server name %q: a wildcard may only be the whole first label, as in *.example.com", name)
	default:
		if s.exact == nil {
			s.exact = map[string]*transports{}
		}
		if s.exact[name] == nil {
			s.exact[name] = &transports{}
		}
		return *s.exact[name], nil
	}
	if *slot == nil {
		*slot = &transports{}
	}
	return **slot, nil
}

func addSources(protocols alpns, alpn string, mc *MatchedChain) error {
	c := &mc.Match
	if protocols[alpn] == nil {
		protocols[alpn] = &directSources{}
	}
	for _, direct := range orAny(c.DirectSource) {
		types := (*prefixTable[sourceTypes])(protocols[alpn]).at(direct)
		if types[c.SourceType] == nil {
			types[c.SourceType] = &sources{}
		}
		for _, src := range orAny(c.Source) {
			ports := (*prefixTable[map[uint16]*FilterChain])(types[c.SourceType]).at(src)
			if *ports == nil {
				*ports = map[uint16]*FilterChain{}
			}
			for _, port := range orAny(c.SourcePorts) {
				if other := (*ports)[port]; other != nil {
					return fmt.Errorf("filter chains %q and %q have the same matching rules", other.Name, mc.Chain.Name)
				}
				(*ports)[port] = mc.Chain
			}
		}
	}
	return nil
}

// Find returns the chain for a connection, or nil when it is to be closed. It doesn't allocate.
func (m *ChainMatcher) Find(f *ConnFacts) *FilterChain {
	if m.trivial != nil {
		return m.trivial
	}
	ips := m.byPort[f.Destination.Port()]
	if ips == nil || f.Destination.Port() == 0 {
		ips = m.byPort[0]
	}
	if ips != nil {
		if c := ips.find(f); c != nil {
			return c
		}
	}
	return m.def
}

func (d *destinationIPs) find(f *ConnFacts) *FilterChain {
	names := (*prefixTable[serverNames])(d).find(f.Destination.Addr())
	if names == nil {
		return nil
	}
	t := names.find(f.ServerName)
	if t == nil {
		return nil
	}
	protocols := (*t)[f.Transport]
	if protocols == nil {
		if protocols = (*t)[""]; protocols == nil {
			return nil
		}
	}
	for _, alpn := range f.ALPN {
		if direct := (*protocols)[alpn]; direct != nil && alpn != "" {
			return direct.find(f)
		}
	}
	if direct := (*protocols)[""]; direct != nil {
		return direct.find(f)
	}
	return nil
}

func (s *serverNames) find(name string) *transports {
	if name != "" {
		if t := s.exact[name]; t != nil {
			return t
		}
		if len(s.wildcard) > 0 {
			for i := 1; i < len(name); i++ {
				if name[i] == '.' {
					if t := s.wildcard[name[i:]]; t != nil {
						return t
					}
				}
			}
		}
	}
	return s.none
}

func (d *directSources) find(f *ConnFacts) *FilterChain {
	types := (*prefixTable[sourceTypes])(d).find(f.DirectSource)
	if types == nil {
		return nil
	}
	if types[SourceLocal] != nil || types[SourceExternal] != nil {
		kind := SourceExternal
		if f.isLocal() {
			kind = SourceLocal
		}
		if types[kind] != nil {
			return types[kind].find(f)
		}
	}
	if types[SourceAny] != nil {
		return types[SourceAny].find(f)
	}
	return nil
}

func (f *ConnFacts) isLocal() bool {
	src := f.Source.Addr().Unmap()
	return !src.IsValid() || src.IsLoopback() || src == f.Local.Unmap()
}

func (s *sources) find(f *ConnFacts) *FilterChain {
	ports := (*prefixTable[map[uint16]*FilterChain])(s).find(f.Source.Addr())
	if ports == nil {
		return nil
	}
	if c := (*ports)[f.Source.Port()]; c != nil {
		return c
	}
	return (*ports)[0]
}
