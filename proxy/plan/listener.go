package plan

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"lateen.dev/lateen/telemetry"
)

// Hash identifies a resource's content: equal bytes have equal hashes.
type Hash uint64

// Direction is the traffic direction of a listener.
type Direction uint8

// The directions.
const (
	DirectionUnspecified Direction = iota
	Inbound
	Outbound
)

// String returns Envoy's name.
func (d Direction) String() string { return [...]string{"UNSPECIFIED", "INBOUND", "OUTBOUND"}[d] }

// Address is where to listen or to connect to: an IP address and port, a path of a unix socket, or a DNS name and port.
type Address struct {
	IP   netip.AddrPort // valid for an IP address
	Path string         // unix socket; "@" begins an abstract one
	Mode uint32         // permissions of a unix socket listened on; 0 leaves the umask's
	Host string         // DNS name, for STRICT_DNS and LOGICAL_DNS endpoints
	Port uint16         // with Host
}

// WithPort returns the address with another port; a path stays as it is.
func (a Address) WithPort(port uint16) Address {
	switch {
	case a.IP.IsValid():
		a.IP = netip.AddrPortFrom(a.IP.Addr(), port)
	case a.Host != "":
		a.Port = port
	}
	return a
}

// String returns the address as ip:port, host:port, or the path.
func (a Address) String() string {
	switch {
	case a.IP.IsValid():
		return a.IP.String()
	case a.Host != "":
		return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
	}
	return a.Path
}

// Listener is what is listened on, and what is done with a connection.
type Listener struct {
	Name    string
	Version Hash
	// Addresses is the address and the additional addresses. All are the listener's.
	Addresses []Address
	// BindToPort is false for listeners that only receive connections handed over by UseOriginalDst of another one.
	BindToPort bool
	// UseOriginalDst hands a connection to the listener whose address is the connection's original destination
	// (first the exact address, then the wildcard address with that port), else keeps it.
	UseOriginalDst bool
	Transparent    bool
	Freebind       bool
	Backlog        int // 0 is the system's
	Direction      Direction

	ListenerFilters []ListenerFilter
	// FilterTimeout is how long listener filters may wait for bytes (0: for ever); after it the connection is closed,
	// or goes on with what is known if ContinueOnTimeout.
	FilterTimeout     time.Duration
	ContinueOnTimeout bool

	Chains *ChainMatcher

	// BufferLimit is how much of a request's body is kept for retries, where the route says nothing of it.
	BufferLimit uint32
	// MaxConnections limits open connections of this listener; 0 is no limit.
	MaxConnections uint64
	// AccessLogs are written for connections that no filter chain took.
	AccessLogs       []*AccessLog
	StatPrefix       string
	TCPFastOpenQueue uint32
	// KeepAlive of accepted sockets; nil leaves the system's setting.
	KeepAlive *TCPKeepalive
	// Metadata is the filter_metadata, for admin and explain.
	Metadata Metadata

	// Demand asks for listeners that connections which come here are meant for; nil where all are in the plan.
	Demand *Demand

	// Runtime is the engine's.
	Runtime any
}

// ListenerFilterKind is a kind of listener filter.
type ListenerFilterKind uint8

// The listener filters.
const (
	OriginalDst   ListenerFilterKind = iota // restore the address before redirection
	TLSInspector                            // read SNI and ALPN of a ClientHello
	HTTPInspector                           // tell HTTP/1 and HTTP/2 by the first bytes
	ProxyProtocol                           // read a PROXY protocol header
	OriginalSrc                             // use the client's address as source upstream
)

// ListenerFilter is one listener filter.
type ListenerFilter struct {
	Name string
	Kind ListenerFilterKind
	// Disabled are the original destination ports on which the filter doesn't run.
	Disabled PortSet
	// AllowWithoutProxyProtocol lets connections without a PROXY header pass, for ProxyProtocol.
	AllowWithoutProxyProtocol bool
	// Mark is for OriginalSrc: the SO_MARK of upstream sockets.
	Mark uint32
}

// PortSet is a set of port ranges, and nothing when empty.
type PortSet []PortRange

// PortRange is First ≤ port ≤ Last.
type PortRange struct{ First, Last uint16 }

// Has reports whether port is in the set.
func (s PortSet) Has(port uint16) bool {
	for _, r := range s {
		if port >= r.First && port <= r.Last {
			return true
		}
	}
	return false
}

// FilterChain is what is done with the connections that its match chose.
type FilterChain struct {
	Name string
	// TLS is nil for plain text.
	TLS *DownstreamTLS
	// TransportTimeout limits the TLS handshake; 0 is no limit.
	TransportTimeout time.Duration
	// Filters run in order. The last is the terminal one: TCPProxy or HTTPConnectionManager.
	Filters  []NetworkFilter
	Metadata Metadata

	// Runtime is the engine's.
	Runtime any
}

// Terminal returns the chain's last filter's configuration, or nil for a chain without filters, whose connections
// are closed.
func (c *FilterChain) Terminal() NetworkFilterConfig {
	if len(c.Filters) == 0 {
		return nil
	}
	return c.Filters[len(c.Filters)-1].Config
}

// NetworkFilter is one network filter of a chain.
type NetworkFilter struct {
	Name   string
	Config NetworkFilterConfig
	// Discovery is set, and Config is nil, where the configuration comes by itself. Only *NetworkRBAC does.
	Discovery *FilterDiscovery
}

// NetworkFilterConfig is one of *TCPProxy, *HTTPConnectionManager, *NetworkRBAC, *Stats, *MetadataExchange,
// *SNICluster, *ConnectionLimit and *DirectResponseFilter.
type NetworkFilterConfig interface{ networkFilter() }

// SNICluster takes the cluster's name from the SNI (Istio's AUTO_PASSTHROUGH).
type SNICluster struct{}

// ConnectionLimit closes connections beyond Max, after Delay.
type ConnectionLimit struct {
	StatPrefix string
	Max        uint64
	Delay      time.Duration
	Runtime    any
}

// DirectResponseFilter answers a connection with fixed bytes and closes it.
type DirectResponseFilter struct{ Body []byte }

// MetadataExchange is Istio's TCP peer metadata exchange; without ALPN Protocol on the connection it does nothing.
type MetadataExchange struct{ Protocol string }

func (*TCPProxy) networkFilter()              {}
func (*HTTPConnectionManager) networkFilter() {}
func (*NetworkRBAC) networkFilter()           {}
func (*Stats) networkFilter()                 {}
func (*MetadataExchange) networkFilter()      {}
func (*SNICluster) networkFilter()            {}
func (*ConnectionLimit) networkFilter()       {}
func (*DirectResponseFilter) networkFilter()  {}

// TCPProxy forwards bytes to a cluster.
type TCPProxy struct {
	StatPrefix string
	// Clusters has one entry, or several with weights.
	Clusters []WeightedTCPCluster
	// TotalWeight is the sum of the weights.
	TotalWeight uint64
	// IdleTimeout closes the connection when no byte went either way; 0 is never.
	IdleTimeout time.Duration
	// MaxDuration closes the connection however busy it is; 0 is never.
	MaxDuration        time.Duration
	MaxConnectAttempts uint32
	AccessLogs         []*AccessLog
	// HashSourceIP hashes the source address for ring hash and maglev.
	HashSourceIP bool

	// Runtime is the engine's.
	Runtime any
}

// WeightedTCPCluster is one target of a TCPProxy.
type WeightedTCPCluster struct {
	Name    string
	Cluster ClusterRef
	Weight  uint32
}

// Choose returns the cluster for random bits r.
func (t *TCPProxy) Choose(r uint64) *WeightedTCPCluster {
	if len(t.Clusters) == 1 || t.TotalWeight == 0 {
		return &t.Clusters[0]
	}
	r %= t.TotalWeight
	for i := range t.Clusters {
		w := uint64(t.Clusters[i].Weight)
		if r < w {
			return &t.Clusters[i]
		}
		r -= w
	}
	return &t.Clusters[len(t.Clusters)-1]
}

// TCPKeepalive are the socket options; 0 leaves the system's.
type TCPKeepalive struct {
	Probes   uint32
	Time     time.Duration
	Interval time.Duration
}

// AccessLog is one access logger.
type AccessLog struct {
	Name string
	// Path is the file; /dev/stdout and /dev/stderr are the process's own.
	Path      string
	Formatter telemetry.Formatter
	// Filter is nil when everything is logged.
	Filter *AccessLogFilter

	// Runtime is the engine's: the sink.
	Runtime any
}

// AccessLogFilterKind is a kind of access log filter.
type AccessLogFilterKind uint8

// The kinds of access log filter.
const (
	LogStatusCode     AccessLogFilterKind = iota // code Op Value
	LogDuration                                  // milliseconds Op Value
	LogNotHealthCheck                            // always true: this proxy answers no health checks itself
	LogFraction                                  // a share of requests
	LogAnd
	LogOr
	LogHeader
	LogResponseFlag // any of Flags; any flag at all when Flags is 0
	LogGRPCStatus   // status is (or is not, with Exclude) among Statuses
)

// AccessLogFilter says what is logged.
type AccessLogFilter struct {
	Kind     AccessLogFilterKind
	Op       CompareOp
	Value    uint32
	Fraction Fraction
	Filters  []*AccessLogFilter
	Header   *HeaderMatch
	Flags    telemetry.ResponseFlags
	Statuses uint32 // bit n is gRPC status n
	Exclude  bool
}

// CompareOp compares a measured value with a configured one.
type CompareOp uint8

// The comparisons.
const (
	CompareEqual CompareOp = iota
	CompareGreaterOrEqual
	CompareLessOrEqual
	CompareNotEqual
)

// Log reports whether a record is to be logged. random are fresh random bits; head may be nil.
func (f *AccessLogFilter) Log(r *telemetry.Record, head Head, random uint64) bool {
	if f == nil {
		return true
	}
	switch f.Kind {
	case LogStatusCode:
		return f.Op.compare(uint64(r.ResponseCode), uint64(f.Value))
	case LogDuration:
		return f.Op.compare(uint64(r.Duration.Milliseconds()), uint64(f.Value))
	case LogFraction:
		return f.Fraction.Hit(random)
	case LogAnd:
		for _, g := range f.Filters {
			if !g.Log(r, head, random) {
				return false
			}
		}
	case LogOr:
		for _, g := range f.Filters {
			if g.Log(r, head, random) {
				return true
			}
		}
		return false
	case LogHeader:
		return head != nil && f.Header.Match(head)
	case LogResponseFlag:
		return r.Flags != 0 && (f.Flags == 0 || r.Flags&f.Flags != 0)
	case LogGRPCStatus:
		status := r.GRPCStatus
		if status < 0 {
			status = 2 // as Envoy: a response without one counts as Unknown
		}
		return (f.Statuses&(1<<min(uint(status), 31)) != 0) != f.Exclude
	}
	return true
}

func (op CompareOp) compare(got, want uint64) bool {
	switch op {
	case CompareGreaterOrEqual:
		return got >= want
	case CompareLessOrEqual:
		return got <= want
	case CompareNotEqual:
		return got != want
	}
	return got == want
}

// Complement returns the ports that are not in the set.
func (s PortSet) Complement() PortSet {
	var out PortSet
	next := uint32(0) // the first port not looked at yet
	for _, r := range s.sorted() {
		if uint32(r.First) > next {
			out = append(out, PortRange{uint16(next), r.First - 1})
		}
		next = max(next, uint32(r.Last)+1)
	}
	if next <= 65535 {
		out = append(out, PortRange{uint16(next), 65535})
	}
	return out
}

func (s PortSet) sorted() PortSet {
	t := slices.Clone(s)
	slices.SortFunc(t, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	return t
}
