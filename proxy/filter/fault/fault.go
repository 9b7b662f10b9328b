// Package fault decides whether a request is delayed or aborted: Envoy's fault
// injection.
//
// Who calls it: the proxy's engine, which waits and answers accordingly. It is
// pure, allocates nothing, and may be called by any goroutine.
//
// May import: proxy/plan, wire/header.
package fault

import (
	"bytes"
	"strconv"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// Request is what a decision depends on.
type Request struct {
	Head plan.Head
	// Cluster that the request goes to, and Node it came from
	// (x-envoy-downstream-service-node).
	Cluster string
	// Random are fresh random bits: one word for the delay, one for the abort.
	Random [2]uint64
	// Active is how many requests have a fault now.
	Active uint32
}

// Verdict is what is to be done. The zero Verdict is nothing.
type Verdict struct {
	Delay time.Duration
	// Abort says to answer with HTTPStatus, or with GRPCStatus if IsGRPC.
	Abort      bool
	IsGRPC     bool
	HTTPStatus uint16
	GRPCStatus uint32
}

// Names of the headers that control faults where a route says so.
var (
	delayRequest    = header.NewName("x-envoy-fault-delay-request")
	delayPercentage = header.NewName("x-envoy-fault-delay-request-percentage")
	abortRequest    = header.NewName("x-envoy-fault-abort-request")
	abortPercentage = header.NewName("x-envoy-fault-abort-request-percentage")
	abortGRPC       = header.NewName("x-envoy-fault-abort-grpc-request")
	downstreamNode  = header.NewName("x-envoy-downstream-service-node")
)

// maxDelay bounds what a header may ask for.
const maxDelay = time.Hour

// Decide applies a fault's configuration, which may be nil.
func Decide(f *plan.Fault, q *Request) Verdict {
	var v Verdict
	if f == nil || !applies(f, q) {
		return v
	}
	v.Delay = delay(f.Delay, q)
	if a := f.Abort; a != nil {
		abort(&v, a, q)
	}
	return v
}

func applies(f *plan.Fault, q *Request) bool {
	if f.MaxActive != 0 && q.Active >= f.MaxActive {
		return false
	}
	if f.UpstreamCluster != "" && f.UpstreamCluster != q.Cluster {
		return false
	}
	for i := range f.Headers {
		if !f.Headers[i].Match(q.Head) {
			return false
		}
	}
	if len(f.DownstreamNodes) == 0 {
		return true
	}
	node, _ := q.Head.Header(downstreamNode)
	for _, n := range f.DownstreamNodes {
		if string(node) == n {
			return true
		}
	}
	return false
}

func delay(d *plan.FaultDelay, q *Request) time.Duration {
	if d == nil {
		return 0
	}
	fraction, fixed := d.Fraction, d.Fixed
	if d.HeaderControlled {
		ms, ok := number(q.Head, delayRequest, uint64(maxDelay/time.Millisecond))
		if !ok {
			return 0
		}
		fixed = time.Duration(ms) * time.Millisecond
		fraction = percentage(q.Head, delayPercentage, fraction)
	}
	if !fraction.Hit(q.Random[0]) {
		return 0
	}
	return fixed
}

func abort(v *Verdict, a *plan.FaultAbort, q *Request) {
	fraction := a.Fraction
	status, grpc, isGRPC := uint64(a.HTTPStatus), uint64(a.GRPCStatus), a.IsGRPC
	if a.HeaderControlled {
		var ok bool
		if status, ok = number(q.Head, abortRequest, 599); ok && status >= 200 {
			isGRPC = false
		} else if grpc, ok = number(q.Head, abortGRPC, 16); ok {
			isGRPC = true
		} else {
			return
		}
		fraction = percentage(q.Head, abortPercentage, fraction)
	}
	if !fraction.Hit(q.Random[1]) {
		return
	}
	v.Abort, v.IsGRPC = true, isGRPC
	if isGRPC {
		v.GRPCStatus = uint32(grpc)
		return
	}
	v.HTTPStatus = uint16(status)
}

// number reads a header's number up to a limit.
func number(h plan.Head, name header.Name, limit uint64) (uint64, bool) {
	v, ok := h.Header(name)
	if !ok || len(v) > 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(v)), 10, 64)
	return min(n, limit), err == nil
}

// percentage lets a header lower, but not raise, the configured fraction.
func percentage(h plan.Head, name header.Name, f plan.Fraction) plan.Fraction {
	n, ok := number(h, name, uint64(f.Denominator))
	if ok && n < uint64(f.Numerator) {
		f.Numerator = uint32(n)
	}
	return f
}
