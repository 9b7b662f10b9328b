package compile

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"lateen.dev/lateen/proxy/plan"
)

func hashPolicies(in []*routev3.RouteAction_HashPolicy) ([]plan.HashPolicy, error) {
	var out []plan.HashPolicy
	for i, m := range in {
		p, err := hashPolicy(m)
		if err != nil {
			return nil, at(err, "hash_policy[%d]", i)
		}
		out = append(out, p)
	}
	return out, nil
}

func hashPolicy(m *routev3.RouteAction_HashPolicy) (plan.HashPolicy, error) {
	out := plan.HashPolicy{Terminal: m.GetTerminal()}
	switch s := m.GetPolicySpecifier().(type) {
	case *routev3.RouteAction_HashPolicy_Header_:
		if s.Header.GetHeaderName() == "" {
			return out, fmt.Errorf("header_name is empty")
		}
		out.Kind, out.Header = plan.HashHeader, headerName(s.Header.GetHeaderName())
		if rr := s.Header.GetRegexRewrite(); rr != nil {
			var err error
			out.Regex, out.Substitution, err = regexRewrite(rr)
			return out, at(err, "regex_rewrite")
		}
	case *routev3.RouteAction_HashPolicy_Cookie_:
		out.Kind, out.Name, out.CookiePath = plan.HashCookie, s.Cookie.GetName(), s.Cookie.GetPath()
		var err error
		out.CookieTTL, err = duration(s.Cookie.GetTtl(), 0)
		out.HasTTL = s.Cookie.GetTtl() != nil
		for _, a := range s.Cookie.GetAttributes() {
			out.CookieAttributes += "; " + a.GetName()
			if a.GetValue() != "" {
				out.CookieAttributes += "=" + a.GetValue()
			}
		}
		return out, at(err, "cookie: ttl")
	case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
		if !s.ConnectionProperties.GetSourceIp() {
			return out, fmt.Errorf("connection_properties without source_ip hashes nothing")
		}
		out.Kind = plan.HashSourceIP
	case *routev3.RouteAction_HashPolicy_QueryParameter_:
		out.Kind, out.Name = plan.HashQuery, s.QueryParameter.GetName()
	default:
		return out, fmt.Errorf("%T is not supported by this proxy", m.GetPolicySpecifier())
	}
	return out, nil
}
