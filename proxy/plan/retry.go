package plan

import "time"

// RetryOn is a set of conditions under which a request is tried again.
type RetryOn uint32

// The conditions, by Envoy's names.
const (
	Retry5xx RetryOn = 1 << iota
	RetryGatewayError
	RetryReset
	RetryConnectFailure
	RetryRetriable4xx
	RetryRefusedStream
	RetryRetriableStatusCodes
	RetryRetriableHeaders
	RetryEnvoyRateLimited
	RetryHTTP3PostConnect
	RetryResetBeforeRequest
	RetryGRPCCancelled
	RetryGRPCDeadlineExceeded
	RetryGRPCInternal
	RetryGRPCResourceExhausted
	RetryGRPCUnavailable
)

// ParseRetryOn reads one condition's name as retry_on and x-envoy-retry-on have it; 0 is none of them.
func ParseRetryOn(name string) RetryOn {
	switch name {
	case "5xx":
		return Retry5xx
	case "gateway-error":
		return RetryGatewayError
	case "reset":
		return RetryReset
	case "connect-failure":
		return RetryConnectFailure
	case "retriable-4xx":
		return RetryRetriable4xx
	case "refused-stream":
		return RetryRefusedStream
	case "retriable-status-codes":
		return RetryRetriableStatusCodes
	case "retriable-headers":
		return RetryRetriableHeaders
	case "envoy-ratelimited":
		return RetryEnvoyRateLimited
	case "http3-post-connect-failure":
		return RetryHTTP3PostConnect
	case "reset-before-request":
		return RetryResetBeforeRequest
	case "cancelled":
		return RetryGRPCCancelled
	case "deadline-exceeded":
		return RetryGRPCDeadlineExceeded
	case "internal":
		return RetryGRPCInternal
	case "resource-exhausted":
		return RetryGRPCResourceExhausted
	case "unavailable":
		return RetryGRPCUnavailable
	}
	return 0
}

// RetryPolicy is a route's.
type RetryPolicy struct {
	On RetryOn
	// StatusCodes of retriable-status-codes, sorted.
	StatusCodes []uint16
	// Headers: a response that matches one is retried (retriable-headers).
	Headers []HeaderMatch
	// RequestHeaders: only requests that match one are retried, when there are any.
	RequestHeaders []HeaderMatch
	// NumRetries besides the first try.
	NumRetries uint32
	// PerTryTimeout: 0 is the route's timeout; PerTryIdle: 0 is none.
	PerTryTimeout time.Duration
	PerTryIdle    time.Duration
	BackoffBase   time.Duration // 25 ms by default
	BackoffMax    time.Duration // ten times the base by default
	// RateLimitedHeaders name response headers with the time to wait (rate_limited_retry_back_off).
	RateLimitedHeaders []RateLimitedHeader
	RateLimitedMax     time.Duration
	// AvoidPreviousHosts tries hosts not tried before; up to HostAttempts selections.
	AvoidPreviousHosts bool
	HostAttempts       uint32
	// UpdatePriorities looks at the priorities again after so many failed tries, without those tried; 0 is off.
	UpdatePriorities uint32
}

// RateLimitedHeader is a response header with a time to wait.
type RateLimitedHeader struct {
	Name     HeaderName
	UnixTime bool // else seconds
}
