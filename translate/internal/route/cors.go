package route

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/translate/internal/pb"
)

// CORSFilter is the name under which routes configure cross-origin requests.
const CORSFilter = "envoy.filters.http.cors"

func cors(in *networking.CorsPolicy) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowCredentials: in.GetAllowCredentials(),
		AllowHeaders:     strings.Join(in.GetAllowHeaders(), ","),
		AllowMethods:     strings.Join(in.GetAllowMethods(), ","),
		ExposeHeaders:    strings.Join(in.GetExposeHeaders(), ","),
		FilterEnabled:    &corev3.RuntimeFractionalPercent{DefaultValue: pb.WholePercent(100)},
		ForwardNotMatchingPreflights: pb.Bool(
			in.GetUnmatchedPreflights() != networking.CorsPolicy_IGNORE),
	}
	for _, o := range in.GetAllowOrigins() {
		if m := pb.FromStringMatch(o); m != nil {
			out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, m)
		}
	}
	if in.GetAllowOrigins() == nil {
		//lint:ignore SA1019 users still write it
		out.AllowOriginStringMatch = pb.Exacts(in.GetAllowOrigin())
	}
	if in.GetMaxAge() != nil {
		out.MaxAge = strconv.FormatInt(in.GetMaxAge().GetSeconds(), 10)
	}
	return out
}
