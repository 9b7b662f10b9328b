package tlsconn

import (
	"crypto/tls"

	"lateen.dev/lateen/wire/presentation"
)

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
)

// parseOffer reads a ClientHello that is whole in the first record of b. ok is false for everything else: then nobody
// wants to know. crypto/tls has parsed the same bytes before, and decides what becomes of them.
func parseOffer(b []byte) (o offer, ok bool) {
	record := presentation.Of(b)
	kind := record.Uint8()
	record.Take(2) // version
	message := record.Within()
	name := message.Uint8()
	r := presentation.Of(message.Vector24())
	r.Take(2 + 32) // version and random
	r.Vector8()    // session id
	r.Vector16()   // cipher suites
	r.Vector8()    // compression methods
	extensions := r.Within()
	if message.Bad() || extensions.Bad() || kind != recordHandshake || name != messageHello {
		return offer{}, false
	}
	for extensions.More() {
		kind := extensions.Uint16()
		body := extensions.Within()
		switch kind {
		case extKeyShare:
			o.keyShares(body.Within())
		case extPSKModes:
			for _, mode := range body.Vector8() {
				o.ephemeral = o.ephemeral || mode == pskWithEphemeral
			}
		case extPreSharedKey:
			identities := body.Within()
			o.ticket = identities.Vector16()
		}
	}
	return o, !extensions.Bad()
}

func (o *offer) keyShares(list presentation.Reader) {
	for list.More() {
		group := list.Uint16()
		if list.Vector16(); !list.Bad() && tls.CurveID(group) == tls.X25519 {
			o.x25519 = true
		}
	}
}
