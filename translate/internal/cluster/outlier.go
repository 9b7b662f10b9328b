package cluster

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/translate/internal/pb"
)

// outlier applies outlier detection. Detection by success rate, which Envoy has on by default, is off: Istio's API has no
// word for it. With outlier detection the panic threshold is what minHealthPercent says, 0 unless set.
func (b *builder) outlier(in *networking.OutlierDetection) {
	if in == nil {
		return
	}
	out := &clusterv3.OutlierDetection{
		EnforcingSuccessRate: pb.UInt32(0),
		Interval:             in.GetInterval(),
		BaseEjectionTime:     in.GetBaseEjectionTime(),
	}
	if n := in.GetConsecutive_5XxErrors(); n != nil {
		out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = n, enforce(n.GetValue())
	}
	if n := in.GetConsecutiveGatewayErrors(); n != nil {
		out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = n, enforce(n.GetValue())
	}
	if in.GetMaxEjectionPercent() > 0 {
		out.MaxEjectionPercent = pb.UInt32(uint32(in.GetMaxEjectionPercent()))
	}
	if in.GetSplitExternalLocalOriginErrors() {
		out.SplitExternalLocalOriginErrors = true
		out.EnforcingLocalOriginSuccessRate = pb.UInt32(0)
		if n := in.GetConsecutiveLocalOriginFailures(); n.GetValue() > 0 {
			out.ConsecutiveLocalOriginFailure, out.EnforcingConsecutiveLocalOriginFailure = n, enforce(n.GetValue())
		}
	}
	b.out.OutlierDetection = out
	b.out.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: float64(max(in.GetMinHealthPercent(), 0))}
}

// enforce always ejects, unless the number of errors is zero, which switches the detector off.
func enforce(errors uint32) *wrapperspb.UInt32Value {
	if errors == 0 {
		return pb.UInt32(0)
	}
	return pb.UInt32(100)
}
