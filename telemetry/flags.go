package telemetry

import "math/bits"

// ResponseFlags is the set of reasons why a request or connection ended as it
// did, named as Envoy's access log names them (%RESPONSE_FLAGS%).
type ResponseFlags uint32

// The flags, in the order in which they are printed.
const (
	FlagFailedLocalHealthCheck ResponseFlags = 1 << iota
	FlagNoHealthyUpstream
	FlagUpstreamRequestTimeout
	FlagLocalReset
	FlagUpstreamRemoteReset
	FlagUpstreamConnectionFailure
	FlagUpstreamConnectionTermination
	FlagUpstreamOverflow
	FlagNoRouteFound
	FlagDelayInjected
	FlagFaultInjected
	FlagRateLimited
	FlagUnauthorizedExternalService
	FlagRateLimitServiceError
	FlagDownstreamConnectionTermination
	FlagUpstreamRetryLimitExceeded
	FlagStreamIdleTimeout
	FlagInvalidEnvoyRequestHeaders
	FlagDownstreamProtocolError
	FlagUpstreamMaxStreamDurationReached
	FlagNoFilterConfigFound
	FlagDurationTimeout
	FlagUpstreamProtocolError
	FlagNoClusterFound
	FlagOverloadManager
	FlagDNSResolutionFailed
	FlagDownstreamRemoteReset
	flagEnd
)

var flagNames = [...]string{
	"LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI",
	"IH", "DPE", "UMSDR", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DR",
}

// Append appends the flags' names separated by commas, or "-" when there are none.
func (f ResponseFlags) Append(dst []byte) []byte {
	f &= flagEnd - 1
	if f == 0 {
		return append(dst, '-')
	}
	for first := true; f != 0; f &= f - 1 {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, flagNames[bits.TrailingZeros32(uint32(f))]...)
	}
	return dst
}

// String returns what Append appends.
func (f ResponseFlags) String() string { return string(f.Append(nil)) }
