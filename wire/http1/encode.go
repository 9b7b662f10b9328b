package http1

import (
	"strconv"

	"lateen.dev/lateen/wire/header"
)

const crlfText = "\r\n"

// AppendRequest appends the request line and the fields that are to be forwarded, without the empty line that ends a
// head: append more fields, then AppendEnd. Host is written from h.Authority, and the framing fields from h.Framing
// and h.ContentLength, whatever the list says about them. Connection and Upgrade are written only if h.Upgrade is
// set. Names keep their case, values lose the white space around them.
func AppendRequest(dst []byte, h *Head) []byte {
	dst = append(dst, h.MethodName...)
	dst = append(dst, ' ')
	if h.Method == MethodConnect {
		dst = append(dst, h.Authority...)
	} else {
		dst = append(dst, h.Path...)
	}
	dst = append(dst, " HTTP/1.1\r\nhost: "...)
	dst = append(dst, h.Authority...)
	dst = append(dst, crlfText...)
	dst = appendFields(dst, h)
	// A length of zero is kept: servers may demand one with POST.
	if h.Framing != FramingChunked && h.ContentLength >= 0 {
		return appendLength(dst, h.ContentLength)
	}
	return appendFraming(dst, h)
}

// AppendResponse appends the status line and the fields that are to be forwarded, as AppendRequest does.
func AppendResponse(dst []byte, h *Head) []byte {
	dst = AppendStatusLine(dst, h.Status, h.Phrase)
	dst = appendFields(dst, h)
	if h.Framing != FramingChunked && h.ContentLength >= 0 && h.Framing != FramingTunnel && !noLength(h.Status) {
		return appendLength(dst, h.ContentLength)
	}
	return appendFraming(dst, h)
}

// noLength says whether a response with this status must not have Content-Length (RFC 9110 section 8.6).
func noLength(status int) bool { return status < 200 || status == 204 }

func appendFraming(dst []byte, h *Head) []byte {
	if h.Framing == FramingChunked {
		return append(dst, "transfer-encoding: chunked\r\n"...)
	}
	return dst
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "content-length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, crlfText...)
}

// written marks the fields that AppendRequest and AppendResponse write by themselves. Host in a response is passed on
// like any other field.
var written = [256]bool{header.ContentLength: true, header.TransferEncoding: true}

func appendFields(dst []byte, h *Head) []byte {
	request := h.Status == 0
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Hop || f.Removed || written[f.ID] || request && f.ID == header.Host {
			continue
		}
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, crlfText...)
	}
	if h.Upgrade {
		dst = append(dst, "connection: upgrade\r\nupgrade: "...)
		dst = append(dst, h.Get(header.Upgrade)...)
		dst = append(dst, crlfText...)
	}
	return dst
}

// AppendField appends one field. Values from outside must have been checked with header.ValidValue.
func AppendField[N, V []byte | string](dst []byte, name N, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, crlfText...)
}

// AppendClose appends Connection: close.
func AppendClose(dst []byte) []byte { return append(dst, "connection: close\r\n"...) }

// AppendKeepAlive appends Connection: keep-alive, which an HTTP/1.0 client needs to hear.
func AppendKeepAlive(dst []byte) []byte { return append(dst, "connection: keep-alive\r\n"...) }

// AppendEnd appends the empty line that ends a head.
func AppendEnd(dst []byte) []byte { return append(dst, crlfText...) }

// AppendStatusLine appends a status line. With an empty phrase it takes the usual one.
func AppendStatusLine(dst []byte, status int, phrase []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10), ' ')
	if len(phrase) > 0 {
		dst = append(dst, phrase...)
	} else {
		dst = append(dst, StatusText(status)...)
	}
	return append(dst, crlfText...)
}

// AppendChunk appends a chunk, or nothing if payload is empty, since an empty chunk would end the body.
func AppendChunk(dst, payload []byte) []byte {
	if len(payload) == 0 {
		return dst
	}
	dst = AppendChunkSize(dst, len(payload))
	dst = append(dst, payload...)
	return append(dst, crlfText...)
}

// AppendChunkSize appends the line that begins a chunk of n bytes, n > 0. The payload and AppendEnd must follow.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, crlfText...)
}

// AppendLastChunk appends the last chunk without trailers.
func AppendLastChunk(dst []byte) []byte { return append(dst, "0\r\n\r\n"...) }

// AppendTrailers appends the last chunk with trailers. Fields that must not be trailers are left out.
func AppendTrailers(dst []byte, l *header.List) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range l.Fields {
		if f := &l.Fields[i]; !f.Removed && !f.Hop && !forbiddenTrailer[f.ID] {
			dst = AppendField(dst, f.Name, f.Value)
		}
	}
	return append(dst, crlfText...)
}

// StatusText returns the usual phrase of a status, or "".
func StatusText(status int) string {
	if status < 0 || status >= len(statusTexts) {
		return ""
	}
	return statusTexts[status]
}

var statusTexts = [600]string{
	100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints",
	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
	205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large",
	414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
	421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked", 424: "Failed Dependency",
	425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
	507: "Insufficient Storage", 508: "Loop Detected", 510: "Not Extended", 511: "Network Authentication Required",
}
