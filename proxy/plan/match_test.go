package plan

import (
	"regexp"
	"testing"

	"lateen.dev/lateen/wire/header"
)

// request is a Head for tests.
type request map[string]string

func (r request) Method() []byte    { return []byte(r[":method"]) }
func (r request) Scheme() []byte    { return []byte(r[":scheme"]) }
func (r request) Authority() []byte { return []byte(r[":authority"]) }
func (r request) Path() []byte      { return []byte(r[":path"]) }
func (r request) Header(n header.Name) ([]byte, bool) {
	v, ok := r[n.String()]
	return []byte(v), ok
}

func TestStringMatch(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    StringMatch
		yes  []string
		no   []string
	}{
		{"exact", StringMatch{Kind: MatchExact, Value: "abc"}, []string{"abc"}, []string{"", "ab", "ABC", "abcd"}},
		{"exact, any case", StringMatch{Kind: MatchExact, Value: "abc", IgnoreCase: true}, []string{"abc", "ABC", "aBc"}, []string{"abd"}},
		{"prefix", StringMatch{Kind: MatchPrefix, Value: "ab"}, []string{"ab", "abc"}, []string{"a", "xab"}},
		{"suffix", StringMatch{Kind: MatchSuffix, Value: "bc"}, []string{"bc", "abc"}, []string{"c", "bcx"}},
		{"contains", StringMatch{Kind: MatchContains, Value: "bb"}, []string{"bb", "abba", "abab bb"}, []string{"", "b", "abab"}},
		{"contains, any case", StringMatch{Kind: MatchContains, Value: "bb", IgnoreCase: true}, []string{"aBbA"}, []string{"abab"}},
		{"regex", StringMatch{Kind: MatchRegex, Regex: regexp.MustCompile(`^(?:a|bc*)$`)}, []string{"a", "b", "bcc"}, []string{"ab", "xa", "a\n"}},
		{"any", StringMatch{Kind: MatchAny}, []string{"", "x"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, s := range tc.yes {
				if !tc.m.MatchString(s) {
					t.Errorf("%q does not match", s)
				}
			}
			for _, s := range tc.no {
				if tc.m.MatchString(s) {
					t.Errorf("%q matches", s)
				}
			}
		})
	}
}

// The rows follow Envoy's documentation of HeaderMatcher, invert_match and treat_missing_header_as_empty.
func TestHeaderMatch(t *testing.T) {
	present := HeaderMatch{Kind: HeaderPresent}
	exact := HeaderMatch{Kind: HeaderString, Value: StringMatch{Value: "x"}}
	empty := HeaderMatch{Kind: HeaderString, Value: StringMatch{Value: ""}}
	between := HeaderMatch{Kind: HeaderRange, Low: -10, High: 0}
	invert := func(m HeaderMatch) HeaderMatch { m.Invert = true; return m }
	asEmpty := func(m HeaderMatch) HeaderMatch { m.TreatMissingAsEmpty = true; return m }
	for _, tc := range []struct {
		name  string
		m     HeaderMatch
		value string // "-" for a missing header
		want  bool
	}{
		{"present", present, "", true},
		{"not there", present, "-", false},
		{"absent", invert(present), "-", true},
		{"absent, but there", invert(present), "x", false},
		{"missing counts as empty, so it is there", asEmpty(present), "-", true},
		{"exact", exact, "x", true},
		{"exact, other", exact, "y", false},
		{"exact, missing", exact, "-", false},
		{"not exact", invert(exact), "y", true},
		{"not exact, the same", invert(exact), "x", false},
		{"not exact, missing: no match", invert(exact), "-", false},
		{"not exact, missing as empty", asEmpty(invert(exact)), "-", true},
		{"empty, missing as empty", asEmpty(empty), "-", true},
		{"range, lower end", between, "-10", true},
		{"range, upper end", between, "0", false},
		{"range, no number", between, "-1x", false},
		{"not in range, missing as empty", asEmpty(invert(between)), "-", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.m.Name = NewHeaderName("X-Test")
			r := request{}
			if tc.value != "-" {
				r["x-test"] = tc.value
			}
			if got := tc.m.Match(r); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// several is a Head with a header given several times.
type several struct {
	request
	values []string
}

func (s several) NextValue(_ header.Name, after int) ([]byte, int) {
	if after+1 >= len(s.values) {
		return nil, -1
	}
	return []byte(s.values[after+1]), after + 1
}

// As in Envoy each of several values is matched for itself: a policy that denies "evil" is not fooled by "good, evil".
func TestSeveralValues(t *testing.T) {
	h := several{request{"x-test": "good,evil,7"}, []string{"good", "evil", "7"}}
	m := HeaderMatch{Name: NewHeaderName("x-test"), Kind: HeaderString, Value: StringMatch{Value: "evil"}}
	if !m.Match(h) {
		t.Error("the second value was not seen")
	}
	m.Invert = true
	if m.Match(h) {
		t.Error("inverted, the second value was not seen")
	}
	m = HeaderMatch{Name: NewHeaderName("x-test"), Kind: HeaderString, Value: StringMatch{Value: "good,evil,7"}}
	if m.Match(h) {
		t.Error("the joined value matches")
	}
	m = HeaderMatch{Name: NewHeaderName("x-test"), Kind: HeaderRange, Low: 7, High: 8}
	if !m.Match(h) {
		t.Error("the number was not seen")
	}
}

func TestPseudoHeaders(t *testing.T) {
	r := request{":method": "GET", ":authority": "a", ":path": "/p?q", ":scheme": "http"}
	for name, want := range map[string]string{":method": "GET", ":authority": "a", "Host": "a", ":path": "/p?q", ":scheme": "http"} {
		n := NewHeaderName(name)
		if v, ok := n.Of(r); !ok || string(v) != want {
			t.Errorf("%s is %q", name, v)
		}
	}
	n := NewHeaderName(":nope")
	if _, ok := n.Of(r); ok || !n.IsPseudo() {
		t.Error("an unknown pseudo header has a value")
	}
}

func TestPortSet(t *testing.T) {
	s := PortSet{{100, 200}, {150, 300}, {0, 0}}
	c := s.Complement()
	for _, p := range []uint16{0, 1, 99, 100, 160, 300, 301, 65535} {
		if s.Has(p) == c.Has(p) {
			t.Errorf("port %d is in both or in none of %v and %v", p, s, c)
		}
	}
	if got := (PortSet{{0, 65535}}).Complement(); len(got) != 0 {
		t.Errorf("nothing is left of all ports, got %v", got)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	m := HeaderMatch{Name: NewHeaderName("x-user"), Kind: HeaderString, Value: StringMatch{Kind: MatchContains, Value: "son", IgnoreCase: true}}
	v := []byte("Jason")
	if n := testing.AllocsPerRun(100, func() {
		if !m.Value.Match(v) {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
