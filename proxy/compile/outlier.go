package compile

import (
	"errors"
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/outlier"
)

var outlierFields = fields(`consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx
	enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor
	consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors
	consecutive_local_origin_failure enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate
	failure_percentage_threshold enforcing_failure_percentage enforcing_failure_percentage_local_origin
	failure_percentage_minimum_hosts failure_percentage_request_volume max_ejection_time max_ejection_time_jitter
	successful_active_health_check_uneject_host always_eject_one_host`)

func outliers(out *plan.Cluster, c *clusterv3.Cluster) error {
	m := c.GetOutlierDetection()
	if m == nil {
		return nil
	}
	if err := outlierFields.only(m); err != nil {
		return at(err, "outlier_detection")
	}
	ds := &durations{}
	cfg := outlier.Default()
	cfg.Interval = ds.get("interval", m.GetInterval(), cfg.Interval)
	cfg.BaseEjection = ds.get("base_ejection_time", m.GetBaseEjectionTime(), cfg.BaseEjection)
	cfg.MaxEjection = ds.get("max_ejection_time", m.GetMaxEjectionTime(), max(cfg.MaxEjection, cfg.BaseEjection))
	if ds.err != nil {
		return at(ds.err, "outlier_detection")
	}
	if cfg.Interval <= 0 || cfg.BaseEjection <= 0 {
		return errors.New("outlier_detection: interval and base_ejection_time must be above 0")
	}
	cfg.Consecutive5xx = u32(m.GetConsecutive_5Xx(), cfg.Consecutive5xx)
	cfg.ConsecutiveGateway = u32(m.GetConsecutiveGatewayFailure(), cfg.ConsecutiveGateway)
	cfg.ConsecutiveLocal = u32(m.GetConsecutiveLocalOriginFailure(), cfg.ConsecutiveLocal)
	cfg.SplitLocalOrigin = m.GetSplitExternalLocalOriginErrors()
	cfg.MaxEjectionPercent = u32(m.GetMaxEjectionPercent(), cfg.MaxEjectionPercent)
	cfg.Enforcing5xx = u32(m.GetEnforcingConsecutive_5Xx(), cfg.Enforcing5xx)
	cfg.EnforcingGateway = u32(m.GetEnforcingConsecutiveGatewayFailure(), cfg.EnforcingGateway)
	cfg.EnforcingLocal = u32(m.GetEnforcingConsecutiveLocalOriginFailure(), cfg.EnforcingLocal)
	cfg.FailureThreshold = u32(m.GetFailurePercentageThreshold(), cfg.FailureThreshold)
	cfg.FailureMinHosts = u32(m.GetFailurePercentageMinimumHosts(), cfg.FailureMinHosts)
	cfg.FailureMinVolume = u32(m.GetFailurePercentageRequestVolume(), cfg.FailureMinVolume)
	cfg.EnforcingFailure = u32(m.GetEnforcingFailurePercentage(), cfg.EnforcingFailure)
	cfg.SuccessRateMinHosts = u32(m.GetSuccessRateMinimumHosts(), cfg.SuccessRateMinHosts)
	cfg.SuccessRateMinVolume = u32(m.GetSuccessRateRequestVolume(), cfg.SuccessRateMinVolume)
	cfg.SuccessRateStdev = float64(u32(m.GetSuccessRateStdevFactor(), 1900)) / 1000
	cfg.EnforcingSuccessRate = u32(m.GetEnforcingSuccessRate(), cfg.EnforcingSuccessRate)
	// MinHealthPercent stays 0: what Istio calls so is the panic threshold of the balancer.
	out.Outlier = &cfg
	return nil
}

var healthFields = fields(`timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold
	healthy_threshold reuse_connection http_health_check tcp_health_check grpc_health_check no_traffic_interval
	no_traffic_healthy_interval unhealthy_interval unhealthy_edge_interval healthy_edge_interval event_log_path
	always_log_health_check_failures always_log_health_check_success event_logger name`)

func healthChecks(out *plan.Cluster, c *clusterv3.Cluster) error {
	if n := len(c.GetHealthChecks()); n > 1 {
		return fmt.Errorf("health_checks: one is supported, as in Envoy; here are %d", n)
	}
	for i, m := range c.GetHealthChecks() {
		h, err := healthCheck(m)
		if err != nil {
			return at(err, "health_checks[%d]", i)
		}
		out.HealthChecks = append(out.HealthChecks, h)
	}
	return nil
}

func healthCheck(m *corev3.HealthCheck) (plan.HealthCheck, error) {
	ds := &durations{}
	out := plan.HealthCheck{
		Timeout: ds.get("timeout", m.GetTimeout(), 0), Interval: ds.get("interval", m.GetInterval(), 0),
		IntervalJitter:    ds.get("interval_jitter", m.GetIntervalJitter(), 0),
		NoTrafficInterval: ds.get("no_traffic_interval", m.GetNoTrafficInterval(), time.Minute),
		UnhealthyInterval: ds.get("unhealthy_interval", m.GetUnhealthyInterval(), 0),
		ReuseConnection:   boolean(m.GetReuseConnection(), true), UnhealthyThreshold: u32(m.GetUnhealthyThreshold(), 0), HealthyThreshold: u32(m.GetHealthyThreshold(), 0),
	}
	if err := healthFields.only(m); err != nil {
		return out, err
	}
	if ds.err != nil {
		return out, ds.err
	}
	if out.Timeout <= 0 || out.Interval <= 0 || out.UnhealthyThreshold == 0 || out.HealthyThreshold == 0 {
		return out, errors.New("timeout, interval, unhealthy_threshold and healthy_threshold are required")
	}
	if out.UnhealthyInterval == 0 {
		out.UnhealthyInterval = out.Interval
	}
	switch h := m.GetHealthChecker().(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		return out, httpCheck(&out, h.HttpHealthCheck)
	case *corev3.HealthCheck_TcpHealthCheck_:
		out.Kind = plan.CheckTCP
		var err error
		if out.Send, err = payload(h.TcpHealthCheck.GetSend()); err != nil {
			return out, err
		}
		for _, r := range h.TcpHealthCheck.GetReceive() {
			b, err := payload(r)
			if err != nil {
				return out, err
			}
			out.Receive = append(out.Receive, b)
		}
	case *corev3.HealthCheck_GrpcHealthCheck_:
		out.Kind, out.GRPCService, out.GRPCAuthority = plan.CheckGRPC, h.GrpcHealthCheck.GetServiceName(), h.GrpcHealthCheck.GetAuthority()
	default:
		return out, errors.New("none of http_health_check, tcp_health_check and grpc_health_check is given")
	}
	return out, nil
}

var httpCheckFields = fields("host path expected_statuses codec_client_type method request_headers_to_add")

func httpCheck(out *plan.HealthCheck, h *corev3.HealthCheck_HttpHealthCheck) error {
	if err := httpCheckFields.only(h); err != nil {
		return at(err, "http_health_check")
	}
	out.Kind, out.Host, out.Path, out.Method = plan.CheckHTTP, h.GetHost(), h.GetPath(), "GET"
	if h.GetMethod() != corev3.RequestMethod_METHOD_UNSPECIFIED {
		out.Method = h.GetMethod().String()
	}
	out.HTTP2 = h.GetCodecClientType() == typev3.CodecClientType_HTTP2
	for _, r := range h.GetExpectedStatuses() {
		out.ExpectedStatuses = append(out.ExpectedStatuses, plan.StatusRange{First: r.GetStart(), Last: r.GetEnd()})
	}
	var err error
	c := &Compiler{}
	out.Headers, err = c.addHeaders(h.GetRequestHeadersToAdd())
	return at(err, "http_health_check: request_headers_to_add")
}

func payload(p *corev3.HealthCheck_Payload) ([]byte, error) {
	switch v := p.GetPayload().(type) {
	case *corev3.HealthCheck_Payload_Text:
		b := make([]byte, 0, len(v.Text)/2)
		for i := 0; i+1 < len(v.Text); i += 2 {
			hi, lo := hexDigit(v.Text[i]), hexDigit(v.Text[i+1])
			if hi < 0 || lo < 0 {
				return nil, errors.New("tcp_health_check: text is not hexadecimal")
			}
			b = append(b, byte(hi<<4|lo))
		}
		return b, nil
	case *corev3.HealthCheck_Payload_Binary:
		return v.Binary, nil
	}
	return nil, nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
