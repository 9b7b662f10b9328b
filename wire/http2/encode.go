package http2

import (
	"strconv"
	"unsafe"

	"lateen.dev/lateen/wire/header"
)

// view reads bytes as a string without a copy, for functions that don't keep it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf reads a string as bytes that nobody may change.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func (c *Conn) encodePseudo(name string, value []byte) {
	if value != nil {
		c.enc.field(bytesOf(name), value, name == ":path" && len(value) > maxIndexedValue)
	}
}

func (c *Conn) encodeStatus(status int) {
	c.enc.field(bytesOf(":status"), bytesOf(statusText(status)), false)
}

// statusText avoids formatting the usual ones.
func statusText(status int) string {
	switch status {
	case 200:
		return "200"
	case 204:
		return "204"
	case 404:
		return "404"
	case 503:
		return "503"
	}
	return strconv.Itoa(status)
}

// maxIndexedValue is the longest value that goes into the dynamic table.
const maxIndexedValue = 64

// encodeField writes a field: indexed if it is likely to come again, else as a
// literal that neither side keeps, so that ids and sizes don't wash the table.
func (c *Conn) encodeField(f *header.Field) {
	if f.Removed || f.Hop {
		return
	}
	name := lowerName(f)
	passing := len(f.Value) > maxIndexedValue && !recurring(f.ID)
	if singular(f.ID) && len(f.Value) > 1 { // single digits come again
		// A name that no table has is put into ours once, with the value that it
		// happens to have, for the fields that follow to refer to.
		passing = passing || c.enc.nameIndex(name) != 0
	}
	c.enc.field(name, f.Value, passing)
}

// lowerName is the name in lower case, as HTTP/2 wants it: HTTP/1 keeps the
// case that was received.
func lowerName(f *header.Field) []byte {
	if f.ID != header.Other {
		return bytesOf(f.ID.String())
	}
	for i, ch := range f.Name {
		if ch >= 'A' && ch <= 'Z' {
			lower := append([]byte(nil), f.Name...)
			for j := i; j < len(lower); j++ {
				if lower[j] >= 'A' && lower[j] <= 'Z' {
					lower[j] += 'a' - 'A'
				}
			}
			return lower
		}
	}
	return f.Name
}

// recurring names have long values that stay the same for a client or a proxy.
func recurring(id header.ID) bool {
	switch id {
	case header.XEnvoyPeerMetadata, header.XEnvoyPeerMetadataID, header.XForwardedClientCert, header.UserAgent:
		return true
	}
	return false
}

// singular names have another value in every message, or one that should not
// be remembered.
func singular(id header.ID) bool {
	switch id {
	case header.XRequestID, header.Traceparent, header.Tracestate, header.XB3TraceID, header.XB3SpanID, header.XB3ParentSpanID,
		header.B3, header.ContentLength, header.Authorization, header.ProxyAuthorization, header.Cookie,
		header.SetCookie, header.ETag, header.LastModified, header.GRPCMessage, header.GRPCStatusDetailsBin, header.GRPCTimeout,
		header.XEnvoyUpstreamServiceTime, header.XForwardedFor, header.SecWebsocketKey:
		return true
	}
	return false
}
