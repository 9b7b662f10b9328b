package compile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"lateen.dev/lateen/proxy/plan"
)

var retryFields = fields(`retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority retry_host_predicate
	host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off retriable_headers
	retriable_request_headers`)

const defaultRetryBase = 25 * time.Millisecond

func retryPolicy(m *routev3.RetryPolicy) (*plan.RetryPolicy, error) {
	if m == nil {
		return nil, nil
	}
	if err := retryFields.only(m); err != nil {
		return nil, err
	}
	out := &plan.RetryPolicy{NumRetries: u32(m.GetNumRetries(), 1), HostAttempts: uint32(max(m.GetHostSelectionRetryMaxAttempts(), 1))}
	if err := retryOn(out, m); err != nil {
		return nil, err
	}
	ds := &durations{}
	out.PerTryTimeout = ds.get("per_try_timeout", m.GetPerTryTimeout(), 0)
	out.PerTryIdle = ds.get("per_try_idle_timeout", m.GetPerTryIdleTimeout(), 0)
	out.BackoffBase = ds.get("retry_back_off: base_interval", m.GetRetryBackOff().GetBaseInterval(), defaultRetryBase)
	out.BackoffBase = max(out.BackoffBase, time.Millisecond)
	out.BackoffMax = ds.get("retry_back_off: max_interval", m.GetRetryBackOff().GetMaxInterval(), 10*min(out.BackoffBase, 1<<58))
	if ds.err != nil {
		return nil, ds.err
	}
	if out.BackoffMax < out.BackoffBase {
		return nil, errors.New("retry_back_off: max_interval is below base_interval")
	}
	var err error
	if out.Headers, err = headerMatches(m.GetRetriableHeaders()); err != nil {
		return nil, at(err, "retriable_headers")
	}
	if out.RequestHeaders, err = headerMatches(m.GetRetriableRequestHeaders()); err != nil {
		return nil, at(err, "retriable_request_headers")
	}
	if err := rateLimited(out, m.GetRateLimitedRetryBackOff()); err != nil {
		return nil, at(err, "rate_limited_retry_back_off")
	}
	return out, retryHosts(out, m)
}

// retryOn reads the conditions. As in Envoy, names that are none are ignored, for new ones keep coming; so are they in
// the header that asks for the same.
func retryOn(out *plan.RetryPolicy, m *routev3.RetryPolicy) error {
	for name := range strings.SplitSeq(m.GetRetryOn(), ",") {
		out.On |= plan.ParseRetryOn(strings.TrimSpace(name))
	}
	for _, code := range m.GetRetriableStatusCodes() {
		if code < 100 || code > 599 {
			return fmt.Errorf("retriable_status_codes: %d is not a status code", code)
		}
		out.StatusCodes = append(out.StatusCodes, uint16(code))
	}
	slices.Sort(out.StatusCodes)
	return nil
}

func rateLimited(out *plan.RetryPolicy, m *routev3.RetryPolicy_RateLimitedRetryBackOff) error {
	if m == nil {
		return nil
	}
	var err error
	if out.RateLimitedMax, err = duration(m.GetMaxInterval(), 300*time.Second); err != nil {
		return at(err, "max_interval")
	}
	for _, h := range m.GetResetHeaders() {
		out.RateLimitedHeaders = append(out.RateLimitedHeaders, plan.RateLimitedHeader{
			Name: plan.NewHeaderName(h.GetName()), UnixTime: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP,
		})
	}
	return nil
}

func retryHosts(out *plan.RetryPolicy, m *routev3.RetryPolicy) error {
	for i, p := range m.GetRetryHostPredicate() {
		e, err := extensionOf(p.GetTypedConfig())
		if err != nil && p.GetTypedConfig() == nil {
			e.kind, err = p.GetName(), nil // the name alone was enough once, and Istio's tests still have it
		}
		if err != nil {
			return at(err, "retry_host_predicate[%d]", i)
		}
		switch e.kind {
		case "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", "envoy.retry_host_predicates.previous_hosts":
			out.AvoidPreviousHosts = true
		default:
			return fmt.Errorf("retry_host_predicate[%d]: %s is not known to this proxy", i, e.kind)
		}
	}
	p := m.GetRetryPriority()
	if p == nil {
		return nil
	}
	e, err := extensionOf(p.GetTypedConfig())
	if err != nil {
		return at(err, "retry_priority")
	}
	var cfg previousprioritiesv3.PreviousPrioritiesConfig
	if e.kind != "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig" {
		return fmt.Errorf("retry_priority: %s is not known to this proxy", e.kind)
	}
	if err := e.into(&cfg); err != nil {
		return at(err, "retry_priority")
	}
	out.UpdatePriorities = uint32(max(cfg.GetUpdateFrequency(), 0))
	return nil
}
