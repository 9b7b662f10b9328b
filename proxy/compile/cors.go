package compile

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"lateen.dev/lateen/proxy/plan"
)

// corsPolicy is what the filter's message and the deprecated one of routes and
// virtual hosts have in common: all of it.
type corsPolicy interface {
	GetAllowOriginStringMatch() []*matcherv3.StringMatcher
	GetAllowMethods() string
	GetAllowHeaders() string
	GetExposeHeaders() string
	GetMaxAge() string
	GetAllowCredentials() *wrapperspb.BoolValue
	GetAllowPrivateNetworkAccess() *wrapperspb.BoolValue
	GetForwardNotMatchingPreflights() *wrapperspb.BoolValue
	GetFilterEnabled() *corev3.RuntimeFractionalPercent
	GetShadowEnabled() *corev3.RuntimeFractionalPercent
}

func cors(m corsPolicy) (*plan.CORS, error) {
	out := &plan.CORS{
		AllowMethods: m.GetAllowMethods(), AllowHeaders: m.GetAllowHeaders(), ExposeHeaders: m.GetExposeHeaders(), MaxAge: m.GetMaxAge(),
		AllowCredentials: m.GetAllowCredentials().GetValue(), AllowPrivateNetwork: m.GetAllowPrivateNetworkAccess().GetValue(),
		ForwardNotMatching: boolean(m.GetForwardNotMatchingPreflights(), true),
	}
	var err error
	if out.Origins, err = stringMatches(m.GetAllowOriginStringMatch()); err != nil {
		return nil, at(err, "allow_origin_string_match")
	}
	if out.Enabled, err = runtimeFraction(m.GetFilterEnabled(), always); err != nil {
		return nil, at(err, "filter_enabled")
	}
	out.Shadow, err = runtimeFraction(m.GetShadowEnabled(), plan.Fraction{Denominator: 100})
	return out, at(err, "shadow_enabled")
}

// corsFilter is the name under which routes override the filter.
const corsFilter = "envoy.filters.http.cors"

// withCORS adds the deprecated policy to overrides, unless the filter is overridden there already.
func withCORS(in *routev3.CorsPolicy, above plan.FilterOverrides) (plan.FilterOverrides, error) {
	if in == nil {
		return above, nil
	}
	c, err := cors(in)
	if err != nil {
		return nil, at(err, "cors")
	}
	out := append(plan.FilterOverrides{}, above...)
	if old := out.Find(corsFilter); old != nil {
		*old = plan.FilterOverride{Filter: corsFilter, Config: c}
		return out, nil
	}
	return append(out, plan.FilterOverride{Filter: corsFilter, Config: c}), nil
}
