package plan

import (
	"net/netip"
	"strings"
	"testing"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func chain(name string, m ChainMatch) MatchedChain {
	return MatchedChain{Match: m, Chain: &FilterChain{Name: name}}
}

func matcher(t *testing.T, chains ...MatchedChain) *ChainMatcher {
	t.Helper()
	m, err := NewChainMatcher(chains, &FilterChain{Name: "default"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func conn(dst string, change func(*ConnFacts)) *ConnFacts {
	f := &ConnFacts{
		Destination: netip.MustParseAddrPort(dst), Transport: "raw_buffer",
		Source: netip.MustParseAddrPort("10.9.9.9:4444"), DirectSource: netip.MustParseAddr("10.9.9.9"), Local: netip.MustParseAddr("10.0.0.1"),
	}
	if change != nil {
		change(f)
	}
	return f
}

func TestChainPrecedence(t *testing.T) {
	m := matcher(t,
		chain("port", ChainMatch{DestinationPort: 80}),
		chain("port and net", ChainMatch{DestinationPort: 81, Destination: prefixes("10.1.0.0/16")}),
		chain("net", ChainMatch{Destination: prefixes("10.0.0.0/8")}),
		chain("smaller net", ChainMatch{Destination: prefixes("10.2.0.0/16")}),
		chain("tls there", ChainMatch{Destination: prefixes("10.3.0.0/16"), Transport: "tls"}),
		chain("exact name", ChainMatch{Destination: prefixes("10.4.0.0/16"), ServerNames: []string{"a.b.example.com"}}),
		chain("near wildcard", ChainMatch{Destination: prefixes("10.4.0.0/16"), ServerNames: []string{"*.b.example.com"}}),
		chain("far wildcard", ChainMatch{Destination: prefixes("10.4.0.0/16"), ServerNames: []string{"*.example.com"}}),
		chain("no name", ChainMatch{Destination: prefixes("10.4.0.0/16")}),
		chain("h2", ChainMatch{Destination: prefixes("10.5.0.0/16"), ALPN: []string{"h2", "h2c"}}),
		chain("h1", ChainMatch{Destination: prefixes("10.5.0.0/16"), ALPN: []string{"http/1.1"}}),
		chain("no alpn", ChainMatch{Destination: prefixes("10.5.0.0/16")}),
		chain("local", ChainMatch{Destination: prefixes("10.6.0.0/16"), SourceType: SourceLocal}),
		chain("external", ChainMatch{Destination: prefixes("10.6.0.0/16"), SourceType: SourceExternal}),
		chain("from net", ChainMatch{Destination: prefixes("10.7.0.0/16"), Source: prefixes("10.9.0.0/16")}),
		chain("from port", ChainMatch{Destination: prefixes("10.7.0.0/16"), Source: prefixes("10.9.0.0/16"), SourcePorts: []uint16{4444}}),
		chain("from anywhere", ChainMatch{Destination: prefixes("10.7.0.0/16")}),
		chain("direct", ChainMatch{Destination: prefixes("10.8.0.0/16"), DirectSource: prefixes("10.9.9.9/32")}),
		chain("v6", ChainMatch{Destination: prefixes("fd00::/8")}),
	)
	for _, tc := range []struct {
		what string
		f    *ConnFacts
		want string
	}{
		{"port", conn("1.2.3.4:80", nil), "port"},
		{"port before net", conn("10.1.2.3:80", nil), "port"},
		{"port and net", conn("10.1.2.3:81", nil), "port and net"},
		// Envoy doesn't come back: chains for port 81 exist, so only they count.
		{"port's chains fail", conn("10.2.2.3:81", nil), "default"},
		{"net", conn("10.100.2.3:9", nil), "net"},
		{"longest prefix", conn("10.2.2.3:9", nil), "smaller net"},
		{"longest prefix, then nothing", conn("10.3.2.3:9", nil), "default"},
		{"transport", conn("10.3.2.3:9", func(f *ConnFacts) { f.Transport = "tls" }), "tls there"},
		{"v4 in v6", conn("[::ffff:10.2.2.3]:9", nil), "smaller net"},
		{"v6", conn("[fd00::1]:9", nil), "v6"},
		{"nothing", conn("9.9.9.9:9", nil), "default"},
		{"exact name", conn("10.4.0.1:9", func(f *ConnFacts) { f.ServerName = "a.b.example.com" }), "exact name"},
		{"near wildcard", conn("10.4.0.1:9", func(f *ConnFacts) { f.ServerName = "x.b.example.com" }), "near wildcard"},
		{"far wildcard", conn("10.4.0.1:9", func(f *ConnFacts) { f.ServerName = "b.example.com" }), "far wildcard"},
		{"deep far wildcard", conn("10.4.0.1:9", func(f *ConnFacts) { f.ServerName = "q.r.example.com" }), "far wildcard"},
		{"wildcard needs a label", conn("10.4.0.1:9", func(f *ConnFacts) { f.ServerName = "example.com" }), "no name"},
		{"other name", conn("10.4.0.1:9", func(f *ConnFacts) { f.ServerName = "other" }), "no name"},
		{"alpn of the connection's first", conn("10.5.0.1:9", func(f *ConnFacts) { f.ALPN = []string{"x", "http/1.1", "h2"} }), "h1"},
		{"alpn second in chain", conn("10.5.0.1:9", func(f *ConnFacts) { f.ALPN = []string{"h2c"} }), "h2"},
		{"no alpn", conn("10.5.0.1:9", nil), "no alpn"},
		{"external", conn("10.6.0.1:9", nil), "external"},
		{"loopback is local", conn("10.6.0.1:9", func(f *ConnFacts) { f.Source = netip.MustParseAddrPort("127.0.0.9:1") }), "local"},
		{"same address is local", conn("10.6.0.1:9", func(f *ConnFacts) { f.Source = netip.MustParseAddrPort("10.0.0.1:1") }), "local"},
		{"source port", conn("10.7.0.1:9", nil), "from port"},
		{"source net", conn("10.7.0.1:9", func(f *ConnFacts) { f.Source = netip.MustParseAddrPort("10.9.1.1:1") }), "from net"},
		{"source elsewhere", conn("10.7.0.1:9", func(f *ConnFacts) { f.Source = netip.MustParseAddrPort("10.8.1.1:1") }), "from anywhere"},
		{"direct source", conn("10.8.0.1:9", nil), "direct"},
		{"direct source elsewhere", conn("10.8.0.1:9", func(f *ConnFacts) { f.DirectSource = netip.MustParseAddr("1.1.1.1") }), "default"},
		{"no address", &ConnFacts{Transport: "raw_buffer"}, "default"},
	} {
		if got := m.Find(tc.f); got == nil || got.Name != tc.want {
			t.Errorf("%s: got %+v, want %s", tc.what, got, tc.want)
		}
	}
}

func TestChainConflicts(t *testing.T) {
	_, err := NewChainMatcher([]MatchedChain{
		chain("a", ChainMatch{ServerNames: []string{"x", "y"}}), chain("b", ChainMatch{ServerNames: []string{"y"}}),
	}, nil)
	if err == nil || !strings.Contains(err.Error(), "same matching rules") {
		t.Errorf("got %v", err)
	}
	if _, err := NewChainMatcher([]MatchedChain{chain("a", ChainMatch{ServerNames: []string{"a*.b"}})}, nil); err == nil {
		t.Error("a wildcard in the middle was accepted")
	}
}

func TestNoChain(t *testing.T) {
	m, err := NewChainMatcher([]MatchedChain{chain("a", ChainMatch{DestinationPort: 1})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Find(conn("1.1.1.1:2", nil)); got != nil {
		t.Errorf("got %s", got.Name)
	}
}

func TestChainFindDoesNotAllocate(t *testing.T) {
	m := matcher(t,
		chain("a", ChainMatch{DestinationPort: 80, Transport: "tls", ALPN: []string{"istio"}, ServerNames: []string{"*.example.com"}}),
		chain("b", ChainMatch{}))
	f := conn("10.0.0.1:80", func(f *ConnFacts) { f.Transport, f.ALPN, f.ServerName = "tls", []string{"istio"}, "x.example.com" })
	if n := testing.AllocsPerRun(100, func() {
		if m.Find(f).Name != "a" {
			t.Fatal("wrong chain")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
