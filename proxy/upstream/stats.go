package upstream

import "sync/atomic"

// Stat is one of a cluster's counters, by Envoy's name.
type Stat uint8

// The statistics of a cluster. Those ending in Active are gauges.
const (
	CxTotal Stat = iota
	CxActive
	CxConnectFail
	CxConnectTimeout
	CxDestroy
	CxDestroyRemote
	CxIdleTimeout
	CxMaxRequests
	CxMaxDuration
	CxOverflow
	CxHTTP1Total
	CxHTTP2Total
	CxRxBytes
	CxTxBytes
	CxNoSuccessfulHost
	RqTotal
	RqActive
	RqCompleted
	Rq1xx
	Rq2xx
	Rq3xx
	Rq4xx
	Rq5xx
	RqTimeout
	RqPerTryTimeout
	RqMaxDuration
	RqRxReset
	RqTxReset
	RqPendingOverflow
	RqPendingFailureEject
	RqRetry
	RqRetrySuccess
	RqRetryOverflow
	RqRetryLimitExceeded
	RqRetryBackoffExponential
	RqMaintenanceMode
	LBHealthyPanic
	NoneHealthy
	UpdateSuccess
	UpdateFailure
	MembershipChange
	EjectionsActive
	EjectionsEnforcedTotal
	EjectionsOverflow
	BindErrors
	TLSHandshakes
	TLSFailures
	HealthAttempt
	HealthSuccess
	HealthFailure
	statCount
)

var statNames = [statCount]string{
	CxTotal: "upstream_cx_total", CxActive: "upstream_cx_active", CxConnectFail: "upstream_cx_connect_fail",
	CxConnectTimeout: "upstream_cx_connect_timeout", CxDestroy: "upstream_cx_destroy",
	CxDestroyRemote: "upstream_cx_destroy_remote", CxIdleTimeout: "upstream_cx_idle_timeout",
	CxMaxDuration: "upstream_cx_max_duration_reached",
	CxMaxRequests: "upstream_cx_max_requests", CxOverflow: "upstream_cx_overflow",
	CxHTTP1Total: "upstream_cx_http1_total", CxHTTP2Total: "upstream_cx_http2_total",
	CxRxBytes: "upstream_cx_rx_bytes_total", CxTxBytes: "upstream_cx_tx_bytes_total",
	CxNoSuccessfulHost: "upstream_cx_none_healthy", RqTotal: "upstream_rq_total", RqActive: "upstream_rq_active",
	RqCompleted: "upstream_rq_completed", Rq1xx: "upstream_rq_1xx", Rq2xx: "upstream_rq_2xx", Rq3xx: "upstream_rq_3xx",
	Rq4xx: "upstream_rq_4xx", Rq5xx: "upstream_rq_5xx", RqTimeout: "upstream_rq_timeout",
	RqPerTryTimeout: "upstream_rq_per_try_timeout", RqMaxDuration: "upstream_rq_max_duration_reached",
	RqRxReset: "upstream_rq_rx_reset", RqTxReset: "upstream_rq_tx_reset",
	RqPendingOverflow: "upstream_rq_pending_overflow", RqPendingFailureEject: "upstream_rq_pending_failure_eject",
	RqRetry: "upstream_rq_retry", RqRetrySuccess: "upstream_rq_retry_success",
	RqRetryOverflow: "upstream_rq_retry_overflow", RqRetryLimitExceeded: "upstream_rq_retry_limit_exceeded",
	RqRetryBackoffExponential: "upstream_rq_retry_backoff_exponential", RqMaintenanceMode: "upstream_rq_maintenance_mode",
	LBHealthyPanic: "lb_healthy_panic", NoneHealthy: "upstream_rq_none_healthy", UpdateSuccess: "update_success",
	UpdateFailure: "update_failure", MembershipChange: "membership_change",
	EjectionsActive: "outlier_detection.ejections_active", EjectionsEnforcedTotal: "outlier_detection.ejections_enforced_total",
	EjectionsOverflow: "outlier_detection.ejections_overflow", BindErrors: "bind_errors",
	HealthAttempt: "health_check.attempt", HealthSuccess: "health_check.success", HealthFailure: "health_check.failure",
	TLSHandshakes: "ssl.handshake", TLSFailures: "ssl.connection_error",
}

// String is the statistic's name below "cluster.NAME.".
func (s Stat) String() string { return statNames[s] }

// Stats are a cluster's counters, one set per worker shard so that cores don't share cache lines.
type Stats struct{ shards []statShard }

type statShard struct {
	n [statCount]atomic.Int64
	_ [64]byte
}

func newStats(shards int) *Stats { return &Stats{shards: make([]statShard, shards)} }

// Add adds to a statistic on a shard.
func (s *Stats) Add(shard uint32, stat Stat, n int64) {
	s.shards[shard%uint32(len(s.shards))].n[stat].Add(n)
}

// Inc adds one.
func (s *Stats) Inc(shard uint32, stat Stat) { s.Add(shard, stat, 1) }

// Value is the sum over the shards.
func (s *Stats) Value(stat Stat) int64 {
	v := int64(0)
	for i := range s.shards {
		v += s.shards[i].n[stat].Load()
	}
	return v
}

// Each calls f with every statistic.
func (s *Stats) Each(f func(name string, value int64)) {
	for i := Stat(0); i < statCount; i++ {
		f(statNames[i], s.Value(i))
	}
}

// codeClass is the statistic of a response code's class.
func codeClass(code int) Stat {
	switch {
	case code >= 500:
		return Rq5xx
	case code >= 400:
		return Rq4xx
	case code >= 300:
		return Rq3xx
	case code >= 200:
		return Rq2xx
	}
	return Rq1xx
}
