package plan

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"lateen.dev/lateen/wire/header"
)

// Head is a request's head as matchers see it. The engine implements it over the codec's buffers. Values are views
// that are valid while the request is; a header given several times is joined with commas.
type Head interface {
	Method() []byte
	Scheme() []byte
	Authority() []byte
	Path() []byte // with the query
	// Header returns the value of a header that is not a pseudo header, nor host.
	Header(name header.Name) (value []byte, ok bool)
}

// Values is implemented by a Head that can tell the values of a header given several times apart.
type Values interface {
	// NextValue returns the value of the header that comes after the one with the given index (-1 for the first), and
	// its own index; -1 when there is none.
	NextValue(name header.Name, after int) (value []byte, index int)
}

// HeaderName is the name of a header or pseudo header, prepared for lookups. It is immutable.
type HeaderName struct {
	header.Name
	pseudo pseudo
}

type pseudo uint8

const (
	notPseudo pseudo = iota
	pseudoMethod
	pseudoScheme
	pseudoAuthority // also "host"
	pseudoPath
	pseudoOther
)

// NewHeaderName prepares a name.
func NewHeaderName(name string) HeaderName {
	n := HeaderName{Name: header.NewName(name)}
	switch n.String() {
	case ":method":
		n.pseudo = pseudoMethod
	case ":scheme":
		n.pseudo = pseudoScheme
	case ":authority", "host":
		n.pseudo = pseudoAuthority
	case ":path":
		n.pseudo = pseudoPath
	default:
		if strings.HasPrefix(name, ":") {
			n.pseudo = pseudoOther
		}
	}
	return n
}

// IsAuthority reports whether the name is :authority or host.
func (n *HeaderName) IsAuthority() bool { return n.pseudo == pseudoAuthority }

// IsPseudo reports whether the name is a pseudo header's, or host.
func (n *HeaderName) IsPseudo() bool { return n.pseudo != notPseudo }

// Of returns the header's value in h.
func (n *HeaderName) Of(h Head) ([]byte, bool) {
	var v []byte
	switch n.pseudo {
	case notPseudo:
		return h.Header(n.Name)
	case pseudoMethod:
		v = h.Method()
	case pseudoScheme:
		v = h.Scheme()
	case pseudoAuthority:
		v = h.Authority()
	case pseudoPath:
		v = h.Path()
	}
	return v, len(v) > 0
}

// StringMatchKind says how a StringMatch compares.
type StringMatchKind uint8

// The kinds of string match.
const (
	MatchExact StringMatchKind = iota
	MatchPrefix
	MatchSuffix
	MatchContains
	MatchRegex // RE2, the whole string
	MatchAny   // every string, the empty one too
)

// StringMatch is Envoy's StringMatcher.
type StringMatch struct {
	Kind       StringMatchKind
	Value      string // lower case when IgnoreCase
	IgnoreCase bool
	Regex      *regexp.Regexp // anchored at both ends
}

// Match reports whether v matches. It doesn't allocate.
func (m *StringMatch) Match(v []byte) bool {
	switch m.Kind {
	case MatchExact:
		return len(v) == len(m.Value) && m.equal(v)
	case MatchPrefix:
		return len(v) >= len(m.Value) && m.equal(v[:len(m.Value)])
	case MatchSuffix:
		return len(v) >= len(m.Value) && m.equal(v[len(v)-len(m.Value):])
	case MatchContains:
		return m.contains(v)
	case MatchRegex:
		return m.Regex.Match(v)
	}
	return true
}

// MatchString is Match for a string.
func (m *StringMatch) MatchString(v string) bool { return m.Match([]byte(v)) }

func (m *StringMatch) equal(v []byte) bool {
	if m.IgnoreCase {
		return EqualFold(v, m.Value)
	}
	return string(v) == m.Value
}

func (m *StringMatch) contains(v []byte) bool {
	n := len(m.Value)
	if !m.IgnoreCase {
		return n == 0 || containsString(v, m.Value)
	}
	for i := 0; i+n <= len(v); i++ {
		if EqualFold(v[i:i+n], m.Value) {
			return true
		}
	}
	return false
}

func containsString(v []byte, s string) bool {
	for i := 0; i+len(s) <= len(v); i++ {
		j := bytes.IndexByte(v[i:], s[0])
		if j < 0 || i+j+len(s) > len(v) {
			return false
		}
		if i += j; string(v[i:i+len(s)]) == s {
			return true
		}
	}
	return false
}

// String describes the match for explain: exact "/a", prefix "/b"…
func (m *StringMatch) String() string {
	name := [...]string{"exact", "prefix", "suffix", "contains", "regex", "any"}[m.Kind]
	if m.Kind == MatchAny {
		return name
	}
	value := m.Value
	if m.Kind == MatchRegex {
		value = RegexSource(m.Regex)
	}
	if m.IgnoreCase {
		name += " (any case)"
	}
	return name + " " + `"` + value + `"`
}

// EqualFold compares ASCII without case; lower is lower case already.
func EqualFold(v []byte, lower string) bool {
	if len(v) != len(lower) {
		return false
	}
	for i := range v {
		c := v[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// HeaderMatch is Envoy's HeaderMatcher.
type HeaderMatch struct {
	Name HeaderName
	Kind HeaderMatchKind
	// Value is for HeaderString.
	Value StringMatch
	// Low and High are for HeaderRange: Low ≤ value < High.
	Low, High int64
	// Invert turns the result round. A missing header matches nothing, inverted or not, unless TreatMissingAsEmpty;
	// only HeaderPresent inverted matches its absence. With TreatMissingAsEmpty every header is present.
	Invert              bool
	TreatMissingAsEmpty bool
}

// HeaderMatchKind says what a HeaderMatch looks at.
type HeaderMatchKind uint8

// The kinds of header match.
const (
	HeaderPresent HeaderMatchKind = iota
	HeaderString
	HeaderRange
)

// Match reports whether h's head matches. Of a header given several times each value counts for itself, so that a
// second value can't hide a first.
func (m *HeaderMatch) Match(h Head) bool {
	v, ok := m.Name.Of(h)
	switch {
	case m.Kind == HeaderPresent:
		return (ok || m.TreatMissingAsEmpty) != m.Invert
	case !ok && !m.TreatMissingAsEmpty:
		return false
	case !ok:
		v = nil
	}
	if bytes.IndexByte(v, ',') >= 0 && m.Name.pseudo == notPseudo {
		if each, ok := h.(Values); ok {
			return m.matchAny(each) != m.Invert
		}
	}
	return m.matchValue(v) != m.Invert
}

func (m *HeaderMatch) matchAny(h Values) bool {
	v, i := h.NextValue(m.Name.Name, -1)
	for ; i >= 0; v, i = h.NextValue(m.Name.Name, i) {
		if m.matchValue(v) {
			return true
		}
	}
	return false
}

func (m *HeaderMatch) matchValue(v []byte) bool {
	if m.Kind == HeaderRange {
		n, ok := parseInt(v)
		return ok && n >= m.Low && n < m.High
	}
	return m.Value.Match(v)
}

// parseInt reads a decimal integer without allocating.
func parseInt(v []byte) (int64, bool) {
	negative := len(v) > 0 && v[0] == '-'
	if negative {
		v = v[1:]
	}
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// QueryMatch is Envoy's QueryParameterMatcher.
type QueryMatch struct {
	Name string
	// Value is nil when the parameter need only be present.
	Value *StringMatch
}

// Fraction is a share of requests: Numerator of Denominator (100, 10,000 or 1,000,000).
type Fraction struct{ Numerator, Denominator uint32 }

// Hit reports whether random bits r fall into the fraction.
func (f Fraction) Hit(r uint64) bool {
	return f.Numerator >= f.Denominator || r%uint64(f.Denominator) < uint64(f.Numerator)
}

// IsZero reports whether the fraction is never hit (or was not given).
func (f Fraction) IsZero() bool { return f.Numerator == 0 }

// RegexSource is the regex as it was configured, without the anchors.
func RegexSource(r *regexp.Regexp) string {
	return strings.TrimSuffix(strings.TrimPrefix(r.String(), `^(?:`), `)$`)
}

// String describes the match for explain.
func (m *HeaderMatch) String() string {
	var s string
	switch m.Kind {
	case HeaderPresent:
		s = "header " + m.Name.String() + " present"
	case HeaderString:
		s = "header " + m.Name.String() + " " + m.Value.String()
	case HeaderRange:
		s = fmt.Sprintf("header %s in [%d, %d)", m.Name.String(), m.Low, m.High)
	}
	if m.Invert {
		return "not (" + s + ")"
	}
	return s
}
