// Package grpcweb lets browsers speak to gRPC servers: it turns a gRPC-Web request into a gRPC one, and the answer back,
// with its trailers as the last frame of the body.
//
// Who calls it: the proxy's engine, which puts a Bridge in the place of the client's side of an exchange. A Bridge belongs
// to the exchange and keeps to proxy/exchange's rule about goroutines; it starts none. Nothing is kept but the rest of an
// unfinished base64 quantum, and of answers that aren't gRPC the first 16 KiB.
//
// May import: proxy/exchange, wire.
package grpcweb

import (
	"bytes"
	"strconv"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// Kind is what a content type says about the encoding.
type Kind uint8

// The kinds.
const (
	No     Kind = iota // it isn't gRPC-Web
	Binary             // application/grpc-web
	Text               // application/grpc-web-text: base64
)

// KindOf tells the kind of a content type. As in Envoy, messages other than protobuf's are not bridged.
func KindOf(contentType []byte) Kind {
	if i := bytes.IndexByte(contentType, ';'); i >= 0 {
		contentType = header.TrimSpace(contentType[:i])
	}
	switch {
	case header.EqualFold(contentType, "application/grpc-web"), header.EqualFold(contentType, "application/grpc-web+proto"):
		return Binary
	case header.EqualFold(contentType, "application/grpc-web-text"), header.EqualFold(contentType, "application/grpc-web-text+proto"):
		return Text
	}
	return No
}

var (
	typeGRPC     = []byte("application/grpc")
	typeBinary   = []byte("application/grpc-web+proto")
	typeText     = []byte("application/grpc-web-text+proto")
	identity     = []byte("identity")
	nameMessage  = header.NewName("grpc-message")
	nameEncoding = header.NewName("grpc-accept-encoding")
)

// Bridge is the client's side of a gRPC-Web exchange, to look like a gRPC client's.
type Bridge struct {
	exchange.Downstream
	textIn, textOut bool

	// Of the request.
	decode decoder
	in     []byte

	// Of the response.
	out     []byte
	foreign *http1.Head // the head of an answer that isn't gRPC, while its body is being gathered
	gather  []byte
}

var _ exchange.Downstream = (*Bridge)(nil)

// New makes h, the head of a request of this kind, a gRPC request's, and returns what is to take down's place.
func New(down exchange.Downstream, h *http1.Head, kind Kind) *Bridge {
	b := &Bridge{Downstream: down, textIn: kind == Text, textOut: kind == Text}
	switch accepted(h) {
	case Binary:
		b.textOut = false
	case Text:
		b.textOut = true
	}
	h.SetKnown(header.ContentType, typeGRPC)
	h.Set(nameEncoding, identity)
	h.TrailersOK = true
	if h.HasBody() {
		h.Framing, h.ContentLength = http1.FramingChunked, -1
		h.Remove(header.ContentLength)
	}
	return b
}

// accepted is the first kind that Accept names; a client that names none is answered as it asked.
func accepted(h *http1.Head) Kind {
	for list := h.Get(header.Accept); len(list) > 0; {
		var item []byte
		item, list = header.NextToken(list)
		if k := KindOf(item); k != No {
			return k
		}
	}
	return No
}

// Framed implements exchange.Downstream: what is sent is made here.
func (b *Bridge) Framed() bool { return false }

// Next implements exchange.Downstream. It never returns framed pieces.
func (b *Bridge) Next(wait, _ bool) (exchange.Piece, error) {
	for {
		p, err := b.Downstream.Next(wait, false)
		if err != nil || !b.textIn {
			return p, err
		}
		if b.in, err = b.decode.append(b.in[:0], p.Data, p.End); err != nil {
			return exchange.Piece{}, err
		}
		if p.Data = b.in; len(p.Data) > 0 || p.End || !wait {
			return p, nil
		}
	}
}

// Respond implements exchange.Downstream.
func (b *Bridge) Respond(h *http1.Head, first exchange.Piece) error {
	if h.Status < 200 {
		return b.Downstream.Respond(h, first)
	}
	isGRPC := bytes.HasPrefix(h.Get(header.ContentType), typeGRPC)
	if b.textOut {
		h.SetKnown(header.ContentType, typeText)
	} else {
		h.SetKnown(header.ContentType, typeBinary)
	}
	h.Remove(header.ContentLength)
	if first.End && len(first.Data) == 0 {
		return b.headOnly(h)
	}
	if !isGRPC {
		b.foreign = h
		return b.Write(first, nil)
	}
	h.Framing, h.ContentLength = http1.FramingChunked, -1
	first.Data, first.Framed = b.encode(first.Data), false
	return b.Downstream.Respond(h, first)
}

// headOnly sends an answer that is all in its head, as errors are.
func (b *Bridge) headOnly(h *http1.Head) error {
	if !h.Has(header.GRPCStatus) {
		h.SetKnown(header.GRPCStatus, strconv.AppendInt(nil, int64(StatusOf(h.Status)), 10))
	}
	h.Framing, h.ContentLength = http1.FramingNone, 0
	return b.Downstream.Respond(h, exchange.Piece{End: true})
}

// Write implements exchange.Downstream.
func (b *Bridge) Write(p exchange.Piece, trailers *header.List) error {
	if b.foreign != nil {
		return b.gathered(p)
	}
	p.Data, p.Framed = b.encode(p.Data), false
	if p.End && trailers != nil {
		frame := trailerFrame(nil, trailers)
		if b.textOut {
			p.Data = appendBase64(p.Data, frame)
		} else {
			p.Data = append(p.Data[:len(p.Data):len(p.Data)], frame...)
		}
	}
	return b.Downstream.Write(p, nil)
}

// encode brings payload into the client's encoding; the result is valid until the next call.
func (b *Bridge) encode(data []byte) []byte {
	if !b.textOut {
		return data
	}
	b.out = appendBase64(b.out[:0], data)
	return b.out
}

// maxMessage bounds what of an answer that isn't gRPC becomes the status's message.
const maxMessage = 16 << 10

// gathered takes a piece of an answer that isn't gRPC, such as an error page, and answers with a status that carries it.
func (b *Bridge) gathered(p exchange.Piece) error {
	room := maxMessage - len(b.gather)
	b.gather = append(b.gather, p.Data[:min(room, len(p.Data))]...)
	if !p.End {
		return nil
	}
	h := b.foreign
	b.foreign = nil
	if len(b.gather) > 0 {
		h.Set(nameMessage, PercentEncode(b.gather))
	}
	return b.headOnly(h)
}

// trailerFrame appends the frame that holds a response's trailers: a flag, a length, and lines as in HTTP/1.
func trailerFrame(dst []byte, l *header.List) []byte {
	at := len(dst)
	dst = append(dst, 0x80, 0, 0, 0, 0)
	for i := range l.Fields {
		f := &l.Fields[i]
		if f.Removed || f.Hop {
			continue
		}
		dst = append(dst, bytes.ToLower(f.Name)...)
		dst = append(dst, ':')
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	n := len(dst) - at - 5
	dst[at+1], dst[at+2], dst[at+3], dst[at+4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return dst
}

// StatusOf maps an HTTP status to a gRPC one as gRPC's clients do.
func StatusOf(status int) int {
	switch status {
	case 200:
		return 2 // an answer, but not gRPC's
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

// PercentEncode writes text as grpc-message carries it.
func PercentEncode(b []byte) []byte {
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c >= ' ' && c <= '~' && c != '%' {
			out = append(out, c)
			continue
		}
		out = append(out, '%', digits[c>>4], digits[c&15])
	}
	return out
}
