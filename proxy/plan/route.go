package plan

import (
	"regexp"
	"time"
)

// RouteConfig is a route configuration.
type RouteConfig struct {
	Name    string
	Version Hash
	// Hosts finds the virtual host.
	Hosts *HostTable
	// IgnorePort matches domains without the authority's port.
	IgnorePort bool
	Headers    HeaderMutations
	// MostSpecificWins applies the mutations of the route configuration first, then virtual host's, then route's, so
	// that the most specific has the last word; by default it is the other way round.
	MostSpecificWins bool
	Metadata         Metadata
	// Demand asks for virtual hosts that the table lacks; nil where it has all that there are.
	Demand *Demand

	// Runtime is the engine's.
	Runtime any
}

// VirtualHost is a set of routes for some domains.
type VirtualHost struct {
	Name    string
	Domains []string
	Routes  []*Route
	// RequireTLS redirects plain requests.
	RequireTLS                    RequireTLS
	IncludeAttemptCount           bool
	IncludeAttemptCountInResponse bool
	PerRequestBufferLimit         uint32 // 0 is none
	Metadata                      Metadata
}

// RequireTLS is which plain requests are redirected.
type RequireTLS uint8

// The choices.
const (
	TLSNotRequired RequireTLS = iota
	TLSForExternal
	TLSForAll
)

// PathMatchKind is how a route looks at the path (without query).
type PathMatchKind uint8

// The kinds.
const (
	PathPrefix PathMatchKind = iota
	PathExact
	PathSeparatedPrefix // Value, or Value followed by "/"
	PathRegex
	PathTemplate // not produced at present
	ConnectMatch // CONNECT requests only
)

// RouteMatch says which requests a route takes.
type RouteMatch struct {
	Kind       PathMatchKind
	Path       string // lower case when IgnoreCase
	IgnoreCase bool
	Regex      *regexp.Regexp // anchored at both ends
	Headers    []HeaderMatch
	Query      []QueryMatch
	// GRPC takes gRPC requests only.
	GRPC bool
	// TLS asks for a client certificate that was presented, and validated.
	TLSPresented, TLSValidated *bool
	// Fraction of requests taken; nil takes all.
	Fraction *Fraction
	// Never is set when the match asks for dynamic metadata that no filter of this proxy sets.
	Never bool
}

// Route is one entry of a virtual host.
type Route struct {
	Name string
	// Index is its place in the virtual host.
	Index int
	Match RouteMatch
	// Exactly one of these three.
	Forward  *RouteAction
	Redirect *Redirect
	Direct   *DirectResponse

	// Headers are the route's, the virtual host's and the route configuration's mutations in the order in which they
	// apply to redirects and direct responses. A forwarded request gets those of its WeightedCluster.
	Headers         HeaderMutations
	FilterOverrides FilterOverrides
	// PerRequestBufferLimit in bytes; 0 is none.
	PerRequestBufferLimit uint32
	StatPrefix            string
	TracingOff            bool
	Tracing               *Tracing // overrides the manager's sampling
	// Decorator is the operation name of spans.
	Decorator string
	Origin    Origin
	Metadata  Metadata

	// Runtime is the engine's.
	Runtime any
}

// RouteAction forwards a request.
type RouteAction struct {
	// One of: Clusters (one or several weighted), or ClusterHeader.
	Clusters      []WeightedCluster
	TotalWeight   uint64
	ClusterHeader *HeaderName
	// WeightHeader names a header whose number replaces the random one in the choice.
	WeightHeader *HeaderName
	// NotFoundCode answers when the cluster doesn't exist: 503 or 404 or 500.
	NotFoundCode uint16

	Rewrite Rewrite

	Timeout        time.Duration // of the whole request; 15 s by default; 0 is none
	IdleTimeout    time.Duration // overrides the manager's StreamIdle when HasIdleTimeout
	HasIdleTimeout bool
	// FlushTimeout overrides the manager's StreamFlush when HasFlushTimeout.
	FlushTimeout    time.Duration
	HasFlushTimeout bool
	// MaxStream limits the stream's life and, with UseGRPCTimeout, grpc-timeout up to MaxGRPCTimeout (0: any) is
	// taken as the timeout, reduced by GRPCTimeoutOffset.
	MaxStream         time.Duration
	HasMaxStream      bool
	UseGRPCTimeout    bool
	MaxGRPCTimeout    time.Duration
	GRPCTimeoutOffset time.Duration

	// Retry is nil when only headers may ask for retries.
	Retry  *RetryPolicy
	Hash   []HashPolicy
	Mirror []Mirror
	// Priority is 0 (default) or 1 (high): which circuit breaker limits apply.
	Priority uint8
	// Upgrades override the manager's by type.
	Upgrades []Upgrade
	// InternalRedirect is accepted and not followed.
	InternalRedirect bool
	// ConnectTunnel is whether CONNECT's payload goes upstream as plain TCP (connect_config).
	ConnectTunnel bool
	// AppendXForwardedHost keeps the authority from before a host rewrite.
	AppendXForwardedHost bool
	IncludeVHRateLimits  bool
}

// WeightedCluster is one target of a route.
type WeightedCluster struct {
	Name    string
	Cluster ClusterRef
	Weight  uint32
	// Headers are all that apply when this cluster is chosen: its own, the route's, the virtual host's and the route
	// configuration's, in order.
	Headers     HeaderMutations
	HostRewrite []byte
	// FilterOverrides are all that apply when this cluster is chosen.
	FilterOverrides FilterOverrides
	// ClusterHeader names the request header that has the cluster's name; nil when Name counts.
	ClusterHeader *HeaderName
}

// Rewrite changes path and authority before forwarding. At most one path rewrite and one host rewrite is set.
type Rewrite struct {
	HasPrefix bool
	// Prefix replaces the matched part of the path.
	Prefix string
	// Regex and Substitution rewrite the path without its query.
	Regex        *regexp.Regexp
	Substitution string // Go's form: ${1}

	Host       []byte
	AutoHost   bool        // the endpoint's hostname
	HostHeader *HeaderName // the value of this header
	HostRegex  *regexp.Regexp
	HostSubst  string
}

// Mirror is a shadow target.
type Mirror struct {
	Name          string
	Cluster       ClusterRef
	ClusterHeader *HeaderName
	Fraction      Fraction // 100/100 by default
	// KeepHost sends the authority without "-shadow" at its end.
	KeepHost     bool
	TraceSampled *bool
}

// HashPolicyKind is what is hashed for consistent hashing.
type HashPolicyKind uint8

// The kinds.
const (
	HashHeader HashPolicyKind = iota
	HashCookie
	HashSourceIP
	HashQuery
)

// HashPolicy is one source of a request's hash.
type HashPolicy struct {
	Kind   HashPolicyKind
	Header *HeaderName
	Name   string // of cookie or parameter
	// Regex and Substitution rewrite a header's value before hashing.
	Regex        *regexp.Regexp
	Substitution string
	// CookieTTL generates a missing cookie, when HasTTL; 0 is a session cookie.
	CookieTTL  time.Duration
	HasTTL     bool
	CookiePath string
	// CookieAttributes are further "; Name=value" pairs, ready to be written.
	CookieAttributes string
	Terminal         bool
}

// Redirect answers with a redirect.
type Redirect struct {
	Code uint16 // 301 by default
	// Scheme and Host replace the request's when not empty; HTTPS sets the scheme to https.
	HTTPS  bool
	Scheme string
	Host   string
	Port   uint32 // 0 keeps, or drops a default port of the other scheme
	// One of these changes the path.
	Path         string
	HasPrefix    bool
	Prefix       string
	Regex        *regexp.Regexp
	Substitution string
	StripQuery   bool
}

// DirectResponse answers with a fixed response.
type DirectResponse struct {
	Status uint16
	Body   []byte
	// BodyFormat is used instead of Body when the body has command operators.
	BodyFormat  *Format
	ContentType string
}
