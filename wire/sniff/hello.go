package sniff

import "lateen.dev/lateen/wire/presentation"

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
	r := presentation.Of(msg)
	r.Take(2 + 32) // version and random
	r.Vector8()    // session id
	r.Vector16()   // cipher suites
	r.Vector8()    // compression methods
	if r.Bad() {
		return HelloBad
	}
	if !r.More() {
		return HelloOK // no extensions
	}
	all := r.Within()
	if r.Bad() || r.More() || !h.extensions(&all) {
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

// extensions reads the extensions that matter and says whether all are well formed. An extension that matters and
// comes twice is an error, since two readers could choose differently.
func (h *Hello) extensions(r *presentation.Reader) bool {
	var seenName, seenALPN bool
	for r.More() {
		kind := r.Uint16()
		body := r.Within()
		if r.Bad() {
			return false
		}
		switch kind {
		case extServerName:
			if seenName || !h.serverName(&body) {
				return false
			}
			seenName = true
		case extALPN:
			if seenALPN || !h.alpn(&body) {
				return false
			}
			seenALPN = true
		}
	}
	return !r.Bad()
}

func (h *Hello) serverName(r *presentation.Reader) bool {
	list := r.Within()
	if r.Bad() || r.More() {
		return false
	}
	for list.More() {
		kind, name := list.Uint8(), list.Vector16()
		if list.Bad() {
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

func (h *Hello) alpn(r *presentation.Reader) bool {
	list := r.Within()
	if r.Bad() || r.More() || !list.More() {
		return false
	}
	for list.More() {
		name := list.Vector8()
		if list.Bad() || len(name) == 0 || len(h.ALPN) == maxALPN {
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
