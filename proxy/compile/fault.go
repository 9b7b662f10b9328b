package compile

import (
	"errors"
	"fmt"

	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"

	"lateen.dev/lateen/proxy/plan"
)

var faultFields = fields(`delay abort upstream_cluster headers downstream_nodes max_active_faults
	delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime max_active_faults_runtime
	response_rate_limit_percent_runtime abort_grpc_status_runtime disable_downstream_cluster_stats filter_metadata`)

func fault(m *faultv3.HTTPFault) (*plan.Fault, error) {
	if err := faultFields.only(m); err != nil {
		return nil, err
	}
	out := &plan.Fault{
		UpstreamCluster: m.GetUpstreamCluster(), DownstreamNodes: m.GetDownstreamNodes(), MaxActive: m.GetMaxActiveFaults().GetValue(),
	}
	var err error
	if out.Headers, err = headerMatches(m.GetHeaders()); err != nil {
		return nil, err
	}
	if d := m.GetDelay(); d != nil {
		if out.Delay, err = faultDelay(d); err != nil {
			return nil, at(err, "delay")
		}
	}
	if a := m.GetAbort(); a != nil {
		if out.Abort, err = faultAbort(a); err != nil {
			return nil, at(err, "abort")
		}
	}
	return out, nil
}

func faultDelay(d *faultcommonv3.FaultDelay) (*plan.FaultDelay, error) {
	out := &plan.FaultDelay{}
	var err error
	if out.Fraction, err = fraction(d.GetPercentage(), plan.Fraction{Denominator: 100}); err != nil {
		return nil, err
	}
	switch s := d.GetFaultDelaySecifier().(type) {
	case *faultcommonv3.FaultDelay_FixedDelay:
		out.Fixed, err = duration(s.FixedDelay, 0)
		return out, at(err, "fixed_delay")
	case *faultcommonv3.FaultDelay_HeaderDelay_:
		out.HeaderControlled = true
		return out, nil
	}
	return nil, errors.New("neither fixed_delay nor header_delay is given")
}

func faultAbort(a *faultv3.FaultAbort) (*plan.FaultAbort, error) {
	out := &plan.FaultAbort{}
	var err error
	if out.Fraction, err = fraction(a.GetPercentage(), plan.Fraction{Denominator: 100}); err != nil {
		return nil, err
	}
	switch s := a.GetErrorType().(type) {
	case *faultv3.FaultAbort_HttpStatus:
		if s.HttpStatus < 200 || s.HttpStatus > 599 {
			return nil, fmt.Errorf("http_status %d is not between 200 and 599", s.HttpStatus)
		}
		out.HTTPStatus = uint16(s.HttpStatus)
	case *faultv3.FaultAbort_GrpcStatus:
		out.GRPCStatus, out.IsGRPC = s.GrpcStatus, true
	case *faultv3.FaultAbort_HeaderAbort_:
		out.HeaderControlled = true
	default:
		return nil, errors.New("none of http_status, grpc_status and header_abort is given")
	}
	return out, nil
}
