package route

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/translate/internal/pb"
)

// mirrors lists who gets a copy of the request. A share of zero is no mirror at all.
func mirrors(rule *networking.HTTPRoute, ctx Context) []*routev3.RouteAction_RequestMirrorPolicy {
	var out []*routev3.RouteAction_RequestMirrorPolicy
	add := func(dst *networking.Destination, share *typev3.FractionalPercent) {
		if dst == nil || share.GetNumerator() == 0 {
			return
		}
		out = append(out, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:         ctx.Resolve(dst).Cluster,
			RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: share},
			TraceSampled:    pb.Bool(false),
		})
	}
	switch {
	case rule.GetMirrorPercentage() != nil:
		add(rule.GetMirror(), pb.MillionthPercent(rule.GetMirrorPercentage().GetValue()))
	//lint:ignore SA1019 users still write it
	case rule.GetMirrorPercent() != nil:
		//lint:ignore SA1019 users still write it
		add(rule.GetMirror(), pb.WholePercent(rule.GetMirrorPercent().GetValue()))
	default:
		add(rule.GetMirror(), pb.WholePercent(100))
	}
	for _, m := range rule.GetMirrors() {
		share := pb.WholePercent(100)
		if m.GetPercentage() != nil {
			share = pb.MillionthPercent(m.GetPercentage().GetValue())
		}
		add(m.GetDestination(), share)
	}
	return out
}
