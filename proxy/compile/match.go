package compile

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"lateen.dev/lateen/proxy/plan"
)

// maxRegex bounds a pattern's length: compiled programs grow with it.
const maxRegex = 16 << 10

// fullRegex compiles a pattern that must match the whole string.
func fullRegex(m *matcherv3.RegexMatcher) (*regexp.Regexp, error) {
	return pattern(m, "^(?:", ")$")
}

// pattern compiles a pattern between two affixes.
func pattern(m *matcherv3.RegexMatcher, before, after string) (*regexp.Regexp, error) {
	if m.GetRegex() == "" {
		return nil, errors.New("regex is empty")
	}
	if len(m.GetRegex()) > maxRegex {
		return nil, fmt.Errorf("regex has %d bytes, %d are allowed", len(m.GetRegex()), maxRegex)
	}
	// The pattern alone first, so that one with unbalanced parentheses can't close ours.
	if _, err := regexp.Compile(m.GetRegex()); err != nil {
		return nil, fmt.Errorf("regex: %w", err)
	}
	r, err := regexp.Compile(before + m.GetRegex() + after)
	if err != nil {
		return nil, fmt.Errorf("regex: %w", err)
	}
	return r, nil
}

// substitution converts \1 to ${1} and escapes Go's own sign.
func substitution(r *regexp.Regexp, s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			b.WriteString("$$")
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
			if n := int(s[i+1] - '0'); n > r.NumSubexp() {
				return "", fmt.Errorf("substitution %q refers to group %d, the regex has %d", s, n, r.NumSubexp())
			}
			b.WriteString("${" + s[i+1:i+2] + "}")
			i++
		case i+1 < len(s) && s[i+1] == '\\':
			b.WriteByte('\\')
			i++
		default:
			return "", fmt.Errorf("substitution %q has a backslash before neither a digit nor a backslash", s)
		}
	}
	return b.String(), nil
}

// regexRewrite compiles a RegexMatchAndSubstitute, which replaces every match anywhere.
func regexRewrite(m *matcherv3.RegexMatchAndSubstitute) (*regexp.Regexp, string, error) {
	r, err := pattern(m.GetPattern(), "", "")
	if err != nil {
		return nil, "", err
	}
	s, err := substitution(r, m.GetSubstitution())
	return r, s, err
}

func stringMatch(m *matcherv3.StringMatcher) (plan.StringMatch, error) {
	out := plan.StringMatch{IgnoreCase: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = plan.MatchExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = plan.MatchPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = plan.MatchSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.Kind, out.Value = plan.MatchContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		out.Kind, out.IgnoreCase = plan.MatchRegex, false
		var err error
		out.Regex, err = fullRegex(p.SafeRegex)
		return out, err
	default:
		return out, errors.New("string match has no pattern that this proxy knows")
	}
	if out.Kind != plan.MatchExact && out.Value == "" {
		return out, errors.New("string match has an empty pattern")
	}
	if out.IgnoreCase {
		out.Value = strings.ToLower(out.Value)
	}
	return out, nil
}

func stringMatches(in []*matcherv3.StringMatcher) ([]plan.StringMatch, error) {
	out := make([]plan.StringMatch, 0, len(in))
	for i, m := range in {
		s, err := stringMatch(m)
		if err != nil {
			return nil, at(err, "[%d]", i)
		}
		out = append(out, s)
	}
	return out, nil
}

func headerMatch(m *routev3.HeaderMatcher) (plan.HeaderMatch, error) {
	out := plan.HeaderMatch{Invert: m.GetInvertMatch(), TreatMissingAsEmpty: m.GetTreatMissingHeaderAsEmpty()}
	if m.GetName() == "" {
		return out, errors.New("header match has no name")
	}
	out.Name = plan.NewHeaderName(m.GetName())
	out.Kind = plan.HeaderString
	var err error
	exact := func(kind plan.StringMatchKind, v string) {
		out.Value = plan.StringMatch{Kind: kind, Value: v}
	}
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		out.Kind = plan.HeaderPresent
	case *routev3.HeaderMatcher_PresentMatch:
		out.Kind = plan.HeaderPresent
		out.Invert = out.Invert == s.PresentMatch
	case *routev3.HeaderMatcher_StringMatch:
		out.Value, err = stringMatch(s.StringMatch)
	case *routev3.HeaderMatcher_RangeMatch:
		out.Kind, out.Low, out.High = plan.HeaderRange, s.RangeMatch.GetStart(), s.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_ExactMatch:
		exact(plan.MatchExact, s.ExactMatch)
	case *routev3.HeaderMatcher_PrefixMatch:
		exact(plan.MatchPrefix, s.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch:
		exact(plan.MatchSuffix, s.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch:
		exact(plan.MatchContains, s.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		out.Value.Kind = plan.MatchRegex
		out.Value.Regex, err = fullRegex(s.SafeRegexMatch)
	default:
		err = errors.New("kind of match is unknown")
	}
	return out, at(err, "header %q", m.GetName())
}

func headerMatches(in []*routev3.HeaderMatcher) ([]plan.HeaderMatch, error) {
	out := make([]plan.HeaderMatch, 0, len(in))
	for i, m := range in {
		h, err := headerMatch(m)
		if err != nil {
			return nil, at(err, "headers[%d]", i)
		}
		out = append(out, h)
	}
	return out, nil
}

// headerName prepares a name that may be absent.
func headerName(name string) *plan.HeaderName {
	if name == "" {
		return nil
	}
	n := plan.NewHeaderName(name)
	return &n
}

func cidr(c *corev3.CidrRange) (netip.Prefix, error) {
	a, err := netip.ParseAddr(c.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("address_prefix: %w", err)
	}
	p, err := a.Unmap().WithZone("").Prefix(int(min(c.GetPrefixLen().GetValue(), 1000)))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("prefix_len: %w", err)
	}
	return p, nil
}

func cidrs(in []*corev3.CidrRange) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, c := range in {
		p, err := cidr(c)
		if err != nil {
			return nil, at(err, "[%d]", i)
		}
		out = append(out, p)
	}
	return out, nil
}
