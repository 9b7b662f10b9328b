package rbac

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	security "istio.io/api/security/v1beta1"

	"lateen.dev/lateen/translate/internal/pb"
)

const (
	spiffePrefix = "spiffe://"
	jwtFilter    = "envoy.filters.http.jwt_authn"
)

var (
	errUnknownKey = errors.New("unknown attribute")
	errBrackets   = errors.New("attribute needs a name in brackets")
)

// to lists the clauses of an operation; a nil operation has none.
func (c compiler) to(o *security.Operation) []clause[*rbacv3.Permission] {
	return []clause[*rbacv3.Permission]{
		{values: o.GetHosts(), notValues: o.GetNotHosts(), httpOnly: true, one: hostPermission},
		{values: o.GetMethods(), notValues: o.GetNotMethods(), httpOnly: true, one: methodPermission},
		{values: o.GetPaths(), notValues: o.GetNotPaths(), httpOnly: true, one: pathPermission},
		{values: o.GetPorts(), notValues: o.GetNotPorts(), one: portPermission},
	}
}

// from lists the clauses of a source; a nil source has none.
func (c compiler) from(s *security.Source) []clause[*rbacv3.Principal] {
	return []clause[*rbacv3.Principal]{
		{values: c.expandTrustDomains(s.GetPrincipals()), notValues: c.expandTrustDomains(s.GetNotPrincipals()), one: peer},
		{values: s.GetRequestPrincipals(), notValues: s.GetNotRequestPrincipals(), httpOnly: true, one: requestPrincipal},
		{values: s.GetNamespaces(), notValues: s.GetNotNamespaces(), one: peerNamespace},
		{values: s.GetServiceAccounts(), notValues: s.GetNotServiceAccounts(), one: c.peerServiceAccount},
		{values: s.GetTrustDomains(), notValues: s.GetNotTrustDomains(), one: peerTrustDomain},
		{values: s.GetRemoteIpBlocks(), notValues: s.GetNotRemoteIpBlocks(), one: remoteIP},
		{values: s.GetIpBlocks(), notValues: s.GetNotIpBlocks(), one: sourceIP},
	}
}

// when finds the clause of one condition: a permission or a principal.
func (c compiler) when(w *security.Condition) (*clause[*rbacv3.Permission], *clause[*rbacv3.Principal], error) {
	perm := func(one func(string) (*rbacv3.Permission, error)) (*clause[*rbacv3.Permission], *clause[*rbacv3.Principal], error) {
		return &clause[*rbacv3.Permission]{values: w.GetValues(), notValues: w.GetNotValues(), one: one}, nil, nil
	}
	prin := func(one func(string) (*rbacv3.Principal, error)) (*clause[*rbacv3.Permission], *clause[*rbacv3.Principal], error) {
		httpOnly := strings.HasPrefix(w.GetKey(), "request.")
		return nil, &clause[*rbacv3.Principal]{values: w.GetValues(), notValues: w.GetNotValues(), httpOnly: httpOnly, one: one}, nil
	}
	switch key := w.GetKey(); {
	case key == "destination.ip":
		return perm(destinationIP)
	case key == "destination.port":
		return perm(portPermission)
	case key == "connection.sni":
		return perm(sni)
	case strings.HasPrefix(key, "experimental.envoy.filters."):
		return c.metadataCondition(key, perm)
	case key == "source.ip":
		return prin(sourceIP)
	case key == "remote.ip":
		return prin(remoteIP)
	case key == "source.namespace":
		return prin(peerNamespace)
	case key == "source.serviceAccount":
		return prin(c.peerServiceAccount)
	case key == "source.trustDomain":
		return prin(peerTrustDomain)
	case key == "source.principal":
		_, cl, err := prin(peer)
		cl.values, cl.notValues = c.expandTrustDomains(cl.values), c.expandTrustDomains(cl.notValues)
		return nil, cl, err
	case key == "request.auth.principal":
		return prin(requestPrincipal)
	case key == "request.auth.audiences":
		return prin(claim("aud"))
	case key == "request.auth.presenter":
		return prin(claim("azp"))
	case strings.HasPrefix(key, "request.auth.claims"):
		path, err := brackets(strings.TrimPrefix(key, "request.auth.claims"))
		if err != nil {
			return nil, nil, err
		}
		return prin(claim(path...))
	case strings.HasPrefix(key, "request.headers"):
		path, err := brackets(strings.TrimPrefix(key, "request.headers"))
		if err != nil || len(path) != 1 {
			return nil, nil, errBrackets
		}
		return prin(func(v string) (*rbacv3.Principal, error) {
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: header(path[0], v)}}, nil
		})
	default:
		return nil, nil, fmt.Errorf("%w %q", errUnknownKey, key)
	}
}

type permClause = func(func(string) (*rbacv3.Permission, error)) (*clause[*rbacv3.Permission], *clause[*rbacv3.Principal], error)

// metadataCondition reads experimental.envoy.filters.NAME[KEY], which looks into the metadata a filter left behind.
func (c compiler) metadataCondition(key string, perm permClause) (*clause[*rbacv3.Permission], *clause[*rbacv3.Principal], error) {
	name, rest, ok := strings.Cut(strings.TrimPrefix(key, "experimental."), "[")
	if !ok {
		return nil, nil, errBrackets
	}
	path := strings.TrimSuffix(rest, "]")
	return perm(func(v string) (*rbacv3.Permission, error) {
		value := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: pb.Glob("", v)}}
		if inner, ok := strings.CutPrefix(v, "["); ok {
			value = inList(pb.Glob("", strings.TrimSuffix(inner, "]")))
		}
		//lint:ignore SA1019 the form of Istio, which all Envoys read
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: metadata(name, []string{path}, value)}}, nil
	})
}

func hostPermission(v string) (*rbacv3.Permission, error) {
	h := header(":authority", v)
	if m := h.GetStringMatch(); m != nil {
		m.IgnoreCase = true
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: h}}, nil
}

func methodPermission(v string) (*rbacv3.Permission, error) {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: header(":method", v)}}, nil
}

func pathPermission(v string) (*rbacv3.Permission, error) {
	m := pb.Glob("", v)
	if strings.Contains(v, "{*}") || strings.Contains(v, "{**}") {
		m = pb.Regex(pathTemplate(v))
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{
		UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: m}},
	}}, nil
}

// pathTemplate is the expression for a path in which {*} stands for one segment and {**} for any number of them. An
// expression says it to every proxy; Envoy's own template matcher is an extension that not all have.
func pathTemplate(v string) string {
	return strings.NewReplacer(`\{\*\*\}`, ".*", `\{\*\}`, "[^/]+").Replace(regexp.QuoteMeta(v))
}

func portPermission(v string) (*rbacv3.Permission, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port: %w", err)
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: uint32(n)}}, nil
}

func destinationIP(v string) (*rbacv3.Permission, error) {
	cidr, err := pb.CIDR(v)
	if err != nil {
		return nil, err
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: cidr}}, nil
}

func sni(v string) (*rbacv3.Permission, error) {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: pb.Glob("", v)}}, nil
}

func peer(v string) (*rbacv3.Principal, error) { return authenticated(pb.Glob(spiffePrefix, v)), nil }

func peerNamespace(v string) (*rbacv3.Principal, error) {
	return authenticated(pb.Regex(".*/ns/" + globRegex(v) + "/.*")), nil
}

func peerTrustDomain(v string) (*rbacv3.Principal, error) {
	return authenticated(pb.Regex(spiffePrefix + globRegex(v) + "/.*")), nil
}

// peerServiceAccount takes NAME, of the policy's own namespace, or NAMESPACE/NAME.
func (c compiler) peerServiceAccount(v string) (*rbacv3.Principal, error) {
	ns, sa, ok := strings.Cut(v, "/")
	if !ok {
		ns, sa = c.namespace, v
	}
	expr := fmt.Sprintf("%s.+/ns/%s/(.+/|)sa/%s(/.+)?", spiffePrefix, regexp.QuoteMeta(ns), regexp.QuoteMeta(sa))
	return authenticated(pb.Regex(expr)), nil
}

func globRegex(v string) string { return strings.ReplaceAll(regexp.QuoteMeta(v), `\*`, ".*") }

func authenticated(m *matcherv3.StringMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{
		Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: m},
	}}
}

func sourceIP(v string) (*rbacv3.Principal, error) {
	cidr, err := pb.CIDR(v)
	if err != nil {
		return nil, err
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: cidr}}, nil
}

func remoteIP(v string) (*rbacv3.Principal, error) {
	cidr, err := pb.CIDR(v)
	if err != nil {
		return nil, err
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: cidr}}, nil
}

// requestPrincipal matches ISSUER/SUBJECT of a validated token. The issuer may hold slashes, the subject is what
// follows the last one; a "*" at either end leaves that end open.
func requestPrincipal(v string) (*rbacv3.Principal, error) {
	iss, sub := pb.Glob("", "*"), pb.Glob("", "*")
	at := strings.LastIndex(v, "/")
	switch {
	case v == "*":
	case at >= 0:
		iss, sub = pb.Glob("", v[:at]), pb.Glob("", v[at+1:])
	case strings.HasPrefix(v, "*"):
		sub = pb.Glob("", v)
	case strings.HasSuffix(v, "*"):
		iss = pb.Glob("", v)
	default:
		iss, sub = pb.Exact(v), pb.Exact("")
	}
	alg := principals()
	return alg.and([]*rbacv3.Principal{claimIs("iss", iss), claimIs("sub", sub)}), nil
}

func claimIs(name string, m *matcherv3.StringMatcher) *rbacv3.Principal {
	value := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{
		//lint:ignore SA1019 the form of Istio, which all Envoys read
		Metadata: metadata(jwtFilter, []string{"payload", name}, value),
	}}
}

// claim matches a claim that is a string, or a list that holds the string.
func claim(path ...string) func(string) (*rbacv3.Principal, error) {
	return func(v string) (*rbacv3.Principal, error) {
		m := pb.Glob("", v)
		value := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{
			ValueMatchers: []*matcherv3.ValueMatcher{
				{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}},
				inList(m),
			},
		}}}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{
			//lint:ignore SA1019 the form of Istio, which all Envoys read
			Metadata: metadata(jwtFilter, append([]string{"payload"}, path...), value),
		}}, nil
	}
}

func inList(m *matcherv3.StringMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
		MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: &matcherv3.ValueMatcher{
			MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m},
		}},
	}}}
}

func metadata(filter string, path []string, value *matcherv3.ValueMatcher) *matcherv3.MetadataMatcher {
	out := &matcherv3.MetadataMatcher{Filter: filter, Value: value}
	for _, key := range path {
		out.Path = append(out.Path, &matcherv3.MetadataMatcher_PathSegment{
			Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key},
		})
	}
	return out
}

func header(name, v string) *routev3.HeaderMatcher {
	if v == "*" {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	}
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: pb.Glob("", v)}}
}

// brackets reads "[a][b]" into {a, b}.
func brackets(s string) ([]string, error) {
	var out []string
	for s != "" {
		end := strings.IndexByte(s, ']')
		if s[0] != '[' || end < 2 {
			return nil, errBrackets
		}
		out, s = append(out, s[1:end]), s[end+1:]
	}
	if len(out) == 0 {
		return nil, errBrackets
	}
	return out, nil
}
