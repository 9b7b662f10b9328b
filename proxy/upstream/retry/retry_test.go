package retry

import (
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// head is a request's head for tests.
type head map[string]string

func (h head) Method() []byte    { return []byte("GET") }
func (h head) Scheme() []byte    { return []byte("http") }
func (h head) Authority() []byte { return []byte("a") }
func (h head) Path() []byte      { return []byte("/") }
func (h head) Header(n header.Name) ([]byte, bool) {
	v, ok := h[n.String()]
	return []byte(v), ok
}

func TestWants(t *testing.T) {
	istio := &plan.RetryPolicy{
		On:         plan.RetryConnectFailure | plan.RetryRefusedStream | plan.RetryGRPCUnavailable | plan.RetryGRPCCancelled | plan.RetryRetriableStatusCodes,
		NumRetries: 2, StatusCodes: []uint16{503},
	}
	for _, tc := range []struct {
		name   string
		policy *plan.RetryPolicy
		head   head
		out    Outcome
		want   bool
	}{
		{"nothing configured", nil, nil, Outcome{Code: 503, GRPCStatus: -1}, false},
		{"istio's default: connect failure", istio, nil, Outcome{Failure: ConnectFailure}, true},
		{"istio's default: 503", istio, nil, Outcome{Code: 503, GRPCStatus: -1}, true},
		{"istio's default: not 500", istio, nil, Outcome{Code: 500, GRPCStatus: -1}, false},
		{"istio's default: not a reset in the middle", istio, nil, Outcome{Failure: Reset}, false},
		{"istio's default: gRPC unavailable", istio, nil, Outcome{Code: 200, GRPCStatus: 14}, true},
		{"5xx includes resets", &plan.RetryPolicy{On: plan.Retry5xx, NumRetries: 1}, nil, Outcome{Failure: Reset}, true},
		{"gateway error isn't 500", &plan.RetryPolicy{On: plan.RetryGatewayError, NumRetries: 1}, nil, Outcome{Code: 500, GRPCStatus: -1}, false},
		{"overflow is never retried", &plan.RetryPolicy{On: plan.Retry5xx, NumRetries: 1}, nil, Outcome{Failure: Overflow}, false},
		{"asked by header", nil, head{"x-envoy-retry-on": "5xx"}, Outcome{Code: 500, GRPCStatus: -1}, true},
		{"codes by header", nil, head{"x-envoy-retry-on": "retriable-status-codes", "x-envoy-retriable-status-codes": "418, 429"}, Outcome{Code: 429, GRPCStatus: -1}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s State
			s.Init(tc.policy, tc.head)
			if got := s.Wants(&tc.out); got != tc.want {
				t.Errorf("Wants = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestResetAfter(t *testing.T) {
	now := time.Unix(1000, 0)
	policy := &plan.RetryPolicy{On: plan.Retry5xx, NumRetries: 1, RateLimitedMax: 10 * time.Second, RateLimitedHeaders: []plan.RateLimitedHeader{
		{Name: plan.NewHeaderName("retry-after")}, {Name: plan.NewHeaderName("x-reset"), UnixTime: true}}}
	for _, tc := range []struct {
		what string
		head head
		want time.Duration
	}{
		{"seconds", head{"retry-after": "4", "x-reset": "1007"}, 4 * time.Second},
		{"a time", head{"x-reset": "1007"}, 7 * time.Second},
		{"too long, and then one that isn't", head{"retry-after": "11", "x-reset": "1007"}, 7 * time.Second},
		{"a time that has passed", head{"x-reset": "999"}, 0},
		{"no number", head{"retry-after": "Tue, 24 Nov 2026 00:00:00 GMT"}, 0},
		{"no header", head{}, 0},
	} {
		var s State
		s.Init(policy, head{})
		for _, random := range []uint64{0, 1 << 40, 1<<64 - 1} {
			if got := s.ResetAfter(&Outcome{Head: tc.head}, now, random); got < tc.want || got > tc.want*3/2 {
				t.Errorf("%s: %v", tc.what, got)
			}
		}
	}
	var s State
	if got := s.ResetAfter(&Outcome{Head: head{"retry-after": "4"}}, now, 0); got != 0 {
		t.Errorf("without a policy: %v", got)
	}
}

func TestTakeAndBackoff(t *testing.T) {
	var s State
	s.Init(&plan.RetryPolicy{On: plan.Retry5xx, NumRetries: 2, BackoffBase: 10 * time.Millisecond, BackoffMax: 15 * time.Millisecond}, head{})
	for i, most := range []time.Duration{10 * time.Millisecond, 15 * time.Millisecond} {
		if !s.Take() {
			t.Fatalf("retry %d refused", i+1)
		}
		if d := s.Backoff(^uint64(0)); d >= most {
			t.Errorf("retry %d waits %v, want less than %v", i+1, d, most)
		}
	}
	if s.Take() || !s.Exhausted() {
		t.Error("a third retry was granted")
	}
	s.Init(nil, head{"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "3"})
	if !s.Enabled() || s.left != 3 {
		t.Errorf("left %d, want the 3 of the header", s.left)
	}
}
