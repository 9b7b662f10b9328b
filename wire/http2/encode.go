package http2

import (
	"strconv"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"lateen.dev/lateen/wire/header"
)

// maxNames bounds the copies of names and values that the encoder's dynamic
// table may refer to.
const maxNames = 512

// view reads bytes as a string without a copy. The encoder keeps no reference
// to fields that it does not index, so this is safe for those.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf reads a string as bytes that nobody may change.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// keep returns a string of b's content that lives as long as needed. Recurring
// content is copied once.
func (c *Conn) keep(b []byte) string {
	if s, ok := c.names[view(b)]; ok {
		return s
	}
	if len(c.names) >= maxNames {
		clear(c.names)
	}
	s := string(b)
	c.names[s] = s
	return s
}

func (c *Conn) encodePseudo(name string, value []byte) {
	if value == nil {
		return
	}
	f := hpack.HeaderField{Name: name, Value: view(value), Sensitive: true}
	if name != ":path" || len(value) <= maxIndexedValue {
		f.Value, f.Sensitive = c.keep(value), false
	}
	c.encode(f)
}

func (c *Conn) encodeStatus(status int) {
	c.encode(hpack.HeaderField{Name: ":status", Value: statusText(status)})
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
	if singular(f.ID) || len(f.Value) > maxIndexedValue {
		c.encode(hpack.HeaderField{Name: c.keep(name), Value: view(f.Value), Sensitive: true})
		return
	}
	c.encode(hpack.HeaderField{Name: c.keep(name), Value: c.keep(f.Value)})
}

func (c *Conn) encode(f hpack.HeaderField) {
	// Writing to a bytes.Buffer cannot fail.
	_ = c.enc.WriteField(f)
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

// singular names have another value in every message, or one that should not
// be remembered.
func singular(id header.ID) bool {
	switch id {
	case header.XRequestID, header.Traceparent, header.Tracestate, header.XB3TraceID, header.XB3SpanID, header.XB3ParentSpanID,
		header.B3, header.ContentLength, header.Date, header.Authorization, header.ProxyAuthorization, header.Cookie,
		header.SetCookie, header.ETag, header.LastModified, header.GRPCMessage, header.GRPCStatusDetailsBin, header.GRPCTimeout,
		header.XEnvoyUpstreamServiceTime, header.XEnvoyExpectedRqTimeoutMS, header.XForwardedFor, header.SecWebsocketKey:
		return true
	}
	return false
}
