package http1

import "lateen.dev/lateen/wire/header"

// Method is a well-known method, or MethodOther.
type Method uint8

// The well-known methods.
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodConnect
	MethodOptions
	MethodTrace
	MethodPatch
)

// Form is the form of a request target (RFC 9112 section 3.2).
type Form uint8

// The four forms.
const (
	OriginForm Form = iota
	AbsoluteForm
	AuthorityForm
	AsteriskForm
)

// Framing says how the end of a message's body is found.
type Framing uint8

// The framings.
const (
	// FramingNone: there is no body.
	FramingNone Framing = iota
	// FramingLength: Head.ContentLength bytes, at least 1.
	FramingLength
	// FramingChunked: the chunked transfer coding.
	FramingChunked
	// FramingClose: until the sender closes, only in responses.
	FramingClose
	// FramingTunnel: what follows is no HTTP any more: 101, or a 2xx to CONNECT, only in responses.
	FramingTunnel
)

// Head is the parsed head of a request or a response. Its byte slices are views into the parsed buffer: they are
// valid until that buffer is changed, and may be replaced before the head is written out. Reuse one Head for many
// messages; Parse resets it.
type Head struct {
	header.List

	// Method and MethodName are a request's method.
	Method     Method
	MethodName []byte
	// Target is the request target as received. Path is what remains of it for origin form: path and query, or "*";
	// empty for CONNECT.
	Target, Path []byte
	// Authority is the host and port of the target if it has one, else the value of Host; nil if a 1.0 request has
	// neither. It is validated, and may be empty only if Host is. A proxy must ignore Host where the target has an
	// authority (RFC 9112 section 3.2.2): AppendRequest writes Authority as Host, so that both agree behind us.
	Authority []byte
	// Scheme is "http" or "https" if the target has absolute form, in lower case; else empty.
	Scheme string
	Form   Form

	// Status and Phrase are a response's.
	Status int
	Phrase []byte

	// Minor is the minor version, 0 or 1.
	Minor uint8
	// Close says that the connection ends with this message: Connection: close, or HTTP/1.0 without keep-alive.
	Close bool
	// Upgrade says that the request asks for, or the 101 response grants, the protocol in the Upgrade field.
	Upgrade bool
	// ExpectContinue says that the client waits for a 100 before it sends the body.
	ExpectContinue bool
	// TrailersOK says that the peer accepts trailers (TE: trailers).
	TrailersOK bool

	// Framing and ContentLength describe the body. ContentLength is -1 if it isn't known. A response to HEAD, and a
	// 304, have FramingNone and may still announce the length that a GET would have got.
	Framing       Framing
	ContentLength int64

	// Size is the length of the head in the buffer.
	Size int

	// scanned is how much of an incomplete head has been seen to hold no further end of line.
	scanned int
}

// Reset forgets the message. Parsing resets by itself, except that an incomplete head's progress is kept: Reset is
// needed when bytes of another connection come next.
func (h *Head) Reset() {
	h.scanned = 0
	h.clear()
}

func (h *Head) clear() {
	h.List.Reset()
	h.Method, h.MethodName = MethodOther, nil
	h.Target, h.Path, h.Authority, h.Scheme, h.Form = nil, nil, nil, "", OriginForm
	h.Status, h.Phrase = 0, nil
	h.Minor, h.Close, h.Upgrade, h.ExpectContinue, h.TrailersOK = 1, false, false, false, false
	h.Framing, h.ContentLength, h.Size = FramingNone, -1, 0
}

// PathOnly returns Path without its query.
func (h *Head) PathOnly() []byte {
	for i, c := range h.Path {
		if c == '?' {
			return h.Path[:i]
		}
	}
	return h.Path
}

// HasBody says whether any bytes of a body follow the head.
func (h *Head) HasBody() bool { return h.Framing != FramingNone }
