package plan

import (
	"net/netip"
	"time"
)

// Router is the terminal HTTP filter.
type Router struct {
	// SuppressEnvoyHeaders adds no x-envoy-… headers.
	SuppressEnvoyHeaders bool
	// RespectExpectedTimeout believes x-envoy-expected-rq-timeout-ms.
	RespectExpectedTimeout              bool
	StartChildSpan                      bool
	SuppressGRPCRequestFailureCodeStats bool
}

// Fault injects delays and aborts.
type Fault struct {
	Delay *FaultDelay
	Abort *FaultAbort
	// UpstreamCluster limits the fault to one cluster; empty is any.
	UpstreamCluster string
	DownstreamNodes []string
	// Headers must all match.
	Headers []HeaderMatch
	// MaxActive limits concurrent faults; 0 is no limit.
	MaxActive uint32
}

// FaultDelay waits before the request goes on.
type FaultDelay struct {
	Fixed    time.Duration
	Fraction Fraction
	// HeaderControlled takes delay and fraction from x-envoy-fault-delay-request(-percentage).
	HeaderControlled bool
}

// FaultAbort answers instead of the upstream.
type FaultAbort struct {
	HTTPStatus uint16 // 0 when GRPCStatus is meant
	GRPCStatus uint32
	IsGRPC     bool
	Fraction   Fraction
	// HeaderControlled takes the status from x-envoy-fault-abort-request.
	HeaderControlled bool
}

// CORS is a cross-origin policy. In the connection manager's filter list it has no content; routes carry it.
type CORS struct {
	Enabled Fraction // of requests; 100/100 by default
	Shadow  Fraction
	Origins []StringMatch
	// The values of the answer's headers, ready to be written; empty ones are left out.
	AllowMethods, AllowHeaders, ExposeHeaders, MaxAge string
	AllowCredentials                                  bool
	AllowPrivateNetwork                               bool
	// ForwardNotMatching lets preflights of other origins through to the upstream (the default).
	ForwardNotMatching bool
}

// RBACAction is what matching means.
type RBACAction uint8

// The actions.
const (
	RBACAllow RBACAction = iota // only what matches may pass
	RBACDeny                    // what matches may not
	RBACLog
)

// RBAC is role based access control, for HTTP and, inside NetworkRBAC, for connections.
type RBAC struct {
	// Rules is nil when there are none: everything passes.
	Rules *RBACRules
	// Shadow is evaluated and counted, never enforced.
	Shadow *RBACRules
	// ShadowPrefix of the shadow's counters.
	StatPrefix   string
	ShadowPrefix string
}

// NetworkRBAC is RBAC as a network filter.
type NetworkRBAC struct {
	RBAC
	// Continuous checks again whenever bytes arrive.
	Continuous bool
}

// RBACRules are policies with one action; a request matches when any policy does.
type RBACRules struct {
	Action   RBACAction
	Policies []RBACPolicy // sorted by name, as Envoy evaluates them
}

// RBACPolicy matches when one permission and one principal match.
type RBACPolicy struct {
	Name        string
	Permissions []RBACRule
	Principals  []RBACRule
}

// RBACRuleKind is a kind of permission or principal.
type RBACRuleKind uint8

// The kinds. Which may be a permission, which a principal, is proxy/compile's to check.
const (
	RBACAny RBACRuleKind = iota
	RBACAnd
	RBACOr
	RBACNot // of Rules[0]
	RBACHeader
	RBACPath            // the path without query matches String
	RBACDestinationIP   // Prefix
	RBACDestinationPort // PortLow ≤ port ≤ PortHigh
	RBACServerName      // the SNI matches String
	RBACAuthenticated   // a verified peer certificate, whose name matches String unless that is nil
	RBACDirectRemoteIP  // the connection's peer is in Prefix
	RBACRemoteIP        // the client, as x-forwarded-for and the like tell it, is in Prefix
	RBACSourceIP        // the address of the connection, after PROXY protocol
	RBACMetadata        // never true here: no filter sets dynamic metadata; kept so that Not is right
	RBACFilterStatePeer // Istio's io.istio.peer_principal filter state matches String
)

// RBACRule is a node of a permission or principal.
type RBACRule struct {
	Kind     RBACRuleKind
	Rules    []RBACRule
	Header   *HeaderMatch
	String   *StringMatch
	Prefix   netip.Prefix
	PortLow  uint16
	PortHigh uint16
	Invert   bool   // for RBACMetadata
	Describe string // for RBACMetadata: what it asks for
}

// Stats is Istio's istio.stats filter, for HTTP and TCP.
type Stats struct {
	// Reporter is what the reporter label says; ReporterByDirection takes it from the listener's direction.
	Reporter StatsReporter
	// DisableHostHeaderFallback leaves the destination service unknown where the cluster doesn't name it.
	DisableHostHeaderFallback bool
	// TCPReportingDuration is how often bytes of open connections are reported; 5 s by default.
	TCPReportingDuration time.Duration
	Metrics              []MetricOverride
	StatPrefix           string
}

// StatsReporter is a perspective.
type StatsReporter uint8

// The perspectives.
const (
	ReporterByDirection StatsReporter = iota
	ReporterServerGateway
)

// MetricOverride changes one standard metric, or all (Name empty).
type MetricOverride struct {
	Name string // requests_total, request_duration_milliseconds…
	Drop bool
	// Tags are label → CEL expression; RemoveTags are left out.
	Tags       map[string]string
	RemoveTags []string
}

// ALPN is Istio's istio.alpn filter: it chooses the ALPN offered upstream by the downstream's protocol.
type ALPN struct {
	HTTP10, HTTP11, HTTP2 []string
}

// PeerMetadata is Istio's peer metadata filter: who the peer is, and telling the peer who we are.
type PeerMetadata struct {
	Downstream, Upstream                   []PeerDiscovery
	PropagateDownstream, PropagateUpstream bool
	SkipExternalClusters                   bool
	AdditionalLabels                       []string
}

// PeerDiscovery is a way to learn of a peer.
type PeerDiscovery uint8

// The ways.
const (
	DiscoverIstioHeaders PeerDiscovery = iota // x-envoy-peer-metadata(-id)
	DiscoverWorkload                          // workload metadata by address
	DiscoverBaggage
)

// GRPCStats counts gRPC messages.
type GRPCStats struct{ AllMethods, EnableUpstream bool }

// GRPCWeb bridges gRPC-Web to gRPC.
type GRPCWeb struct{}

func (*Router) httpFilter()       {}
func (*Fault) httpFilter()        {}
func (*CORS) httpFilter()         {}
func (*RBAC) httpFilter()         {}
func (*Stats) httpFilter()        {}
func (*ALPN) httpFilter()         {}
func (*PeerMetadata) httpFilter() {}
func (*GRPCStats) httpFilter()    {}
func (*GRPCWeb) httpFilter()      {}
