package http2

import (
	"bytes"
	"fmt"
	"strconv"

	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// Head is the header section of a request or a response.
type Head struct {
	header.List
	// A request's pseudo fields. Protocol is that of an extended CONNECT.
	Method, Scheme, Authority, Path, Protocol []byte
	// Status is a response's.
	Status int
	// ContentLength is -1 if none is declared.
	ContentLength int64

	pseudoEnded bool
	statusSeen  bool
	size        uint32
}

// Reset empties the head.
func (h *Head) Reset() {
	h.List.Reset()
	h.Method, h.Scheme, h.Authority, h.Path, h.Protocol = nil, nil, nil, nil, nil
	h.Status, h.ContentLength = 0, -1
	h.pseudoEnded, h.statusSeen, h.size = false, false, 0
}

// malformed is a header that RFC 9113 section 8 calls so.
func malformed(format string, args ...any) error {
	return &StreamError{Code: ProtocolError, Reason: "malformed header: " + fmt.Sprintf(format, args...)}
}

// addPseudo takes a pseudo field.
func (h *Head) addPseudo(name string, value []byte) error {
	if h.pseudoEnded {
		return malformed("%.20q after a regular field", name)
	}
	var to *[]byte
	switch name {
	case ":method":
		to = &h.Method
	case ":scheme":
		to = &h.Scheme
	case ":authority":
		to = &h.Authority
	case ":path":
		to = &h.Path
	case ":protocol":
		to = &h.Protocol
	case ":status":
		if h.statusSeen || len(value) != 3 {
			return malformed("status")
		}
		n, err := strconv.ParseUint(string(value), 10, 16)
		if err != nil || n < 100 {
			return malformed("status")
		}
		h.Status, h.statusSeen = int(n), true
		return nil
	default:
		return malformed("%.20q is no pseudo field", name)
	}
	if *to != nil {
		return malformed("two %s", name)
	}
	*to = value
	return nil
}

// addField takes a regular field, whose name must be in lower case.
func (h *Head) addField(name, value []byte) error {
	h.pseudoEnded = true
	if !validName(name) {
		return malformed("the name %.40q", name)
	}
	if !header.ValidValue(value) {
		return malformed("the value of %.40q", name)
	}
	id := header.Classify(name)
	switch id {
	case header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding, header.Upgrade, header.HTTP2Settings:
		return malformed("%s belongs to HTTP/1", id)
	case header.TE:
		if string(value) != "trailers" {
			return malformed("te is %.20q", value)
		}
	case header.ContentLength:
		n, err := strconv.ParseUint(string(value), 10, 63)
		if err != nil || value[0] == '+' || h.ContentLength >= 0 {
			return malformed("content-length") // twice is once too often, even if it is the same
		}
		h.ContentLength = int64(n)
	}
	h.AddID(id, name, value)
	return nil
}

// validName is header.ValidName without capital letters.
func validName(name []byte) bool {
	for _, c := range name {
		if !header.TokenByte[c] || (c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return len(name) > 0
}

// checkRequest holds a complete request header against RFC 9113 section 8.3.1.
func (h *Head) checkRequest(extendedConnect bool) error {
	if h.statusSeen || len(h.Method) == 0 || !header.ValidName(h.Method) {
		return malformed("the method")
	}
	if err := h.checkAuthority(); err != nil {
		return err
	}
	connect := string(h.Method) == "CONNECT"
	if h.Protocol != nil && (!connect || !extendedConnect || !header.ValidName(h.Protocol)) {
		return malformed(":protocol")
	}
	if connect && h.Protocol == nil {
		if h.Scheme != nil || h.Path != nil || len(h.Authority) == 0 {
			return malformed("CONNECT has an authority, and neither scheme nor path")
		}
		return nil
	}
	if len(h.Scheme) == 0 || !validScheme(h.Scheme) {
		return malformed("the scheme")
	}
	if !validPath(h.Path) && (string(h.Path) != "*" || string(h.Method) != "OPTIONS") {
		return malformed("the path")
	}
	return nil
}

// checkAuthority makes :authority and host agree, so that nobody behind us can
// read the target differently.
func (h *Head) checkAuthority() error {
	hosts := 0
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == header.Host && !f.Removed {
			hosts++
		}
	}
	if hosts > 1 {
		return malformed("%d hosts", hosts)
	}
	if hosts == 1 {
		host := h.Get(header.Host)
		if h.Authority == nil {
			h.Authority = host
		} else if !bytes.EqualFold(host, h.Authority) {
			return malformed("host differs from :authority")
		}
		h.Remove(header.Host)
	}
	if !http1.ValidAuthority(h.Authority) {
		return malformed("the authority")
	}
	return nil
}

func validScheme(s []byte) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return true
}

// validPath accepts origin form without bytes that end a request line.
func validPath(p []byte) bool {
	if len(p) == 0 || p[0] != '/' {
		return false
	}
	for _, c := range p {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// joinCookies makes one field of several, since HTTP/1 has one (RFC 9113
// section 8.2.3).
func (h *Head) joinCookies(name header.Name) {
	first := h.First(name)
	if first < 0 || h.Next(first, name) < 0 {
		return
	}
	var joined []byte
	for i := first; i >= 0; i = h.Next(i, name) {
		if joined != nil {
			joined = append(joined, "; "...)
		}
		joined = append(joined, h.Fields[i].Value...)
	}
	h.Set(name, joined)
}
