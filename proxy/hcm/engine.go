package hcm

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/peer"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/telemetry"
)

// Engine is what all managers of a proxy share.
type Engine struct {
	// Current is the plan in force.
	Current *plan.Current
	// Self is this workload.
	Self peer.Self
	// Standard are Istio's metrics; nil switches them off.
	Standard *telemetry.Standard
	Logger   *slog.Logger
	// URI returns this workload's SPIFFE id, or "". May be nil.
	URI func() string
	// Overload says when requests are refused; may be nil.
	Overload *overload.State

	stamps   stamps
	mirrors  sync.WaitGroup
	mirrored atomic.Int64 // mirrored requests in flight
}

func (e *Engine) ownURI() string {
	if e.URI == nil {
		return ""
	}
	return e.URI()
}

// Wait waits for mirrored requests.
func (e *Engine) Wait() { e.mirrors.Wait() }

// contain keeps a panic from ending the process. It is deferred by every goroutine that the package starts, or that
// serves a stream for it; those of connections are listen's.
func (e *Engine) contain(what string) {
	if p := recover(); p != nil {
		e.Logger.Error("panic while serving", "what", what, "panic", p, "stack", string(debug.Stack()))
	}
}

// Sink takes rendered access log lines. It is what plan.AccessLog.Runtime holds.
type Sink interface{ Write(line []byte) }

// Stats are Envoy's statistics of a manager, one set per worker shard.
type Stats struct{ shards []statShard }

type statShard struct {
	rqTotal, rqActive, rqCompleted                       atomic.Int64
	rq1xx, rq2xx, rq3xx, rq4xx, rq5xx                    atomic.Int64
	rqReset, rqTimeout, rqIdleTimeout, rqTooLarge, cxErr atomic.Int64
	rbacAllowed, rbacDenied, shadowAllowed, shadowDenied atomic.Int64
	delaysInjected, abortsInjected, faultsActive         atomic.Int64
	rqOverload, cxKeepAliveOff, cxDrainClose             atomic.Int64
	_                                                    [64]byte
}

// Each calls f with the sum of every statistic.
func (s *Stats) Each(f func(name string, value int64)) {
	sum := func(name string, of func(*statShard) *atomic.Int64) {
		v := int64(0)
		for i := range s.shards {
			v += of(&s.shards[i]).Load()
		}
		f(name, v)
	}
	sum("downstream_rq_total", func(s *statShard) *atomic.Int64 { return &s.rqTotal })
	sum("downstream_rq_active", func(s *statShard) *atomic.Int64 { return &s.rqActive })
	sum("downstream_rq_completed", func(s *statShard) *atomic.Int64 { return &s.rqCompleted })
	sum("downstream_rq_1xx", func(s *statShard) *atomic.Int64 { return &s.rq1xx })
	sum("downstream_rq_2xx", func(s *statShard) *atomic.Int64 { return &s.rq2xx })
	sum("downstream_rq_3xx", func(s *statShard) *atomic.Int64 { return &s.rq3xx })
	sum("downstream_rq_4xx", func(s *statShard) *atomic.Int64 { return &s.rq4xx })
	sum("downstream_rq_5xx", func(s *statShard) *atomic.Int64 { return &s.rq5xx })
	sum("downstream_rq_rx_reset", func(s *statShard) *atomic.Int64 { return &s.rqReset })
	sum("downstream_rq_timeout", func(s *statShard) *atomic.Int64 { return &s.rqTimeout })
	sum("downstream_rq_idle_timeout", func(s *statShard) *atomic.Int64 { return &s.rqIdleTimeout })
	sum("downstream_rq_too_large", func(s *statShard) *atomic.Int64 { return &s.rqTooLarge })
	sum("downstream_cx_protocol_error", func(s *statShard) *atomic.Int64 { return &s.cxErr })
	sum("downstream_rq_overload_close", func(s *statShard) *atomic.Int64 { return &s.rqOverload })
	sum("downstream_cx_overload_disable_keepalive", func(s *statShard) *atomic.Int64 { return &s.cxKeepAliveOff })
	sum("downstream_cx_drain_close", func(s *statShard) *atomic.Int64 { return &s.cxDrainClose })
	sum("rbac.allowed", func(s *statShard) *atomic.Int64 { return &s.rbacAllowed })
	sum("rbac.denied", func(s *statShard) *atomic.Int64 { return &s.rbacDenied })
	sum("rbac.shadow_allowed", func(s *statShard) *atomic.Int64 { return &s.shadowAllowed })
	sum("rbac.shadow_denied", func(s *statShard) *atomic.Int64 { return &s.shadowDenied })
	sum("fault.delays_injected", func(s *statShard) *atomic.Int64 { return &s.delaysInjected })
	sum("fault.aborts_injected", func(s *statShard) *atomic.Int64 { return &s.abortsInjected })
	sum("fault.active_faults", func(s *statShard) *atomic.Int64 { return &s.faultsActive })
}

func (s *statShard) code(code int) *atomic.Int64 {
	switch {
	case code >= 500:
		return &s.rq5xx
	case code >= 400:
		return &s.rq4xx
	case code >= 300:
		return &s.rq3xx
	case code >= 200:
		return &s.rq2xx
	}
	return &s.rq1xx
}
