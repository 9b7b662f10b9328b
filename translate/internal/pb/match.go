package pb

import (
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// Exact matches s and nothing else.
func Exact(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

// Prefix matches what starts with s.
func Prefix(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
}

// Suffix matches what ends with s.
func Suffix(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}}
}

// Regex matches the whole input against an RE2 expression.
func Regex(expr string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: RE2(expr)}}
}

// RE2 is an expression matched against the whole input.
func RE2(expr string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: expr} }

// Exacts matches each of in exactly.
func Exacts(in []string) []*matcherv3.StringMatcher {
	if len(in) == 0 {
		return nil
	}
	out := make([]*matcherv3.StringMatcher, len(in))
	for i, s := range in {
		out[i] = Exact(s)
	}
	return out
}

// FromStringMatch converts Istio's StringMatch; nil when it has no pattern.
func FromStringMatch(in *networking.StringMatch) *matcherv3.StringMatcher {
	switch m := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return Exact(m.Exact)
	case *networking.StringMatch_Prefix:
		return Prefix(m.Prefix)
	case *networking.StringMatch_Regex:
		return Regex(m.Regex)
	}
	return nil
}

// Glob converts the form of Istio's security policies: "*" (anything that is not empty), "*suffix", "prefix*" or an
// exact value. lead is put before the value where its beginning is known ("spiffe://" before a principal).
func Glob(lead, value string) *matcherv3.StringMatcher {
	switch {
	case value == "*":
		return Regex(".+")
	case strings.HasPrefix(value, "*"):
		return Suffix(value[1:])
	case strings.HasSuffix(value, "*"):
		return Prefix(lead + value[:len(value)-1])
	default:
		return Exact(lead + value)
	}
}

// CIDR converts an address or a prefix.
func CIDR(s string) (*corev3.CidrRange, error) {
	p, err := prefix(s)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", s, err)
	}
	return &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: UInt32(uint32(p.Bits()))}, nil
}

func prefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
