package h1

import (
	"errors"
	"fmt"
	"io"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// Handler answers the requests of a connection. All calls come from the goroutine that serves the connection.
type Handler interface {
	// Handle drives the exchange whose request is c.Request. What it leaves of the body ends the connection.
	Handle(c *Conn)
	// Reject answers a request whose head can't be read; the connection ends with it.
	Reject(c *Conn, why http1.Reason)
	// Idle is how long the connection may wait for a request at present; 0 is no limit.
	Idle() time.Duration
}

// Timeouts of a downstream connection; zero is none.
type Timeouts struct {
	Head time.Duration // from a head's first byte to its last
	// DelayedClose is how long a client that still sends when the connection is to end may take to see the answer; without
	// it the connection is closed at once.
	DelayedClose time.Duration
}

// Conn is a client's connection, and the exchange that is going on on it. It implements sock.Session.
type Conn struct {
	incoming
	conn     *sock.Conn
	handler  Handler
	lim      *http1.Limits
	timeouts Timeouts

	requests  uint64
	headSince sock.Instant // first byte of an incomplete head, 0 when there is none
	ended     sock.Instant // the exchange that has been handled; 0 when that isn't known
	idle      sock.Instant // when the wait for a request has begun
	framing   http1.Framing
	minor     uint8
	closing   bool // the connection ends after this exchange
	answered  bool // the response is complete
	draining  func() bool
	hurried   func() bool
}

var (
	_ exchange.Downstream = (*Conn)(nil)
	_ sock.Session        = (*Conn)(nil)
)

// Config of a Conn.
type Config struct {
	Limits   *http1.Limits
	Timeouts Timeouts
	// Draining tells that the connection should end with its next response, Hurried that it should not even wait for a
	// request. The one who changes what Hurried says nudges the connection.
	Draining, Hurried func() bool
}

// NewConn wraps an accepted connection.
func NewConn(conn *sock.Conn, h Handler, cfg Config) *Conn {
	return &Conn{conn: conn, handler: h, lim: cfg.Limits, timeouts: cfg.Timeouts, draining: cfg.Draining, hurried: cfg.Hurried}
}

// Run answers requests until the connection ends, and closes it. A nil error is an end in order.
func (c *Conn) Run() error {
	c.idleDeadline()
	err := c.conn.Serve(c)
	unread := c.buf != nil && c.closing && !c.buf.body.Done()
	c.release()
	if unread && err == nil && c.timeouts.DelayedClose > 0 {
		c.conn.Linger(c.timeouts.DelayedClose, 1<<20)
		return nil
	}
	// The exchange is over; there is nobody left to tell of an error in closing.
	_ = c.conn.Close()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Sock returns the connection below.
func (c *Conn) Sock() *sock.Conn { return c.conn }

// Request is the head of the exchange that is going on.
func (c *Conn) Request() *http1.Head { return &c.buf.head }

// Requests is how many exchanges have begun.
func (c *Conn) Requests() uint64 { return c.requests }

// CloseAfter ends the connection after this exchange.
func (c *Conn) CloseAfter() { c.closing = true }

// Ended may tell when the exchange has ended, by a handler that is about to return and has looked at the clock.
func (c *Conn) Ended(at sock.Instant) { c.ended = at }

// Finish throws away what has been received of the request's body and not been asked for, and tells whether that was
// all of it, so that another request may follow. It must not be called beside Next.
func (c *Conn) Finish() bool {
	for !c.buf.body.Done() && c.at < c.end {
		if _, err := c.piece(); err != nil {
			return false
		}
	}
	return c.buf.body.Done()
}

// Space implements sock.Session.
func (c *Conn) Space() []byte {
	if c.buf == nil {
		c.buf = takeBuffers()
		c.at, c.end, c.floor = 0, 0, 0
	}
	return c.space()
}

// Park implements sock.Session.
func (c *Conn) Park() {
	if c.at == c.end {
		c.release()
	}
}

func (c *Conn) release() {
	if c.buf != nil {
		c.buf.give()
		c.buf = nil
	}
	c.at, c.end, c.floor = 0, 0, 0
}

// Serve implements sock.Session.
func (c *Conn) Serve(n int) sock.Next {
	c.end += n
	return c.serveBuffered()
}

// serveBuffered handles the requests that have been read.
func (c *Conn) serveBuffered() sock.Next {
	for c.buf != nil && c.at < c.end {
		n, err := http1.ParseRequest(&c.buf.head, c.unread(), c.lim)
		if err != nil {
			return c.reject(err)
		}
		if n == 0 {
			c.awaitHead()
			return sock.Wait
		}
		if !c.conn.CanRead() && c.mustRead(n) {
			c.buf.head.Reset()
			return sock.Detach
		}
		if c.exchange(n); c.closing {
			return sock.Close
		}
	}
	if c.hurried() {
		return sock.Close
	}
	c.idleDeadline()
	c.ended = 0
	return sock.Wait
}

// exchange lets the handler answer the request whose head takes n bytes.
func (c *Conn) exchange(n int) {
	h := &c.buf.head
	c.requests++
	c.headSince, c.ended = 0, 0
	c.at += n
	c.floor = c.at
	c.framed, c.answered = false, false
	c.minor, c.closing = h.Minor, h.Close
	c.buf.body.Reset(h.Framing, h.ContentLength, c.lim, true)
	c.handler.Handle(c)
	if !c.answered || !c.buf.body.Done() {
		c.closing = true
		return
	}
	c.compact()
}

// compact moves what follows a request to the beginning of the buffer.
func (c *Conn) compact() {
	c.floor = 0
	if c.at == c.end {
		c.at, c.end = 0, 0
		return
	}
	c.end = copy(c.buf.in, c.unread())
	c.at = 0
}

// mustRead tells whether the request needs more than has been read.
func (c *Conn) mustRead(n int) bool {
	h := &c.buf.head
	have := int64(c.end - c.at - n)
	switch {
	case h.Upgrade || h.Method == http1.MethodConnect:
		return true
	case h.Framing == http1.FramingLength:
		return have < h.ContentLength
	case h.Framing == http1.FramingChunked:
		c.buf.body.Reset(h.Framing, h.ContentLength, c.lim, false)
		_, done, err := c.buf.body.Feed(c.buf.in[c.at+n : c.end])
		return !done && err == nil
	}
	return false
}

func (c *Conn) reject(err error) sock.Next {
	var why http1.Reason
	if !errors.As(err, &why) {
		why = http1.BadTarget
	}
	c.closing, c.minor, c.headSince = true, 1, 0
	c.buf.body.Reset(http1.FramingClose, 0, c.lim, false) // what follows can't be told apart
	c.handler.Reject(c, why)
	return sock.Close
}

// awaitHead bounds the wait for the rest of a head.
func (c *Conn) awaitHead() {
	if c.timeouts.Head <= 0 {
		c.idleDeadline()
		return
	}
	if c.headSince == 0 {
		c.headSince = sock.Now()
	}
	c.conn.SetReadDeadline(c.headSince.Add(c.timeouts.Head))
}

func (c *Conn) idleDeadline() {
	d := c.handler.Idle()
	if d <= 0 {
		c.conn.SetReadDeadline(0)
		return
	}
	if c.idle = c.ended; c.idle == 0 {
		c.idle = sock.Now()
	}
	c.conn.SetReadDeadline(c.idle.Add(d))
}

// Wake implements sock.Session.
func (c *Conn) Wake(cause error) sock.Next {
	switch {
	case c.buf != nil && c.at < c.end && errors.Is(cause, sock.ErrTimeout):
		c.closing, c.minor = true, 1
		c.buf.body.Reset(http1.FramingClose, 0, c.lim, false)
		c.handler.Reject(c, HeadTimeout)
		return sock.Close
	case errors.Is(cause, sock.ErrInterrupted) && c.buf != nil && c.at < c.end:
		return sock.Wait
	case errors.Is(cause, sock.ErrInterrupted) && !c.hurried():
		if d := c.handler.Idle(); d > 0 && c.idle != 0 {
			c.conn.SetReadDeadline(c.idle.Add(d))
		}
		return sock.Wait
	case errors.Is(cause, sock.ErrInterrupted):
		c.lastChance()
		return sock.Wait
	}
	return sock.Close
}

// How long a connection that is to end goes on waiting for a request that may be on its way: a new one, whose client
// has hardly had the time to send one, and one that was used before.
const (
	chanceOfNew  = time.Second
	chanceOfUsed = 10 * time.Millisecond
)

func (c *Conn) lastChance() {
	d := chanceOfUsed
	if c.requests == 0 {
		d = chanceOfNew
	}
	c.conn.SetReadDeadline(sock.Now().Add(d))
}

// HeadTimeout is the reason given to Handler.Reject for a head that took too long.
const HeadTimeout = http1.Reason(255)

// Next implements exchange.Downstream.
func (c *Conn) Next(wait, framed bool) (exchange.Piece, error) {
	c.framed = framed && c.buf.head.Framing == http1.FramingChunked
	for {
		p, err := c.piece()
		if err != nil || len(p.Data) > 0 || p.End || !wait {
			return p, err
		}
		n, err := c.conn.Read(c.space())
		c.end += n
		if n > 0 {
			continue
		}
		if errors.Is(err, io.EOF) && c.buf.body.End() == nil {
			return exchange.Piece{End: true}, nil
		}
		return exchange.Piece{}, c.failed(err)
	}
}

func (c *Conn) failed(err error) error {
	switch {
	case errors.Is(err, sock.ErrTimeout):
		return exchange.ErrTimeout
	case errors.Is(err, io.EOF):
		return exchange.ErrRemoteEnd
	}
	return fmt.Errorf("%w: %w", exchange.ErrReset, err)
}

// Trailers implements exchange.Downstream.
func (c *Conn) Trailers(l *header.List) {
	if !c.framed {
		c.buf.body.Trailers(l)
	}
}

// Stop implements exchange.Downstream.
func (c *Conn) Stop() { c.conn.Interrupt() }

// Deadline implements exchange.Downstream.
func (c *Conn) Deadline(at sock.Instant) { c.conn.SetReadDeadline(at) }

// Framed implements exchange.Downstream.
func (c *Conn) Framed() bool { return c.minor == 1 }

// Respond implements exchange.Downstream.
func (c *Conn) Respond(h *http1.Head, first exchange.Piece) error {
	if h.Status < 200 && h.Status != 101 {
		if c.minor == 0 {
			return nil
		}
		o := takeOutgoing()
		defer o.give()
		o.b = http1.AppendEnd(http1.AppendResponse(o.b, h))
		_, err := c.conn.Answer(o.b)
		return err
	}
	c.chooseFraming(h)
	c.closing = c.closing || c.draining()
	o := takeOutgoing()
	defer o.give()
	out := http1.AppendResponse(o.b, h)
	if c.minor == 0 {
		out[len("HTTP/1.")] = '0' // as Envoy does: some old clients look at it
	}
	switch {
	case h.Framing == http1.FramingTunnel:
		c.closing = true
		c.buf.body.Reset(http1.FramingTunnel, 0, c.lim, false)
	case c.closing:
		out = http1.AppendClose(out)
	case c.minor == 0:
		out = http1.AppendKeepAlive(out)
	}
	out = http1.AppendEnd(out)
	c.answered = first.End
	if !first.End || len(first.Data) > 0 || h.Framing != http1.FramingNone {
		out = appendPiece(out, c.framing, first, nil)
	}
	o.b = out
	if _, err := c.conn.Answer(out); err != nil {
		c.closing = true
		return c.failed(err)
	}
	return nil
}

// chooseFraming settles how the response's body is delimited for this client.
func (c *Conn) chooseFraming(h *http1.Head) {
	switch {
	case h.Framing == http1.FramingChunked && c.minor == 0:
		h.Framing = http1.FramingClose
		c.closing = true
	case h.Framing == http1.FramingClose && c.minor == 1:
		h.Framing = http1.FramingChunked
	case h.Framing == http1.FramingClose:
		c.closing = true
	}
	c.framing = h.Framing
}

// Write implements exchange.Downstream.
func (c *Conn) Write(p exchange.Piece, trailers *header.List) error {
	c.answered = p.End
	data := p.Data
	if c.framing == http1.FramingChunked && !p.Framed {
		o := takeOutgoing()
		defer o.give()
		o.b = appendPiece(o.b, c.framing, p, trailers)
		data = o.b
	}
	if len(data) > 0 {
		if _, err := c.conn.Answer(data); err != nil {
			c.closing = true
			return c.failed(err)
		}
	}
	if p.End && c.framing == http1.FramingTunnel {
		return c.conn.CloseWrite()
	}
	return nil
}

// Reset implements exchange.Downstream: an unfinished response is cut off by closing.
func (c *Conn) Reset() { c.closing = true }
