package route

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/translate/internal/pb"
)

const claimsHeader = "@request.auth.claims"

func routeMatch(in *networking.HTTPMatchRequest) *routev3.RouteMatch {
	out := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	if in == nil {
		return out
	}
	path(out, in.GetUri())
	out.CaseSensitive = pb.Bool(!in.GetIgnoreUriCase())
	for _, name := range slices.Sorted(maps.Keys(in.GetHeaders())) {
		addHeader(out, name, in.GetHeaders()[name], false)
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetWithoutHeaders())) {
		addHeader(out, name, in.GetWithoutHeaders()[name], true)
	}
	slices.SortStableFunc(out.Headers, func(a, b *routev3.HeaderMatcher) int { return cmp.Compare(a.GetName(), b.GetName()) })
	for _, pseudo := range []struct {
		name  string
		match *networking.StringMatch
	}{{":method", in.GetMethod()}, {":authority", in.GetAuthority()}, {":scheme", in.GetScheme()}} {
		if pseudo.match != nil {
			out.Headers = append(out.Headers, headerMatch(pseudo.name, pseudo.match))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetQueryParams())) {
		out.QueryParameters = append(out.QueryParameters, queryMatch(name, in.GetQueryParams()[name]))
	}
	return out
}

func path(out *routev3.RouteMatch, uri *networking.StringMatch) {
	switch m := uri.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Exact}
	case *networking.StringMatch_Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.Prefix}
	case *networking.StringMatch_Regex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: pb.RE2(m.Regex)}
	}
}

func addHeader(out *routev3.RouteMatch, name string, m *networking.StringMatch, without bool) {
	if claims, ok := claimPath(name); ok {
		md := claimMatch(claims, m)
		md.Invert = without
		out.DynamicMetadata = append(out.DynamicMetadata, md)
		return
	}
	h := headerMatch(name, m)
	if without {
		h.InvertMatch = true
		// A request without the header must count as "not that value". Presence is inverted as it is.
		h.TreatMissingHeaderAsEmpty = !presence(m)
	}
	out.Headers = append(out.Headers, h)
}

// presence reports whether m asks only that something be there: no pattern, or the historic regex "*".
func presence(m *networking.StringMatch) bool {
	if m.GetMatchType() == nil {
		return true
	}
	rx, ok := m.GetMatchType().(*networking.StringMatch_Regex)
	return ok && rx.Regex == "*"
}

func headerMatch(name string, m *networking.StringMatch) *routev3.HeaderMatcher {
	if presence(m) {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	}
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: pb.FromStringMatch(m)}}
}

func queryMatch(name string, m *networking.StringMatch) *routev3.QueryParameterMatcher {
	if presence(m) {
		return &routev3.QueryParameterMatcher{
			Name:                         name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true},
		}
	}
	return &routev3.QueryParameterMatcher{
		Name:                         name,
		QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: pb.FromStringMatch(m)},
	}
}

// claimPath reads "@request.auth.claims.a.b" or "@request.auth.claims[a][b]".
func claimPath(name string) ([]string, bool) {
	rest, ok := strings.CutPrefix(name, claimsHeader)
	if !ok || len(rest) < 2 {
		return nil, false
	}
	if rest[0] == '.' {
		return strings.Split(rest[1:], "."), true
	}
	if rest[0] == '[' && strings.HasSuffix(rest, "]") {
		return strings.Split(rest[1:len(rest)-1], "]["), true
	}
	return nil, false
}

func claimMatch(claims []string, m *networking.StringMatch) *matcherv3.MetadataMatcher {
	s := pb.FromStringMatch(m)
	if s == nil || presence(m) {
		s = pb.Regex(".+")
	}
	str := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: s}}
	list := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
		MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: str},
	}}}
	out := &matcherv3.MetadataMatcher{
		Filter: "envoy.filters.http.jwt_authn",
		Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{
			OrMatch: &matcherv3.OrMatcher{ValueMatchers: []*matcherv3.ValueMatcher{str, list}},
		}},
	}
	for _, key := range append([]string{"payload"}, claims...) {
		out.Path = append(out.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}})
	}
	return out
}
