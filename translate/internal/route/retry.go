package route

import (
	"net/http"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushosts "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previouspriorities "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/translate/internal/pb"
)

// Istio's default retry policy, which users rely on.
const (
	defaultAttempts  = 2
	defaultRetryOn   = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	hostAttempts     = 5
	retriableStatus  = "retriable-status-codes"
	prioritiesUpdate = 2
)

// Retry translates a retry policy; nil in means Istio's default, no attempts means nil out. With a consistent hash a
// retry may go to the same host again, for that host is the point.
func Retry(in *networking.HTTPRetry, hashed bool) *routev3.RetryPolicy {
	if in != nil && in.GetAttempts() <= 0 {
		return nil
	}
	out := &routev3.RetryPolicy{
		NumRetries:                    pb.UInt32(defaultAttempts),
		RetryOn:                       defaultRetryOn,
		HostSelectionRetryMaxAttempts: hostAttempts,
		RetriableStatusCodes:          []uint32{http.StatusServiceUnavailable},
	}
	if !hashed {
		out.RetryHostPredicate = otherHosts()
	}
	if in == nil {
		return out
	}
	out.NumRetries = pb.UInt32(uint32(in.GetAttempts()))
	out.PerTryTimeout = in.GetPerTryTimeout()
	if in.GetRetryOn() != "" {
		out.RetryOn, out.RetriableStatusCodes = retryOn(in.GetRetryOn())
	}
	if ignore := in.GetRetryIgnorePreviousHosts(); ignore != nil {
		out.RetryHostPredicate = nil
		if ignore.GetValue() {
			out.RetryHostPredicate = otherHosts()
		}
	}
	if in.GetRetryRemoteLocalities().GetValue() {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: pb.Any(&previouspriorities.PreviousPrioritiesConfig{UpdateFrequency: prioritiesUpdate}),
			},
		}
	}
	if in.GetBackoff() != nil {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: in.GetBackoff()}
	}
	return out
}

func otherHosts() []*routev3.RetryPolicy_RetryHostPredicate {
	return []*routev3.RetryPolicy_RetryHostPredicate{{
		Name: "envoy.retry_host_predicates.previous_hosts",
		ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
			TypedConfig: pb.Any(&previoushosts.PreviousHostsPredicate{}),
		},
	}}
}

// retryOn takes status codes out of the list of conditions.
func retryOn(list string) (string, []uint32) {
	var conditions []string
	var codes []uint32
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if n, err := strconv.Atoi(part); err == nil && http.StatusText(n) != "" {
			codes = append(codes, uint32(n))
		} else if part != "" {
			conditions = append(conditions, part)
		}
	}
	on := strings.Join(conditions, ",")
	if len(codes) > 0 && !strings.Contains(on, retriableStatus) {
		on = strings.TrimPrefix(on+","+retriableStatus, ",")
	}
	return on, codes
}
