package route

import (
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// Timeouts limit a request on its way upstream; zero is no limit.
type Timeouts struct {
	// Global is for the whole request with all its tries, PerTry for one, PerTryIdle for silence within one.
	Global, PerTry, PerTryIdle time.Duration
	// MaxStream limits the stream's life, from its head on.
	MaxStream time.Duration
}

var (
	grpcTimeout     = header.NewName("grpc-timeout")
	expectedTimeout = header.NewName("x-envoy-expected-rq-timeout-ms")
	requestTimeout  = header.NewName("x-envoy-upstream-rq-timeout-ms")
	perTryTimeout   = header.NewName("x-envoy-upstream-rq-per-try-timeout-ms")
)

// Timeouts combines the route's limits with what the request's headers ask for, as Envoy's router does: grpc-timeout
// within the route's maximum, then x-envoy-upstream-rq-timeout-ms (or, where the router respects it,
// x-envoy-expected-rq-timeout-ms), then x-envoy-upstream-rq-per-try-timeout-ms. maxStream is the manager's or cluster's
// limit, for routes without one.
func (d *Decision) Timeouts(h plan.Head, r *plan.Router, maxStream time.Duration) Timeouts {
	a := d.Action
	t := Timeouts{Global: a.Timeout, MaxStream: maxStream}
	if a.HasMaxStream {
		t.Global, t.MaxStream = 0, a.MaxStream
	}
	if a.UseGRPCTimeout && isGRPC(h) {
		t.grpc(a, h)
	}
	if a.Retry != nil {
		t.PerTry, t.PerTryIdle = a.Retry.PerTryTimeout, a.Retry.PerTryIdle
	}
	expected := false
	if r != nil && r.RespectExpectedTimeout {
		expected = millis(h, expectedTimeout, &t.Global)
	}
	if !expected {
		millis(h, requestTimeout, &t.Global)
	}
	millis(h, perTryTimeout, &t.PerTry)
	if t.Global != 0 && t.PerTry >= t.Global {
		t.PerTry = 0
	}
	return t
}

// grpc takes the client's deadline into account. Routes with max_stream_duration limit the stream, others the request.
func (t *Timeouts) grpc(a *plan.RouteAction, h plan.Head) {
	v, ok := h.Header(grpcTimeout)
	d := time.Duration(0)
	if ok {
		d = parseGRPCTimeout(v)
	}
	if a.HasMaxStream {
		if d == 0 {
			return
		}
		if a.MaxGRPCTimeout != 0 && d > a.MaxGRPCTimeout {
			d = a.MaxGRPCTimeout
		}
		if a.GRPCTimeoutOffset < d {
			d -= a.GRPCTimeoutOffset
		}
		t.MaxStream = d
		return
	}
	if a.GRPCTimeoutOffset < d {
		d -= a.GRPCTimeoutOffset
	}
	if a.MaxGRPCTimeout != 0 && (d == 0 || d > a.MaxGRPCTimeout) {
		d = a.MaxGRPCTimeout
	}
	t.Global = d
}

func millis(h plan.Head, name header.Name, into *time.Duration) bool {
	v, ok := h.Header(name)
	if !ok {
		return false
	}
	n, ok := number(v)
	if !ok || n > uint64(1<<62/time.Millisecond) {
		return false
	}
	*into = time.Duration(n) * time.Millisecond
	return true
}

// GRPCTimeout is how long a request's client waits, by its grpc-timeout; 0 is for ever.
func GRPCTimeout(h plan.Head) time.Duration {
	v, _ := h.Header(grpcTimeout)
	return parseGRPCTimeout(v)
}

// parseGRPCTimeout reads at most 8 digits and a unit; 0 for anything else.
func parseGRPCTimeout(v []byte) time.Duration {
	if len(v) < 2 || len(v) > 9 {
		return 0
	}
	n, ok := number(v[:len(v)-1])
	if !ok {
		return 0
	}
	unit := time.Duration(0)
	switch v[len(v)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	}
	if unit != 0 && n > uint64(1<<62)/uint64(unit) {
		return 1 << 62
	}
	return time.Duration(n) * unit
}
