package h2

import (
	"crypto/sha1" //nolint:gosec // WebSocket's handshake is made with it
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"

	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
)

// requestHead fills h with a stream's request. The views live as long as the
// stream. ended says that there is no body.
func requestHead(h *http1.Head, in *http2.Head, ended bool) {
	h.Reset()
	h.Method, h.MethodName = method(in.Method), in.Method
	h.Path, h.Target, h.Authority = in.Path, in.Path, in.Authority
	h.Scheme = scheme(in.Scheme)
	switch {
	case h.Method == http1.MethodConnect:
		h.Form, h.Target = http1.AuthorityForm, in.Authority
	case len(in.Path) == 1 && in.Path[0] == '*':
		h.Form = http1.AsteriskForm
	}
	copyFields(h, in)
	h.TrailersOK = h.Has(header.TE)
	h.ExpectContinue = !ended && header.EqualFold(h.Get(header.Expect), "100-continue")
	setFraming(h, in, ended)
	if h.Method == http1.MethodConnect {
		// What comes before the tunnel stands is no body: an HTTP/1 server would take it for the next request.
		h.Framing, h.ContentLength, h.ExpectContinue = http1.FramingNone, -1, false
		h.Remove(header.ContentLength)
	}
	if in.Protocol != nil {
		requestUpgrade(h, in.Protocol)
	}
}

// requestUpgrade makes an extended CONNECT (RFC 8441) the request that HTTP/1 asks for an upgrade with.
func requestUpgrade(h *http1.Head, protocol []byte) {
	h.Method, h.MethodName, h.Form = http1.MethodGet, methodGET, http1.OriginForm
	h.Upgrade = true
	h.AddKnown(header.Upgrade, protocol)
	h.Fields[len(h.Fields)-1].Hop = true
}

// grantUpgrade makes a server's consent to an extended CONNECT the 101 of HTTP/1.
func grantUpgrade(h *http1.Head, protocol, key []byte) {
	h.Status, h.Phrase, h.Upgrade = 101, nil, true
	h.AddKnown(header.Upgrade, protocol)
	h.Fields[len(h.Fields)-1].Hop = true
	if len(key) > 0 && h.First(webSocketAccept) < 0 {
		h.AddName(webSocketAccept, acceptOf(key))
	}
}

// acceptOf is how a server shows that it speaks WebSocket (RFC 6455 section 4.2.2), which HTTP/2 does without.
func acceptOf(key []byte) []byte {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	sum := sha1.Sum(append(append([]byte(nil), key...), guid...)) //nolint:gosec // the protocol wants it; nothing is secret here
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}

// webSocketKey makes the nonce that HTTP/1 servers expect.
func webSocketKey() []byte {
	nonce := binary.LittleEndian.AppendUint64(nil, rand.Uint64())
	return base64.StdEncoding.AppendEncode(nil, binary.LittleEndian.AppendUint64(nonce, rand.Uint64()))
}

var (
	methodGET       = []byte("GET")
	methodCONNECT   = []byte("CONNECT")
	webSocketAccept = header.NewName("sec-websocket-accept")
)

// responseHead fills h with a stream's response.
func responseHead(h *http1.Head, in *http2.Head, ended bool) {
	h.Reset()
	h.Status = in.Status
	copyFields(h, in)
	setFraming(h, in, ended)
}

func copyFields(h *http1.Head, in *http2.Head) {
	h.Minor = 1
	for i := range in.Fields {
		f := &in.Fields[i]
		if f.Removed {
			continue
		}
		h.AddID(f.ID, f.Name, f.Value)
		if f.ID == header.TE {
			h.Fields[len(h.Fields)-1].Hop = true
		}
	}
}

// setFraming says how HTTP/1 would frame the body.
func setFraming(h *http1.Head, in *http2.Head, ended bool) {
	h.ContentLength = in.ContentLength
	switch {
	case ended || in.ContentLength == 0:
		h.Framing = http1.FramingNone
	case in.ContentLength > 0:
		h.Framing = http1.FramingLength
	default:
		h.Framing = http1.FramingChunked
	}
}

// scheme keeps to the two that a Head knows.
func scheme(s []byte) string {
	if string(s) == "https" {
		return "https"
	}
	return "http"
}

func method(name []byte) http1.Method {
	switch string(name) {
	case "GET":
		return http1.MethodGet
	case "HEAD":
		return http1.MethodHead
	case "POST":
		return http1.MethodPost
	case "PUT":
		return http1.MethodPut
	case "DELETE":
		return http1.MethodDelete
	case "CONNECT":
		return http1.MethodConnect
	case "OPTIONS":
		return http1.MethodOptions
	case "TRACE":
		return http1.MethodTrace
	case "PATCH":
		return http1.MethodPatch
	}
	return http1.MethodOther
}

// requestFields fills out, for sending, with a request's head.
func requestFields(out *http2.Head, h *http1.Head, defaultScheme string) {
	out.Reset()
	out.Method, out.Authority = h.MethodName, h.Authority
	if h.Upgrade {
		out.Method, out.Protocol = methodCONNECT, h.Get(header.Upgrade)
	}
	if h.Method != http1.MethodConnect {
		out.Path = h.Path
		out.Scheme = schemeBytes(h.Scheme, defaultScheme)
	}
	fields(out, h)
	if h.TrailersOK {
		out.AddKnown(header.TE, trailersToken)
	}
}

var (
	trailersToken = []byte("trailers")
	schemeHTTP    = []byte("http")
	schemeHTTPS   = []byte("https")
)

func schemeBytes(scheme, otherwise string) []byte {
	if scheme == "" {
		scheme = otherwise
	}
	if scheme == "https" {
		return schemeHTTPS
	}
	return schemeHTTP
}

// responseFields fills out, for sending, with a response's head.
func responseFields(out *http2.Head, h *http1.Head) {
	out.Reset()
	out.Status = h.Status
	fields(out, h)
}

// fields copies what concerns both ends: HTTP/2 has no fields about the
// connection, names its target in pseudo fields, and frames by itself.
func fields(out *http2.Head, h *http1.Head) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Removed || f.Hop {
			continue
		}
		switch f.ID {
		case header.Host, header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding,
			header.Upgrade, header.HTTP2Settings, header.TE:
			continue
		}
		out.AddID(f.ID, f.Name, f.Value)
	}
}

// trailerFields fills out with trailers.
func trailerFields(out *http2.Head, l *header.List) {
	out.Reset()
	for i := range l.Fields {
		if f := &l.Fields[i]; !f.Removed && !f.Hop {
			out.AddID(f.ID, f.Name, f.Value)
		}
	}
}

// addTrailers adds a peer's trailers to l.
func addTrailers(l *header.List, in *http2.Head) {
	if in == nil {
		return
	}
	for i := range in.Fields {
		l.AddID(in.Fields[i].ID, in.Fields[i].Name, in.Fields[i].Value)
	}
}
