package tlsconn

import "crypto/tls"

// offer is what a ClientHello says of resumption, which crypto/tls doesn't tell.
type offer struct {
	ticket []byte // the first one, a view into the hello
	// ephemeral says that a resumed session may agree on a new key, x25519 that the client has sent its half of that.
	ephemeral, x25519 bool
}

// Numbers of TLS 1.3 (RFC 8446).
const (
	recordHandshake  = 22
	messageHello     = 1
	extPreSharedKey  = 41
	extPSKModes      = 45
	extKeyShare      = 51
	pskWithEphemeral = 1
	recordHead       = 5
	messageHead      = 4
)

// parseOffer reads a ClientHello that is whole in the first record of b. ok is false for everything else: then nobody
// wants to know. crypto/tls has parsed the same bytes before, and decides what becomes of them.
func parseOffer(b []byte) (o offer, ok bool) {
	r := octets{b: b}
	kind := r.uint8()
	r.take(2)
	r = octets{b: r.vector(2), bad: r.bad}
	message := r.uint8()
	r = octets{b: r.vector(3), bad: r.bad}
	r.take(2 + 32) // version and random
	r.vector(1)    // session id
	r.vector(2)    // cipher suites
	r.vector(1)    // compression methods
	extensions := octets{b: r.vector(2), bad: r.bad}
	if r.bad || kind != recordHandshake || message != messageHello {
		return offer{}, false
	}
	for len(extensions.b) > 0 {
		kind := extensions.uint16()
		body := octets{b: extensions.vector(2)}
		switch kind {
		case extKeyShare:
			o.keyShares(octets{b: body.vector(2)})
		case extPSKModes:
			for _, mode := range body.vector(1) {
				o.ephemeral = o.ephemeral || mode == pskWithEphemeral
			}
		case extPreSharedKey:
			identities := octets{b: body.vector(2)}
			o.ticket = identities.vector(2)
		}
	}
	return o, !extensions.bad
}

func (o *offer) keyShares(list octets) {
	for len(list.b) > 0 {
		group := list.uint16()
		if list.vector(2); !list.bad && tls.CurveID(group) == tls.X25519 {
			o.x25519 = true
		}
	}
}

// octets takes TLS's presentation language apart. After a short read it is bad and empty.
type octets struct {
	b   []byte
	bad bool
}

func (r *octets) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

// number is one of so many bytes.
func (r *octets) number(size int) int {
	n := 0
	for _, c := range r.take(size) {
		n = n<<8 | int(c)
	}
	return n
}

func (r *octets) uint8() int  { return r.number(1) }
func (r *octets) uint16() int { return r.number(2) }

// vector has its length before it, in a number of so many bytes.
func (r *octets) vector(size int) []byte { return r.take(r.number(size)) }
