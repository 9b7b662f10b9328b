package h1

import (
	"fmt"
	"sync"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/http1"
)

// Sizes of the buffers a connection has while it is busy. A head that doesn't fit makes its buffer grow to the limit
// of heads; such a buffer isn't kept.
const (
	readSize   = 16 << 10
	writeSize  = 18 << 10
	leastSpace = 2 << 10 // a body is read in pieces no smaller than this
)

// buffers are what a connection holds from the first bytes of a message to its end.
type buffers struct {
	in   []byte // length readSize
	body http1.Body
	head http1.Head // of the request, on the downstream side
}

var pool = sync.Pool{New: func() any { return &buffers{in: make([]byte, readSize)} }}

func takeBuffers() *buffers {
	b, ok := pool.Get().(*buffers)
	if !ok {
		panic("the pool of buffers holds something else")
	}
	return b
}

func (b *buffers) give() {
	if len(b.in) != readSize {
		return // grown for a large message: let it go
	}
	b.head.Reset()
	pool.Put(b)
}

// outgoing is what is about to be written. A connection holds one only from making up a message until it is written, so
// that few are used in turn, and stay in the processor's caches.
type outgoing struct{ b []byte }

var outPool = sync.Pool{New: func() any { return &outgoing{b: make([]byte, 0, writeSize)} }}

func takeOutgoing() *outgoing {
	o, ok := outPool.Get().(*outgoing)
	if !ok {
		panic("the pool of outgoing bytes holds something else")
	}
	return o
}

func (o *outgoing) give() {
	if cap(o.b) <= 4*writeSize {
		o.b = o.b[:0]
		outPool.Put(o)
	}
}

// incoming is the receiving half of a connection: what has been read and not consumed yet lies in buf.in[at:end].
type incoming struct {
	buf     *buffers // nil while the connection idles
	at, end int
	floor   int  // bytes before it are views of a head and must stay
	framed  bool // pieces are handed out with their framing
}

// unread is what has been received and not been consumed.
func (c *incoming) unread() []byte { return c.buf.in[c.at:c.end] }

// space makes room behind end for at least leastSpace bytes, moving unconsumed bytes down to floor or growing the
// buffer.
func (c *incoming) space() []byte {
	b := c.buf
	if c.at == c.end {
		c.at, c.end = c.floor, c.floor
	}
	if len(b.in)-c.end >= leastSpace {
		return b.in[c.end:]
	}
	if c.at > c.floor {
		copy(b.in[c.floor:], b.in[c.at:c.end])
		c.at, c.end = c.floor, c.floor+c.end-c.at
	}
	if len(b.in)-c.end < leastSpace {
		grown := make([]byte, 2*len(b.in))
		copy(grown, b.in[:c.end])
		b.in = grown
	}
	return b.in[c.end:]
}

// piece takes what has been received of the body. It may be empty, when only framing was there.
func (c *incoming) piece() (exchange.Piece, error) {
	body := &c.buf.body
	if body.Done() || c.at == c.end {
		return exchange.Piece{End: body.Done()}, nil
	}
	p := exchange.Piece{Framed: c.framed}
	if c.framed {
		n, _, err := body.Feed(c.unread())
		if err != nil {
			return exchange.Piece{}, fmt.Errorf("%w: %w", exchange.ErrProtocol, err)
		}
		p.Data = c.buf.in[c.at : c.at+n]
		c.at += n
		p.End = body.Done()
		return p, nil
	}
	for len(p.Data) == 0 && c.at < c.end && !body.Done() {
		data, n, err := body.Payload(c.unread())
		if err != nil {
			return exchange.Piece{}, fmt.Errorf("%w: %w", exchange.ErrProtocol, err)
		}
		p.Data = data
		c.at += n
	}
	c.takeEnd()
	p.End = body.Done()
	return p, nil
}

// lastChunk is how a chunked body usually ends, behind the payload of the chunk before.
const lastChunk = "\r\n0\r\n\r\n"

// takeEnd consumes the end of a chunked body if it has come with the piece, so that it is told together with it.
func (c *incoming) takeEnd() {
	body := &c.buf.body
	rest := c.unread()
	if body.Done() || body.Remaining() >= 0 || len(rest) < len(lastChunk) || string(rest[:len(lastChunk)]) != lastChunk {
		return
	}
	if n, _, err := body.Feed(rest[:len(lastChunk)]); err == nil {
		c.at += n
	}
}
