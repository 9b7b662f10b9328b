package plan

import (
	"net/netip"
	"time"

	"lateen.dev/lateen/proxy/upstream/lb"
	"lateen.dev/lateen/proxy/upstream/outlier"
)

// DiscoveryType is how a cluster finds its endpoints.
type DiscoveryType uint8

// The discovery types.
const (
	Static DiscoveryType = iota
	EDS
	StrictDNS
	LogicalDNS
	OriginalDestination
)

// String returns Envoy's name.
func (d DiscoveryType) String() string {
	return [...]string{"STATIC", "EDS", "STRICT_DNS", "LOGICAL_DNS", "ORIGINAL_DST"}[d]
}

// Cluster is a group of endpoints that are reached in the same way. When only endpoints change, the next plan has a
// copy of the Cluster with the same Version, other Endpoints and the same Runtime.
type Cluster struct {
	Name string
	// AltStatName is the name in statistics, when it differs.
	AltStatName string
	// Version is the hash of everything but the endpoints.
	Version Hash
	// Ref is the cluster's own reference.
	Ref       ClusterRef
	Discovery DiscoveryType
	// EDSName is the name of the endpoints, for EDS.
	EDSName string

	ConnectTimeout time.Duration
	LB             lb.Config
	// SlowStart is nil unless configured.
	SlowStart *SlowStart
	// ConsistentHash is for LB.Kind RingHash and Maglev.
	ConsistentHash ConsistentHash

	// TLS is nil for plain text. TransportSocketMatches come first: the first whose Match the endpoint's metadata
	// has decides; each Endpoint carries the outcome in TransportSocket.
	TLS                    *UpstreamTLS
	TransportSocketMatches []TransportSocketMatch
	// ProxyProtocol is the version (1 or 2) of PROXY header to send, or 0.
	ProxyProtocol uint8

	Protocol ProtocolOptions
	// Limits for Envoy's two routing priorities: default and high.
	Limits [2]CircuitBreaker
	// Outlier is nil without outlier detection.
	Outlier      *outlier.Config
	HealthChecks []HealthCheck
	// IgnoreHealthOnRemoval removes hosts at once when discovery does, however healthy they are.
	IgnoreHealthOnRemoval bool
	// CloseOnHealthFailure closes a host's connections when it becomes unhealthy.
	CloseOnHealthFailure bool

	// MaxRequestsPerConnection: 0 is no limit.
	MaxRequestsPerConnection uint32
	KeepAlive                *TCPKeepalive
	// SourceAddress to bind to; the zero value leaves it to the system.
	SourceAddress netip.AddrPort
	DNS           DNSOptions
	OriginalDst   OriginalDstOptions

	// MetadataExchange is set when peers tell each other who they are before the bytes of a TCP connection.
	MetadataExchange *MetadataExchange
	// Services are the mesh services that this cluster stands for (Istio's metadata), for telemetry's labels.
	Services []Service
	Metadata Metadata
	Origin   Origin

	// Endpoints are static, or EDS's; nil as long as EDS has not answered. For DNS clusters they hold the names to
	// resolve, for ORIGINAL_DST nothing.
	Endpoints *Endpoints

	// Runtime is the engine's: pools, balancer, outlier state, counters.
	Runtime any
}

// Service is an entry of Istio's services metadata.
type Service struct{ Host, Name, Namespace string }

// SlowStart raises a new endpoint's weight gradually.
type SlowStart struct {
	Window           time.Duration
	Aggression       float64
	MinWeightPercent float64
}

// ConsistentHash says what ring hash and maglev hash hosts by.
type ConsistentHash struct {
	UseHostname bool
}

// TransportSocketMatch chooses a transport socket by an endpoint's metadata under envoy.transport_socket_match.
type TransportSocketMatch struct {
	Name string
	// Match are the pairs that the endpoint must have. Empty matches every endpoint.
	Match map[string]any
	// TLS is nil for plain text.
	TLS *UpstreamTLS
	// ProxyProtocol as in Cluster.
	ProxyProtocol uint8
}

// HTTPVersion is what is spoken upstream.
type HTTPVersion uint8

// The choices.
const (
	HTTP1          HTTPVersion = iota // explicit HTTP/1, or nothing said
	HTTP2                             // explicit HTTP/2
	AutoHTTP                          // HTTP/2 or HTTP/1 by ALPN
	SameDownstream                    // what the client spoke
)

// ProtocolOptions are a cluster's HTTP protocol options.
type ProtocolOptions struct {
	Version HTTPVersion
	HTTP1   HTTP1Options
	HTTP2   HTTP2Options
	// IdleTimeout of pooled connections.
	IdleTimeout           time.Duration
	MaxConnectionDuration time.Duration
	MaxStreamDuration     time.Duration
	// MaxHeaderCount and MaxHeadBytes bound a response's head.
	MaxHeaderCount uint32
	MaxHeadBytes   uint32
	// AutoSNI takes the SNI from the request's authority; AutoSANValidation then requires a SAN equal to it.
	AutoSNI           bool
	AutoSANValidation bool
	// SNIHeader is the header used instead of the authority by AutoSNI.
	SNIHeader *HeaderName
}

// HTTP1Options are the options of an HTTP/1 codec.
type HTTP1Options struct {
	AllowAbsoluteURL   bool
	AcceptHTTP10       bool
	DefaultHostHTTP10  string
	EnableTrailers     bool
	AllowChunkedLength bool
}

// HTTP2Options are the options of an HTTP/2 codec.
type HTTP2Options struct {
	MaxConcurrentStreams        uint32
	InitialStreamWindow         uint32
	InitialConnectionWindow     uint32
	HPACKTableSize              uint32
	NoHPACKTable                bool // HPACKTableSize is 0
	MaxOutboundFrames           uint32
	MaxOutboundControlFrames    uint32
	MaxConsecutiveEmptyFrames   uint32
	MaxInboundPriorityPerStream uint32
	MaxInboundWindowPerData     uint32
	// MaxFieldBytes bounds one header field's name or value; 0 is no limit beside the head's.
	MaxFieldBytes uint32
	// ResetBurst and ResetRate are how many streams a client may reset, and how many more each second; 0 is this proxy's default.
	ResetBurst, ResetRate uint32
	// PingInterval of keep-alive; 0 is off.
	PingInterval time.Duration
	PingTimeout  time.Duration
	AllowConnect bool
}

// CircuitBreaker are the limits of one routing priority.
type CircuitBreaker struct {
	MaxConnections     uint32
	MaxPendingRequests uint32
	MaxRequests        uint32
	MaxRetries         uint32
	MaxConnectionPools uint32
	// RetryBudget replaces MaxRetries when set.
	RetryBudget *RetryBudget
	// TrackRemaining publishes how much is left.
	TrackRemaining bool
}

// RetryBudget limits retries to a share of the active requests.
type RetryBudget struct {
	Percent        float64
	MinConcurrency uint32
}

// HealthCheck is an active health check.
type HealthCheck struct {
	Timeout            time.Duration
	Interval           time.Duration
	IntervalJitter     time.Duration
	UnhealthyInterval  time.Duration
	NoTrafficInterval  time.Duration
	UnhealthyThreshold uint32
	HealthyThreshold   uint32
	ReuseConnection    bool
	Kind               HealthCheckKind
	// For HTTP.
	Host, Path       string
	Method           string
	HTTP2            bool
	Headers          []HeaderMutation
	ExpectedStatuses []StatusRange
	// For TCP.
	Send    []byte
	Receive [][]byte
	// For gRPC.
	GRPCService   string
	GRPCAuthority string
}

// StatusRange is First ≤ code < Last.
type StatusRange struct{ First, Last int64 }

// HealthCheckKind is a kind of health check.
type HealthCheckKind uint8

// The kinds.
const (
	CheckHTTP HealthCheckKind = iota
	CheckTCP
	CheckGRPC
)

// DNSOptions are for STRICT_DNS and LOGICAL_DNS.
type DNSOptions struct {
	Family     DNSFamily
	Refresh    time.Duration
	RespectTTL bool
	// FailureBase and FailureMax are the backoff after a failed resolution; 0 is Refresh.
	FailureBase, FailureMax time.Duration
	Jitter                  time.Duration
}

// DNSFamily is which addresses are looked up.
type DNSFamily uint8

// The families.
const (
	FamilyAuto DNSFamily = iota // IPv6, and IPv4 if there is none
	V4Only
	V6Only
	V4Preferred
	AllFamilies
)

// OriginalDstOptions are for ORIGINAL_DST.
type OriginalDstOptions struct {
	// Header, when set, names the request header that has the address.
	Header *HeaderName
	// Port overrides the port; 0 keeps it.
	Port uint16
	// CleanupInterval is after how long an unused host is dropped.
	CleanupInterval time.Duration
}
