package telemetry

import (
	"net/netip"
	"time"
)

// Protocol is the application protocol of a request or connection.
type Protocol uint8

// The protocols, printed by %PROTOCOL%.
const (
	ProtocolUnknown Protocol = iota
	ProtocolHTTP10
	ProtocolHTTP11
	ProtocolHTTP2
	ProtocolTCP
)

// String returns Envoy's name of the protocol, or "-".
func (p Protocol) String() string {
	switch p {
	case ProtocolHTTP10:
		return "HTTP/1.0"
	case ProtocolHTTP11:
		return "HTTP/1.1"
	case ProtocolHTTP2:
		return "HTTP/2"
	}
	return "-"
}

// Headers is the read side of a message's header fields, as a log format
// needs it. name is lower case. The returned bytes are valid during the call
// that renders the record.
type Headers interface {
	Get(name string) ([]byte, bool)
}

// Record is what is known of one request, or of one TCP connection, when it
// has ended. The engine owns it and reuses it; a formatter must not keep it or
// anything that it refers to. Byte slices are views into the engine's buffers.
type Record struct {
	Start    time.Time
	Duration time.Duration // until the last byte went downstream

	// Phases as durations since Start; zero means that it never happened.
	RequestReceived  time.Duration // last request byte received
	UpstreamFirstOut time.Duration // first byte sent upstream
	UpstreamFirstIn  time.Duration // first byte of the upstream's answer
	UpstreamLastIn   time.Duration // last byte of the upstream's answer

	Protocol    Protocol
	Method      []byte
	Path        []byte // as sent upstream
	OriginalURI []byte // as received, when a rewrite changed it; else empty
	Authority   []byte
	Scheme      []byte

	ResponseCode     uint16
	GRPCStatus       int16 // -1 when there is none
	Flags            ResponseFlags
	CodeDetails      string
	Termination      string // %CONNECTION_TERMINATION_DETAILS%
	UpstreamFailure  string // %UPSTREAM_TRANSPORT_FAILURE_REASON%
	BytesReceived    int64  // request body, or bytes from downstream
	BytesSent        int64  // response body, or bytes to downstream
	UpstreamAttempts uint16
	ConnectionID     uint64

	UpstreamCluster    string
	RouteName          string
	RequestedServer    string // SNI
	UpstreamHost       netip.AddrPort
	UpstreamHostName   string // for endpoints that are no IP address
	UpstreamLocal      netip.AddrPort
	DownstreamLocal    netip.AddrPort
	DownstreamRemote   netip.AddrPort
	DownstreamDirect   netip.AddrPort
	DownstreamPeerURI  string // SPIFFE id of the peer's certificate
	DownstreamLocalURI string
	TLSVersion         string
	TLSCipher          string

	Request  Headers // nil for TCP
	Response Headers // nil when no response head was sent
	Trailers Headers // nil when there were none
}
