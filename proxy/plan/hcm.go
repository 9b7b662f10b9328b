package plan

import (
	"net/netip"
	"time"
)

// HTTPConnectionManager is the terminal filter that speaks HTTP. It is split by what reads it: the codec, the
// connection, the request's identity, and routing.
type HTTPConnectionManager struct {
	StatPrefix string
	Codec      CodecType
	HTTP1      HTTP1Options
	HTTP2      HTTP2Options
	Limits     HTTPLimits
	Timeouts   HTTPTimeouts

	// Inline is the route configuration that the listener carries; nil when RDS names one.
	Inline *RouteConfig
	// RDS is the reference and RDSName the name of the route configuration otherwise. While it has not arrived,
	// requests are answered 404 with flag NR, as Envoy does.
	RDSName string
	RDS     RouteConfigRef

	// Filters in order; the last is the router.
	Filters    []HTTPFilter
	AccessLogs []*AccessLog

	Identity RequestIdentity
	Path     PathNormalization
	Upgrades []Upgrade
	Tracing  *Tracing
	Replies  []LocalReply

	// ServerName is the server header, and ServerHeader what happens to the upstream's.
	ServerName   string
	ServerHeader ServerHeaderTransformation
	// Via is added to requests and responses, unless empty.
	Via string
	// Proxy100Continue lets Expect: 100-continue pass instead of answering it.
	Proxy100Continue bool
	AddUserAgent     bool
	StripPort        StripPort
	// StripTrailingDot makes the absolute name "example.com." the same as "example.com".
	StripTrailingDot bool
	// SchemeOverwrite replaces the request's scheme, when not empty.
	SchemeOverwrite string
	// SchemeMatchUpstream sets the scheme by the upstream's transport.
	SchemeMatchUpstream bool

	// Runtime is the engine's.
	Runtime any
}

// Routes returns the route configuration in force under p, or nil when there is none yet.
func (h *HTTPConnectionManager) Routes(p *Plan) *RouteConfig {
	if h.Inline != nil {
		return h.Inline
	}
	return p.RouteConfig(h.RDS)
}

// CodecType is the codec of an HTTP connection manager.
type CodecType uint8

// The codecs.
const (
	CodecAuto CodecType = iota // HTTP/2 by ALPN or preface, else HTTP/1
	CodecHTTP1
	CodecHTTP2
)

// HTTPLimits bound what a client may send.
type HTTPLimits struct {
	MaxHeadBytes             uint32 // 60 KiB by default
	MaxHeaderCount           uint32 // 100 by default
	MaxRequestsPerConnection uint32 // 0 is no limit
}

// HTTPTimeouts are zero when switched off.
type HTTPTimeouts struct {
	Idle           time.Duration // no active stream; 1 h by default
	StreamIdle     time.Duration // a stream without bytes; 5 min by default
	Request        time.Duration // the whole request received
	RequestHeaders time.Duration // the head received
	MaxConnection  time.Duration // a connection's age, then drain
	MaxStream      time.Duration
	DelayedClose   time.Duration // 1 s by default
	Drain          time.Duration // between the GOAWAY and the close; 5 s by default
	StreamFlush    time.Duration // flushing the rest to a slow client; HasStreamFlush tells that it isn't StreamIdle
	HasStreamFlush bool
	MaxConnJitter  float64 // up to how many percent longer than MaxConnection a connection may live
}

// RequestIdentity is how a request's origin and id are established.
type RequestIdentity struct {
	// UseRemoteAddress trusts the connection's address rather than x-forwarded-for, and appends it there.
	UseRemoteAddress bool
	// XFFTrustedHops are the proxies in front whose x-forwarded-for entries are believed.
	XFFTrustedHops uint32
	SkipXFFAppend  bool
	// Internal are the addresses that count as internal; empty is the private ranges of RFC 1918 (Envoy's default).
	Internal []netip.Prefix
	// InternalUnix counts unix sockets as internal.
	InternalUnix bool

	XFCC ForwardClientCert
	// SetCurrent are the details of the client's certificate that are put in x-forwarded-client-cert.
	SetCurrent ClientCertDetails

	// GenerateRequestID makes an x-request-id where there is none (true by default).
	GenerateRequestID bool
	// PreserveExternalRequestID keeps one from outside.
	PreserveExternalRequestID bool
	// AlwaysSetInResponse puts it into the response.
	AlwaysSetInResponse bool
	// PackTraceReason writes the tracing decision into the id's 14th character, as Envoy's UUID extension does.
	PackTraceReason     bool
	RepresentIPv4AsIPv6 bool
}

// ForwardClientCert is what happens to x-forwarded-client-cert.
type ForwardClientCert uint8

// The modes.
const (
	XFCCSanitize ForwardClientCert = iota
	XFCCForwardOnly
	XFCCAppendForward
	XFCCSanitizeSet
	XFCCAlwaysForwardOnly
)

// ClientCertDetails are the parts of x-forwarded-client-cert besides By and Hash.
type ClientCertDetails struct{ Subject, Cert, Chain, DNS, URI bool }

// PathNormalization is what happens to a path before routing.
type PathNormalization struct {
	Normalize    bool // RFC 3986 6.2.2: dot segments, percent-encoded unreserved characters
	MergeSlashes bool
	// EscapedSlashes is what happens to %2F, %5C in it.
	EscapedSlashes EscapedSlashes
}

// EscapedSlashes is an action on escaped slashes in a path.
type EscapedSlashes uint8

// The actions.
const (
	KeepUnchanged EscapedSlashes = iota
	RejectRequest
	UnescapeAndRedirect
	UnescapeAndForward
)

// StripPort is which ports are cut from the authority.
type StripPort uint8

// The choices.
const (
	StripNoPort       StripPort = iota
	StripMatchingPort           // the listener's own
	StripAnyPort
)

// ServerHeaderTransformation is what happens to the server header.
type ServerHeaderTransformation uint8

// The transformations.
const (
	ServerOverwrite ServerHeaderTransformation = iota
	ServerAppendIfAbsent
	ServerPassThrough
)

// Upgrade is a protocol that a request may upgrade to.
type Upgrade struct {
	Type    string // lower case: websocket, connect…
	Enabled bool
	// Filters replaces the manager's filters for upgraded requests, when not nil.
	Filters []HTTPFilter
}

// Tracing says which requests are traced and how spans are named. Providers are telemetry's business.
type Tracing struct {
	ClientSampling, RandomSampling, OverallSampling float64 // percent
	Verbose                                         bool
	MaxPathTag                                      uint32
	Provider                                        string
	// CustomTags in order.
	Tags []TraceTag
}

// TraceTag is a custom tag of a span.
type TraceTag struct {
	Tag string
	// One of these: a literal, a request header with a default.
	Literal string
	Header  *HeaderName
	Default string
}

// LocalReply changes a response that the proxy makes itself.
type LocalReply struct {
	Filter *AccessLogFilter // nil matches all
	Status uint16           // 0 keeps it
	// Body replaces the body; nil keeps it.
	Body        *Format
	ContentType string
	Headers     []HeaderMutation
}

// HTTPFilter is one filter of a connection manager.
type HTTPFilter struct {
	// Name is what overrides refer to.
	Name string
	// Disabled filters run only where a route's override says so.
	Disabled bool
	Config   HTTPFilterConfig
	// Discovery is set, and Config is nil, where the configuration comes by itself.
	Discovery *FilterDiscovery

	// Runtime is the engine's.
	Runtime any
}

// HTTPFilterConfig is one of *Router, *Fault, *CORS, *RBAC, *Stats, *ALPN, *PeerMetadata, *GRPCStats, *GRPCWeb.
type HTTPFilterConfig interface{ httpFilter() }

// FilterOverride is what a route says of one filter, already resolved from weighted cluster, route, virtual host and
// route configuration, the most specific winning.
type FilterOverride struct {
	Filter   string
	Disabled bool
	// Config is of the filter's own type, or nil to leave the manager's (only Disabled is meant).
	Config HTTPFilterConfig
}

// FilterOverrides are a route's. Most routes have none.
type FilterOverrides []FilterOverride

// Find returns the override of a filter, or nil.
func (o FilterOverrides) Find(filter string) *FilterOverride {
	for i := range o {
		if o[i].Filter == filter {
			return &o[i]
		}
	}
	return nil
}
