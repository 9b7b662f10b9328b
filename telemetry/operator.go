package telemetry

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator appends one value of a record; false means that the record has no
// such value. Operators that yield JSON numbers are marked in operatorTable.
type operator func(dst []byte, r *Record) ([]byte, bool)

// plainOperator is an operator without arguments.
type plainOperator struct {
	render  operator
	numeric bool
}

// operatorTable returns the command operators without arguments, by name.
func operatorTable(hostname string) map[string]plainOperator {
	text := func(get func(r *Record) string) plainOperator {
		return plainOperator{render: func(dst []byte, r *Record) ([]byte, bool) {
			v := get(r)
			return append(dst, v...), v != ""
		}}
	}
	number := func(get func(r *Record) int64) plainOperator {
		return plainOperator{numeric: true, render: func(dst []byte, r *Record) ([]byte, bool) {
			return strconv.AppendInt(dst, get(r), 10), true
		}}
	}
	address := func(get func(r *Record) netip.AddrPort) plainOperator {
		return plainOperator{render: func(dst []byte, r *Record) ([]byte, bool) {
			a := get(r)
			if !a.IsValid() {
				return dst, false
			}
			return a.AppendTo(dst), true
		}}
	}
	ip := func(get func(r *Record) netip.AddrPort) plainOperator {
		return plainOperator{render: func(dst []byte, r *Record) ([]byte, bool) {
			a := get(r).Addr()
			if !a.IsValid() {
				return dst, false
			}
			return a.AppendTo(dst), true
		}}
	}
	// phase is a duration in milliseconds that exists only if it happened.
	phase := func(get func(r *Record) time.Duration) plainOperator {
		return plainOperator{numeric: true, render: func(dst []byte, r *Record) ([]byte, bool) {
			d := get(r)
			return strconv.AppendInt(dst, d.Milliseconds(), 10), d != 0
		}}
	}
	return map[string]plainOperator{
		"PROTOCOL": text(func(r *Record) string {
			if s := r.Protocol.String(); s != "-" {
				return s
			}
			return ""
		}),
		"RESPONSE_CODE": number(func(r *Record) int64 { return int64(r.ResponseCode) }),
		"RESPONSE_FLAGS": {render: func(dst []byte, r *Record) ([]byte, bool) {
			return r.Flags.Append(dst), true
		}},
		"RESPONSE_CODE_DETAILS":             text(func(r *Record) string { return r.CodeDetails }),
		"CONNECTION_TERMINATION_DETAILS":    text(func(r *Record) string { return r.Termination }),
		"UPSTREAM_TRANSPORT_FAILURE_REASON": text(func(r *Record) string { return r.UpstreamFailure }),
		"BYTES_RECEIVED":                    number(func(r *Record) int64 { return r.BytesReceived }),
		"BYTES_SENT":                        number(func(r *Record) int64 { return r.BytesSent }),
		"DURATION":                          number(func(r *Record) int64 { return r.Duration.Milliseconds() }),
		"REQUEST_DURATION":                  phase(func(r *Record) time.Duration { return r.RequestReceived }),
		"RESPONSE_DURATION":                 phase(func(r *Record) time.Duration { return r.UpstreamFirstIn }),
		"RESPONSE_TX_DURATION": phase(func(r *Record) time.Duration {
			return max(0, r.Duration-r.UpstreamFirstIn)
		}),
		"REQUEST_TX_DURATION": phase(func(r *Record) time.Duration {
			return r.UpstreamFirstOut
		}),
		"UPSTREAM_REQUEST_ATTEMPT_COUNT": number(func(r *Record) int64 { return int64(r.UpstreamAttempts) }),
		"CONNECTION_ID":                  number(func(r *Record) int64 { return int64(r.ConnectionID) }),
		"UPSTREAM_HOST": {render: func(dst []byte, r *Record) ([]byte, bool) {
			if r.UpstreamHost.IsValid() {
				return r.UpstreamHost.AppendTo(dst), true
			}
			return append(dst, r.UpstreamHostName...), r.UpstreamHostName != ""
		}},
		"UPSTREAM_CLUSTER":                       text(func(r *Record) string { return r.UpstreamCluster }),
		"UPSTREAM_CLUSTER_RAW":                   text(func(r *Record) string { return r.UpstreamCluster }),
		"UPSTREAM_LOCAL_ADDRESS":                 address(func(r *Record) netip.AddrPort { return r.UpstreamLocal }),
		"DOWNSTREAM_LOCAL_ADDRESS":               address(func(r *Record) netip.AddrPort { return r.DownstreamLocal }),
		"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":  ip(func(r *Record) netip.AddrPort { return r.DownstreamLocal }),
		"DOWNSTREAM_REMOTE_ADDRESS":              address(func(r *Record) netip.AddrPort { return r.DownstreamRemote }),
		"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": ip(func(r *Record) netip.AddrPort { return r.DownstreamRemote }),
		"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":       address(func(r *Record) netip.AddrPort { return r.DownstreamDirect }),
		"DOWNSTREAM_PEER_URI_SAN":                text(func(r *Record) string { return r.DownstreamPeerURI }),
		"DOWNSTREAM_LOCAL_URI_SAN":               text(func(r *Record) string { return r.DownstreamLocalURI }),
		"DOWNSTREAM_TLS_VERSION":                 text(func(r *Record) string { return r.TLSVersion }),
		"DOWNSTREAM_TLS_CIPHER":                  text(func(r *Record) string { return r.TLSCipher }),
		"REQUESTED_SERVER_NAME":                  text(func(r *Record) string { return r.RequestedServer }),
		"ROUTE_NAME":                             text(func(r *Record) string { return r.RouteName }),
		"HOSTNAME":                               text(func(*Record) string { return hostname }),
		"GRPC_STATUS": {render: func(dst []byte, r *Record) ([]byte, bool) {
			return append(dst, grpcStatusName(r.GRPCStatus)...), r.GRPCStatus >= 0
		}},
		"GRPC_STATUS_NUMBER": {numeric: true, render: func(dst []byte, r *Record) ([]byte, bool) {
			return strconv.AppendInt(dst, int64(r.GRPCStatus), 10), r.GRPCStatus >= 0
		}},
	}
}

// grpcStatusName returns Envoy's camel case name of a gRPC status.
func grpcStatusName(code int16) string {
	names := [...]string{"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
		"PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal",
		"Unavailable", "DataLoss", "Unauthenticated"}
	if code < 0 || int(code) >= len(names) {
		return strconv.Itoa(int(code))
	}
	return names[code]
}

// headerOperator renders %REQ(MAIN?ALTERNATIVE):MAX% and its siblings. max is
// in bytes; 0 is no limit.
func headerOperator(source func(r *Record) Headers, arg string, max int) operator {
	main, alternative, _ := strings.Cut(strings.ToLower(arg), "?")
	return func(dst []byte, r *Record) ([]byte, bool) {
		v, ok := headerValue(r, source(r), main)
		if !ok && alternative != "" {
			v, ok = headerValue(r, source(r), alternative)
		}
		if max > 0 && len(v) > max {
			v = v[:max]
		}
		return append(dst, v...), ok
	}
}

// headerValue finds a request's pseudo headers in the record, since HTTP/1 has
// none, and everything else among the headers.
func headerValue(r *Record, h Headers, name string) ([]byte, bool) {
	var v []byte
	switch name {
	case ":method":
		v = r.Method
	case ":path":
		v = r.Path
	case ":authority":
		v = r.Authority
	case ":scheme":
		v = r.Scheme
	case "x-envoy-original-path":
		v = r.OriginalURI
	default:
		if h == nil {
			return nil, false
		}
		return h.Get(name)
	}
	return v, len(v) > 0
}

// pathWithoutQuery renders %REQ_WITHOUT_QUERY(...)%.
func pathWithoutQuery(arg string, max int) operator {
	whole := headerOperator(func(r *Record) Headers { return r.Request }, arg, 0)
	return func(dst []byte, r *Record) ([]byte, bool) {
		at := len(dst)
		dst, ok := whole(dst, r)
		if q := bytes.IndexByte(dst[at:], '?'); q >= 0 {
			dst = dst[:at+q]
		}
		if max > 0 && len(dst) > at+max {
			dst = dst[:at+max]
		}
		return dst, ok
	}
}
