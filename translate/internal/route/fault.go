package route

import (
	"strconv"

	commonfault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	httpfault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/translate/internal/pb"
)

// FaultFilter is the name under which routes configure fault injection.
const FaultFilter = "envoy.filters.http.fault"

// fault translates fault injection; nil when there is nothing to inject.
func fault(in *networking.HTTPFaultInjection) *httpfault.HTTPFault {
	out := &httpfault.HTTPFault{}
	if d := in.GetDelay(); d.GetFixedDelay() != nil {
		out.Delay = &commonfault.FaultDelay{
			FaultDelaySecifier: &commonfault.FaultDelay_FixedDelay{FixedDelay: d.GetFixedDelay()},
			//lint:ignore SA1019 users still write it
			Percentage: percentage(d.GetPercentage(), d.GetPercent()),
		}
	}
	switch e := in.GetAbort().GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		out.Abort = &httpfault.FaultAbort{
			ErrorType:  &httpfault.FaultAbort_HttpStatus{HttpStatus: uint32(e.HttpStatus)},
			Percentage: percentage(in.GetAbort().GetPercentage(), 100),
		}
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		out.Abort = &httpfault.FaultAbort{
			ErrorType:  &httpfault.FaultAbort_GrpcStatus{GrpcStatus: grpcCode(e.GrpcStatus)},
			Percentage: percentage(in.GetAbort().GetPercentage(), 100),
		}
	}
	if out.Delay == nil && out.Abort == nil {
		return nil
	}
	return out
}

// percentage prefers the form with fractions. Where neither is given the share is whole, as the API documents.
func percentage(p *networking.Percent, whole int32) *typev3.FractionalPercent {
	if p != nil {
		return pb.MillionthPercent(p.GetValue())
	}
	if whole <= 0 {
		whole = 100
	}
	return pb.WholePercent(uint32(whole))
}

// grpcCode reads the name of a gRPC status ("UNAVAILABLE"); names outside the standard mean UNKNOWN.
func grpcCode(name string) uint32 {
	var c codes.Code
	if err := c.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil {
		return uint32(codes.Unknown)
	}
	return uint32(c)
}
