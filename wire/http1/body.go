package http1

import (
	"bytes"

	"lateen.dev/lateen/wire/header"
)

// Body follows the framing of one message's content. It is fed the bytes that follow the head, in pieces of any size,
// and says how many of them belong to the message. Use either Feed or Payload for a message, not both.
//
// Chunked framing is checked so strictly (plain hexadecimal sizes, CRLF only, no control byte in extensions, no
// trailer that could be taken for a framing field) that passing it on as it is can't mean anything else to others.
type Body struct {
	kind  Framing
	state chunkState
	done  bool
	// digits counts the digits of the chunk size that is being read.
	digits uint8
	// left is what remains of the content or of the current chunk.
	left int64
	// payload counts the payload so far.
	payload int64
	// ext and extMax bound the extensions; trailerMax bounds the trailer block.
	ext, extMax int
	trailerMax  int
	maxFields   int
	trailerSize int
	// trailer holds the unfinished line, or all lines if they are kept. It is reused from message to message.
	trailer  []byte
	lineFrom int
	count    int
	keep     bool
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkCR
	chunkLF
	trailerLine
)

// Reset prepares b for a message with this framing; length counts only for FramingLength. FramingTunnel is treated
// as FramingClose: everything belongs to it. keepTrailers keeps the trailers for Trailers.
func (b *Body) Reset(framing Framing, length int64, lim *Limits, keepTrailers bool) {
	trailer := b.trailer[:0]
	*b = Body{
		kind: framing, trailer: trailer, keep: keepTrailers, extMax: lim.extensionBytes(),
		trailerMax: lim.headBytes(), maxFields: lim.fields(),
	}
	switch framing {
	case FramingNone:
		b.done = true
	case FramingLength:
		b.left = length
		b.done = length <= 0
	}
}

// ResetFor is Reset with the framing of a head.
func (b *Body) ResetFor(h *Head, lim *Limits) { b.Reset(h.Framing, h.ContentLength, lim, false) }

// Done says whether the whole body has been seen.
func (b *Body) Done() bool { return b.done }

// Received is the number of payload bytes so far, without framing.
func (b *Body) Received() int64 { return b.payload }

// Remaining is the number of bytes still to come if that is known, else -1.
func (b *Body) Remaining() int64 {
	switch {
	case b.done:
		return 0
	case b.kind == FramingLength:
		return b.left
	}
	return -1
}

// End must be called when the sender has closed. It completes a close-delimited body, and is an error for one that
// isn't complete.
func (b *Body) End() error {
	if b.kind == FramingClose || b.kind == FramingTunnel {
		b.done = true
	}
	if !b.done {
		return UnexpectedEnd
	}
	return nil
}

// Feed says how many bytes at the beginning of p belong to the body, framing included: they can be passed on as they
// are. It consumes all of p unless the body ends in it. An error is always a Reason; nothing of p may be passed on
// then.
func (b *Body) Feed(p []byte) (n int, done bool, err error) {
	if b.kind != FramingChunked {
		n = b.plain(p)
		return n, b.done, nil
	}
	for n < len(p) && !b.done {
		if b.state == chunkData {
			n += b.plain(p[n:])
			continue
		}
		k, r := b.frame(p[n:])
		if r != 0 {
			return n, false, r
		}
		n += k
	}
	return n, b.done, nil
}

// Payload consumes n bytes of p and returns the piece of payload in them, a view of p that may be empty. Call it
// again with the rest until all of p is consumed or the body is done. An error is always a Reason.
func (b *Body) Payload(p []byte) (payload []byte, n int, err error) {
	if b.kind != FramingChunked {
		n = b.plain(p)
		return p[:n], n, nil
	}
	for n < len(p) && !b.done {
		if b.state == chunkData {
			k := b.plain(p[n:])
			return p[n : n+k], n + k, nil
		}
		k, r := b.frame(p[n:])
		if r != 0 {
			return nil, n, r
		}
		n += k
	}
	return nil, n, nil
}

// plain consumes payload.
func (b *Body) plain(p []byte) int {
	if b.done {
		return 0
	}
	n := len(p)
	if b.kind == FramingLength || b.kind == FramingChunked {
		if int64(n) >= b.left {
			n = int(b.left)
			if b.kind == FramingLength {
				b.done = true
			} else {
				b.state = chunkCR
			}
		}
		b.left -= int64(n)
	}
	b.payload += int64(n)
	return n
}

// frame consumes bytes of the chunked framing at the beginning of p, which isn't empty, up to the next payload.
func (b *Body) frame(p []byte) (int, Reason) {
	switch b.state {
	case chunkSize:
		return b.size(p)
	case chunkExt:
		return b.extension(p)
	case chunkSizeLF:
		if p[0] != '\n' {
			return 0, BadLineEnd
		}
		b.digits = 0
		b.state = chunkData
		if b.left == 0 {
			b.state = trailerLine
		}
		return 1, 0
	case chunkCR:
		if p[0] != '\r' {
			return 0, BadChunkEnd
		}
		b.state = chunkLF
		return 1, 0
	case chunkLF:
		if p[0] != '\n' {
			return 0, BadChunkEnd
		}
		b.state = chunkSize
		return 1, 0
	default:
		return b.trailers(p)
	}
}

// size reads the digits of a chunk's size and the byte that ends them.
func (b *Body) size(p []byte) (int, Reason) {
	for i, c := range p {
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			d = c | 0x20 - 'a' + 10
		case b.digits == 0:
			return 0, BadChunkSize
		case c == '\r':
			b.state = chunkSizeLF
			return i + 1, 0
		case c == ';':
			b.state = chunkExt
			return i + 1, 0
		default:
			return 0, BadChunkSize
		}
		// 16 digits, of which the first must leave the sign bit alone.
		if b.digits++; b.digits > 16 || b.left >= 1<<59 {
			return 0, BadChunkSize
		}
		b.left = b.left<<4 | int64(d)
	}
	return len(p), 0
}

// extension skips a chunk extension up to its CR.
func (b *Body) extension(p []byte) (int, Reason) {
	n := valueEnd(p, 0)
	if b.ext += n; b.ext > b.extMax {
		return 0, ChunkExtensionsTooLarge
	}
	if n == len(p) {
		return n, 0
	}
	if p[n] != '\r' {
		if p[n] == '\n' {
			return 0, BadLineEnd
		}
		return 0, BadChunkExtension
	}
	b.state = chunkSizeLF
	return n + 1, 0
}

// trailers gathers a line of the trailer block and checks it.
func (b *Body) trailers(p []byte) (int, Reason) {
	n := bytes.IndexByte(p, '\n') + 1
	if n == 1 && len(b.trailer) == b.lineFrom {
		return 0, BadLineEnd
	}
	whole := n > 0
	if !whole {
		n = len(p)
	}
	if b.trailerSize += n; b.trailerSize > b.trailerMax {
		return 0, TrailersTooLarge
	}
	if len(b.trailer) == b.lineFrom && n == 2 && p[0] == '\r' && whole {
		b.done = true // the usual end, without a copy
		return n, 0
	}
	b.trailer = append(b.trailer, p[:n]...)
	if !whole {
		return n, 0
	}
	line := b.trailer[b.lineFrom:]
	if len(line) == 2 && line[0] == '\r' {
		b.trailer = b.trailer[:b.lineFrom]
		b.done = true
		return n, 0
	}
	if r := b.trailerField(line); r != 0 {
		return 0, r
	}
	if b.keep {
		b.lineFrom = len(b.trailer)
	} else {
		b.trailer = b.trailer[:0]
	}
	return n, 0
}

func (b *Body) trailerField(line []byte) Reason {
	name, _, next, _ := fieldLine(line, 0)
	if next != len(line) {
		return BadTrailer
	}
	if b.count++; b.count > b.maxFields {
		return TrailersTooLarge
	}
	if forbiddenTrailer[header.Classify(name)] {
		return ForbiddenTrailer
	}
	return 0
}

// forbiddenTrailer marks the fields that must not come after the body (RFC 9110 section 6.5.1), because a server that
// merges trailers into the header would be misled by them.
var forbiddenTrailer = [256]bool{
	header.Host: true, header.ContentLength: true, header.TransferEncoding: true, header.Connection: true,
	header.KeepAlive: true, header.ProxyConnection: true, header.Upgrade: true, header.TE: true, header.Trailer: true,
	header.Expect: true, header.Range: true, header.CacheControl: true, header.ContentType: true,
	header.ContentEncoding: true, header.Authorization: true, header.ProxyAuthorization: true,
	header.WWWAuthenticate: true, header.ProxyAuthenticate: true, header.Cookie: true, header.SetCookie: true,
	header.Location: true, header.Forwarded: true, header.XForwardedFor: true, header.XForwardedHost: true,
	header.XForwardedProto: true, header.XForwardedPort: true, header.XForwardedClientCert: true,
	header.XRealIP: true, header.XEnvoyInternal: true, header.XEnvoyExternalAddress: true,
}

// Trailers adds the trailers of a finished body to l, which they then are views for until the next Reset. The body
// must have been reset with keepTrailers.
func (b *Body) Trailers(l *header.List) {
	for p := b.trailer; len(p) > 0; {
		name, value, next, _ := fieldLine(p, 0)
		if next == 0 {
			return
		}
		l.Add(name, value)
		p = p[next:]
	}
}
