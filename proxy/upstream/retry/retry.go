// Package retry decides whether a failed try of a request is repeated, and when: Envoy's retry policies as a pure
// state machine. Outcomes go in, a verdict and a time to wait come out.
//
// proxy/hcm has one State per request that may be retried. Nothing here allocates.
//
// May import: proxy/plan, wire/header.
package retry

import (
	"bytes"
	"strconv"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// Failure is why a try got no response.
type Failure uint8

// The failures.
const (
	None           Failure = iota // there was a response
	ConnectFailure                // no connection
	Reset                         // the connection ended before the response's head
	Refused                       // the server refused the stream unprocessed
	Stale                         // a pooled connection was closed before the server saw the request
	TryTimeout                    // the per-try timeout passed
	Overflow                      // a circuit breaker; never retried
)

// Outcome is how a try ended.
type Outcome struct {
	Failure Failure
	Code    int
	// GRPCStatus is -1 where there is none.
	GRPCStatus int
	// Head is the response's; nil without one.
	Head plan.Head
	// Ratelimited says that the response carries x-envoy-ratelimited.
	Ratelimited bool
}

// State is the retrying of one request. The zero State never retries.
type State struct {
	policy *plan.RetryPolicy
	on     plan.RetryOn
	codes  []byte // x-envoy-retriable-status-codes, a view of the request
	left   uint32
	tries  uint32 // retries made
}

var (
	retryOn     = header.NewName("x-envoy-retry-on")
	retryGRPCOn = header.NewName("x-envoy-retry-grpc-on")
	maxRetries  = header.NewName("x-envoy-max-retries")
	statusCodes = header.NewName("x-envoy-retriable-status-codes")
)

// Init prepares for a request under a route's policy, which may be nil; the request's headers may ask for more.
func (s *State) Init(policy *plan.RetryPolicy, h plan.Head) {
	*s = State{policy: policy}
	if policy != nil {
		s.on, s.left = policy.On, policy.NumRetries
		if len(policy.RequestHeaders) > 0 && !anyMatches(policy.RequestHeaders, h) {
			*s = State{}
			return
		}
	}
	for _, name := range [...]header.Name{retryOn, retryGRPCOn} {
		if v, ok := h.Header(name); ok {
			s.on |= parse(v)
			s.left = max(s.left, 1)
		}
	}
	if s.on == 0 {
		return
	}
	if v, ok := h.Header(maxRetries); ok {
		if n, err := strconv.ParseUint(string(v), 10, 31); err == nil {
			s.left = uint32(n)
		}
	}
	s.codes, _ = h.Header(statusCodes)
}

// parse reads a comma-separated list of conditions.
func parse(list []byte) plan.RetryOn {
	on := plan.RetryOn(0)
	for len(list) > 0 {
		var item []byte
		item, list = header.NextToken(list)
		on |= plan.ParseRetryOn(string(item))
	}
	return on
}

func anyMatches(list []plan.HeaderMatch, h plan.Head) bool {
	for i := range list {
		if list[i].Match(h) {
			return true
		}
	}
	return false
}

// Enabled tells whether any outcome could be retried, so that the body must be kept.
func (s *State) Enabled() bool { return s.on != 0 && s.left > 0 }

// Retries is how many retries were granted.
func (s *State) Retries() uint32 { return s.tries }

// Wants tells whether the outcome is one that the conditions name, whether or not retries are left.
func (s *State) Wants(o *Outcome) bool {
	if s.on == 0 || o.Failure == Overflow {
		return false
	}
	if o.Failure != None {
		return s.wantsFailure(o.Failure)
	}
	return s.wantsCode(o) || s.wantsGRPC(o.GRPCStatus)
}

func (s *State) wantsFailure(f Failure) bool {
	switch f {
	case ConnectFailure:
		return s.on&(plan.RetryConnectFailure|plan.Retry5xx|plan.RetryGatewayError|plan.RetryReset) != 0
	case Refused:
		return s.on&(plan.RetryRefusedStream|plan.Retry5xx|plan.RetryReset) != 0
	case Stale:
		return s.on&(plan.RetryReset|plan.RetryResetBeforeRequest|plan.Retry5xx|plan.RetryGatewayError) != 0
	}
	return s.on&(plan.RetryReset|plan.Retry5xx|plan.RetryGatewayError) != 0
}

func (s *State) wantsCode(o *Outcome) bool {
	c := o.Code
	switch {
	case s.on&plan.Retry5xx != 0 && c >= 500 && c < 600 && !o.Ratelimited,
		s.on&plan.RetryGatewayError != 0 && c >= 502 && c <= 504 && !o.Ratelimited,
		s.on&plan.RetryRetriable4xx != 0 && c == 409,
		s.on&plan.RetryEnvoyRateLimited != 0 && o.Ratelimited:
		return true
	}
	if s.on&plan.RetryRetriableStatusCodes != 0 && (s.listed(c) || s.asked(c)) {
		return true
	}
	return s.on&plan.RetryRetriableHeaders != 0 && o.Head != nil && s.policy != nil && anyMatches(s.policy.Headers, o.Head)
}

func (s *State) listed(code int) bool {
	if s.policy == nil {
		return false
	}
	for _, c := range s.policy.StatusCodes {
		if int(c) == code {
			return true
		}
	}
	return false
}

// asked looks for the code in the request's own list.
func (s *State) asked(code int) bool {
	var b [3]byte
	want := strconv.AppendInt(b[:0], int64(code), 10)
	for list := s.codes; len(list) > 0; {
		var item []byte
		item, list = header.NextToken(list)
		if bytes.Equal(item, want) {
			return true
		}
	}
	return false
}

func (s *State) wantsGRPC(status int) bool {
	switch status {
	case 1:
		return s.on&plan.RetryGRPCCancelled != 0
	case 4:
		return s.on&plan.RetryGRPCDeadlineExceeded != 0
	case 8:
		return s.on&plan.RetryGRPCResourceExhausted != 0
	case 13:
		return s.on&plan.RetryGRPCInternal != 0
	case 14:
		return s.on&plan.RetryGRPCUnavailable != 0
	}
	return false
}

// Exhausted tells that a retry was wanted but none is left.
func (s *State) Exhausted() bool { return s.left == 0 && s.tries > 0 }

// Take uses up a retry, if there is one left.
func (s *State) Take() bool {
	if s.left == 0 {
		return false
	}
	s.left--
	s.tries++
	return true
}

// ResetAfter is how long to wait because the response says so in one of the policy's headers, which are looked at in their
// order: rate_limited_retry_back_off. 0 means that none says so, or only for longer than the policy allows. random are fresh
// random bits, by which the time is up to half as long again, so that not all come back at once.
func (s *State) ResetAfter(o *Outcome, now time.Time, random uint64) time.Duration {
	if s.policy == nil || o.Head == nil {
		return 0
	}
	for i := range s.policy.RateLimitedHeaders {
		h := &s.policy.RateLimitedHeaders[i]
		v, ok := h.Name.Of(o.Head)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(string(v), 10, 32)
		if err != nil {
			continue
		}
		wait := time.Duration(n) * time.Second
		if h.UnixTime {
			wait = time.Unix(int64(n), 0).Sub(now)
		}
		if wait > 0 && wait <= s.policy.RateLimitedMax {
			return wait + time.Duration(random%(uint64(wait)/2+1))
		}
	}
	return 0
}

// Defaults of the backoff.
const (
	defaultBase = 25 * time.Millisecond
	maxDoubling = 20
)

// Backoff is how long to wait before the retry that was taken last: a random time below a bound that doubles with
// every retry. random are fresh random bits.
func (s *State) Backoff(random uint64) time.Duration {
	base, longest := defaultBase, 10*defaultBase
	if s.policy != nil && s.policy.BackoffBase > 0 {
		base = s.policy.BackoffBase
		longest = 10 * base
	}
	if s.policy != nil && s.policy.BackoffMax > 0 {
		longest = s.policy.BackoffMax
	}
	bound := min(base<<min(s.tries-1, maxDoubling), longest)
	if bound <= 0 {
		return 0
	}
	return time.Duration(random % uint64(bound))
}
