package http1

import "lateen.dev/lateen/wire/header"

// hopByHop marks the fields that end at this hop (RFC 9110 section 7.6.1), named by Connection or not.
var hopByHop = [256]bool{
	header.Connection:      true,
	header.KeepAlive:       true,
	header.ProxyConnection: true,
	header.TE:              true,
	header.Upgrade:         true,
	header.HTTP2Settings:   true,
}

// endToEnd marks the fields that a client can't have removed by naming them in Connection: those that frame and route
// the message, or that tell the server who sent it.
var endToEnd = [256]bool{
	header.Host:                  true,
	header.ContentLength:         true,
	header.ContentType:           true,
	header.CacheControl:          true,
	header.Expect:                true,
	header.Authorization:         true,
	header.Cookie:                true,
	header.Forwarded:             true,
	header.XForwardedFor:         true,
	header.XForwardedHost:        true,
	header.XForwardedProto:       true,
	header.XForwardedPort:        true,
	header.XForwardedClientCert:  true,
	header.XRealIP:               true,
	header.XRequestID:            true,
	header.XEnvoyExternalAddress: true,
	header.XEnvoyInternal:        true,
	header.Traceparent:           true,
	header.Tracestate:            true,
}

// unique marks the fields of which a message may have only one, and the reason for rejecting a second.
var unique = [256]Reason{
	header.Host:             DuplicateHost,
	header.ContentLength:    DuplicateContentLength,
	header.TransferEncoding: DuplicateTransferEncoding,
}

// finishRequest checks what the fields of a request say together.
func (h *Head) finishRequest() Reason {
	if r := h.host(); r != 0 {
		return r
	}
	if r := h.connection(); r != 0 {
		return r
	}
	if r := h.lengths(); r != 0 {
		return r
	}
	if h.Method == MethodConnect && h.HasBody() {
		return BodyNotAllowed
	}
	if expect := h.Get(header.Expect); expect != nil {
		if !header.EqualFold(expect, "100-continue") {
			return BadExpect
		}
		// RFC 9110 section 10.1.1: ignored from HTTP/1.0 clients, and pointless without a body.
		h.ExpectContinue = h.Minor == 1 && h.HasBody()
	}
	return 0
}

// host finds the authority: the target's, if it has one, goes before Host.
func (h *Head) host() Reason {
	host := h.Get(header.Host)
	if host == nil {
		if h.Minor == 1 {
			return MissingHost
		}
		return 0
	}
	if !ValidAuthority(host) {
		return BadAuthority
	}
	if h.Authority == nil {
		h.Authority = host
	}
	return 0
}

// connection reads the options of Connection and marks the fields it names.
func (h *Head) connection() Reason {
	if te := h.Get(header.TE); te != nil {
		h.TrailersOK = header.HasToken(te, "trailers")
	}
	if !h.Has(header.Connection) {
		return 0
	}
	var o options
	for i := range h.Fields {
		if h.Fields[i].ID == header.Connection {
			if r := h.connectionOptions(h.Fields[i].Value, &o); r != 0 {
				return r
			}
		}
	}
	switch {
	case o.close:
		h.Close = true
	case o.keepAlive:
		h.Close = false
	}
	// RFC 9110 section 7.8: Upgrade is ignored in HTTP/1.0.
	h.Upgrade = o.upgrade && h.Minor == 1 && len(h.Get(header.Upgrade)) > 0
	return 0
}

// options are the connection options that mean something to us.
type options struct{ close, keepAlive, upgrade bool }

func (h *Head) connectionOptions(list []byte, o *options) Reason {
	for len(list) > 0 {
		var item []byte
		item, list = header.NextToken(list)
		switch {
		case len(item) == 0:
		case header.EqualFold(item, "close"):
			o.close = true
		case header.EqualFold(item, "keep-alive"):
			o.keepAlive = true
		case header.EqualFold(item, "upgrade"):
			o.upgrade = true
		case !header.ValidName(item):
			return BadConnectionOption
		default:
			if r := h.nominated(item); r != 0 {
				return r
			}
		}
	}
	return 0
}

// nominated marks the fields with a name that Connection lists.
func (h *Head) nominated(name []byte) Reason {
	id := header.Classify(name)
	if endToEnd[id] {
		return BadConnectionOption
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID == id && (id != header.Other || sameName(f.Name, name)) {
			f.Hop = true
		}
	}
	return 0
}

// sameName compares two tokens without regard to case.
func sameName(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

// lengths reads Content-Length and Transfer-Encoding, which must not both be there.
func (h *Head) lengths() Reason {
	cl, te := h.Get(header.ContentLength), h.Get(header.TransferEncoding)
	if cl != nil {
		n, ok := parseLength(cl)
		if !ok {
			return BadContentLength
		}
		h.ContentLength = n
		if n > 0 {
			h.Framing = FramingLength
		}
	}
	if te != nil {
		switch {
		case cl != nil:
			return LengthAndEncoding
		case h.Minor == 0:
			return TransferEncodingIn10
		case !header.EqualFold(te, "chunked"):
			return BadTransferEncoding
		}
		h.Framing = FramingChunked
	}
	return 0
}

// parseLength parses digits, nothing else. Leading zeros are accepted, and vanish when the head is written out.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range v {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), n < 1<<63
}

// finishResponse checks what the fields of a response say together, and decides about its body (RFC 9112 section
// 6.3).
func (h *Head) finishResponse(method Method) Reason {
	if r := h.connection(); r != 0 {
		return r
	}
	if r := h.lengths(); r != 0 {
		return r
	}
	bodiless := h.Status < 200 || h.Status == 204 || method == MethodConnect && h.Status < 300
	if bodiless && h.HasBody() {
		return BodyNotAllowed
	}
	switch {
	case h.Status == 101 || method == MethodConnect && h.Status/100 == 2:
		h.Framing = FramingTunnel
	case bodiless || h.Status == 304 || method == MethodHead:
		h.Framing = FramingNone
	case h.Framing == FramingNone && h.ContentLength < 0:
		h.Framing = FramingClose
		h.Close = true
	}
	return 0
}
