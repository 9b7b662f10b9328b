package sniff

// Hello is what a ClientHello tells before any key is agreed on.
type Hello struct {
	// SNI is the server name in lower case, or "".
	SNI string
	// ALPN lists the protocols that the client offers, in its order.
	ALPN []string
}

// HelloStatus is the outcome of ParseHello.
type HelloStatus uint8

// The outcomes.
const (
	HelloBad   HelloStatus = iota // not a ClientHello
	HelloShort                    // the beginning of one
	HelloOK
)

// Numbers of TLS (RFC 8446, RFC 6066, RFC 7301).
const (
	recordHandshake  = 22
	messageHello     = 1
	extServerName    = 0
	extALPN          = 16
	maxRecord        = 16 << 10
	recordHeaderSize = 5
	maxALPN          = 64
)

// ParseHello parses the TLS records at the beginning of b for a ClientHello. The message may be spread over several
// records. It looks at nothing behind MaxBytes.
func ParseHello(b []byte, h *Hello) HelloStatus {
	*h = Hello{}
	msg, status := handshakeMessage(b)
	if status != HelloOK {
		return status
	}
	r := reader{b: msg}
	r.skip(2 + 32) // version and random
	r.vector8()    // session id
	r.vector16()   // cipher suites
	r.vector8()    // compression methods
	if r.bad {
		return HelloBad
	}
	if len(r.b) == 0 {
		return HelloOK // no extensions
	}
	ext := reader{b: r.vector16()}
	if r.bad || len(r.b) != 0 || !ext.extensions(h) {
		*h = Hello{}
		return HelloBad
	}
	return HelloOK
}

// handshakeMessage returns the body of the first handshake message: a view if one record holds it, a copy if not.
func handshakeMessage(b []byte) ([]byte, HelloStatus) {
	var joined []byte
	for {
		if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
			return nil, HelloBad
		}
		if len(b) < recordHeaderSize {
			return nil, HelloShort
		}
		n := int(b[3])<<8 | int(b[4])
		if n == 0 || n > maxRecord {
			return nil, HelloBad
		}
		part := b[recordHeaderSize:]
		whole := len(part) >= n
		if whole {
			part = part[:n]
		}
		data := part
		if joined != nil {
			joined = append(joined, part...)
			data = joined
		}
		if msg, status := message(data); status != HelloShort {
			return msg, status
		}
		if !whole {
			return nil, HelloShort
		}
		if joined == nil {
			joined = append(make([]byte, 0, 2*n), part...)
		}
		b = b[recordHeaderSize+n:]
	}
}

// message returns the body of the handshake message at the beginning of data, if all of it is there.
func message(data []byte) ([]byte, HelloStatus) {
	if len(data) > 0 && data[0] != messageHello {
		return nil, HelloBad
	}
	if len(data) < 4 {
		return nil, HelloShort
	}
	n := int(data[1])<<16 | int(data[2])<<8 | int(data[3])
	if n > MaxBytes {
		return nil, HelloBad
	}
	if len(data) < 4+n {
		return nil, HelloShort
	}
	return data[4 : 4+n], HelloOK
}

// reader takes TLS's presentation language apart. After a short read it is bad and everything else is empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) uint8() int {
	if p := r.take(1); p != nil {
		return int(p[0])
	}
	return 0
}

func (r *reader) uint16() int {
	if p := r.take(2); p != nil {
		return int(p[0])<<8 | int(p[1])
	}
	return 0
}

func (r *reader) vector8() []byte  { return r.take(r.uint8()) }
func (r *reader) vector16() []byte { return r.take(r.uint16()) }

// extensions reads the extensions that matter and says whether all are well formed. An extension that matters and
// comes twice is an error, since two readers could choose differently.
func (r *reader) extensions(h *Hello) bool {
	var seenName, seenALPN bool
	for len(r.b) > 0 {
		kind := r.uint16()
		body := reader{b: r.vector16()}
		if r.bad {
			return false
		}
		switch kind {
		case extServerName:
			if seenName || !body.serverName(h) {
				return false
			}
			seenName = true
		case extALPN:
			if seenALPN || !body.alpn(h) {
				return false
			}
			seenALPN = true
		}
	}
	return !r.bad
}

func (r *reader) serverName(h *Hello) bool {
	list := reader{b: r.vector16()}
	if r.bad || len(r.b) != 0 {
		return false
	}
	for len(list.b) > 0 {
		kind, name := list.uint8(), list.vector16()
		if list.bad {
			return false
		}
		if kind != 0 {
			continue
		}
		if h.SNI != "" || !validName(name) {
			return false
		}
		h.SNI = lowerASCII(name)
	}
	return true
}

func (r *reader) alpn(h *Hello) bool {
	list := reader{b: r.vector16()}
	if r.bad || len(r.b) != 0 || len(list.b) == 0 {
		return false
	}
	for len(list.b) > 0 {
		name := list.vector8()
		if list.bad || len(name) == 0 || len(h.ALPN) == maxALPN {
			return false
		}
		h.ALPN = append(h.ALPN, string(name))
	}
	return true
}

// validName accepts the bytes of host names, and the underscore of Istio's own names.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > 255 {
		return false
	}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}

func lowerASCII(b []byte) string {
	low := make([]byte, len(b))
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	return string(low)
}
