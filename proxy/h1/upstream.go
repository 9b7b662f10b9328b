package h1

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// Owner is the pool that a connection to a server belongs to.
type Owner interface {
	// Idle takes a connection whose exchange is complete.
	Idle(u *Upstream)
	// Gone is told that the connection has been closed.
	Gone(u *Upstream)
}

// Upstream is a connection to a server, and the exchange that is going on on it.
type Upstream struct {
	incoming
	conn  *sock.Conn
	owner Owner
	local netip.AddrPort
	lim   *http1.Limits

	exchanges int
	canceled  atomic.Bool

	method   http1.Method
	framing  http1.Framing // of the request
	upgrade  bool          // the request asks for one
	sent     bool          // the request is complete
	received bool          // the response is complete
	out      *outgoing     // what Send has left to be written with the first read; nil when there is nothing
	broken   atomic.Bool   // the connection can't be used again
	tunnel   atomic.Bool
	chunk    []byte // of Write, which may run beside Response and Next

	// IdleSince is the owner's: when the connection became idle.
	IdleSince sock.Instant
}

var _ exchange.Upstream = (*Upstream)(nil)

// NewUpstream wraps a connected socket.
func NewUpstream(conn *sock.Conn, local netip.AddrPort, lim *http1.Limits, owner Owner) *Upstream {
	return &Upstream{conn: conn, owner: owner, local: local, lim: lim}
}

// Conn returns the connection, for the owner's checks of idle ones.
func (u *Upstream) Conn() *sock.Conn { return u.conn }

// Exchanges is how many exchanges have begun on the connection.
func (u *Upstream) Exchanges() int { return u.exchanges }

// Reused implements exchange.Upstream.
func (u *Upstream) Reused() bool { return u.exchanges > 1 }

// Framed implements exchange.Upstream.
func (u *Upstream) Framed() bool { return true }

// Local implements exchange.Upstream.
func (u *Upstream) Local() netip.AddrPort { return u.local }

// Begin prepares for the next exchange. client, if not nil, is watched while the answer is being waited for.
func (u *Upstream) Begin(client *sock.Conn) {
	u.exchanges++
	u.incoming = incoming{}
	u.sent, u.received = false, false
	u.tunnel.Store(false)
	u.conn.Watch(client)
}

// Send implements exchange.Upstream. A complete request waits in the buffer for Response, which writes it and reads
// the answer in one go.
func (u *Upstream) Send(h *http1.Head, first exchange.Piece) error {
	u.method, u.framing, u.upgrade = h.Method, h.Framing, h.Upgrade
	o := takeOutgoing()
	o.b = appendPiece(http1.AppendEnd(http1.AppendRequest(o.b, h)), u.framing, first, nil)
	u.sent = first.End
	if u.sent && !h.Upgrade && h.Method != http1.MethodConnect {
		u.out = o
		return nil
	}
	defer o.give()
	if u.exchanges > 1 {
		if err := u.conn.Fresh(); err != nil {
			return u.failed(err, "checking connection")
		}
	}
	if _, err := u.conn.Write(o.b); err != nil {
		return u.failed(err, "writing request")
	}
	return nil
}

// Sent implements sock.Reply.
func (u *Upstream) Sent() {
	if u.out != nil {
		u.out.give()
		u.out = nil
	}
}

// Space implements sock.Reply.
func (u *Upstream) Space() []byte {
	if u.buf == nil {
		u.buf = takeBuffers()
	}
	return u.space()
}

// appendPiece adds a piece of a body in a message's framing to what is to be written.
func appendPiece(out []byte, framing http1.Framing, p exchange.Piece, trailers *header.List) []byte {
	if framing != http1.FramingChunked || p.Framed {
		return append(out, p.Data...)
	}
	out = http1.AppendChunk(out, p.Data)
	switch {
	case !p.End:
	case trailers != nil && len(trailers.Fields) > 0:
		out = http1.AppendTrailers(out, trailers)
	default:
		out = http1.AppendLastChunk(out)
	}
	return out
}

// Write implements exchange.Upstream.
func (u *Upstream) Write(p exchange.Piece, trailers *header.List) error {
	u.sent = p.End
	data := p.Data
	if u.framing == http1.FramingChunked && !p.Framed && !u.tunnel.Load() {
		u.chunk = appendPiece(u.chunk[:0], u.framing, p, trailers)
		data = u.chunk
	}
	if len(data) > 0 {
		if _, err := u.conn.Write(data); err != nil {
			return u.failed(err, "writing request body")
		}
	}
	if p.End && u.tunnel.Load() {
		if err := u.conn.CloseWrite(); err != nil {
			return u.failed(err, "closing tunnel")
		}
	}
	return nil
}

// Response implements exchange.Upstream.
func (u *Upstream) Response(h *http1.Head, framed bool) (exchange.Piece, error) {
	for {
		if u.at < u.end {
			n, err := http1.ParseResponse(h, u.unread(), u.method, u.lim)
			if err != nil {
				u.broken.Store(true)
				return exchange.Piece{}, fmt.Errorf("%w: %w", exchange.ErrProtocol, err)
			}
			if n > 0 {
				return u.headRead(h, n, framed)
			}
		}
		if err := u.fill(); err != nil {
			return exchange.Piece{}, err
		}
	}
}

// fill reads more of the answer, writing first what waits to be written.
func (u *Upstream) fill() error {
	var n int
	var err error
	if u.out != nil {
		n, err = u.conn.WriteRead(u.out.b, u)
		u.Sent()
	} else {
		n, err = u.conn.Read(u.Space())
	}
	u.end += n
	if err != nil && n == 0 {
		return u.failed(err, "waiting for response")
	}
	return nil
}

// headRead goes on after a head of n bytes.
func (u *Upstream) headRead(h *http1.Head, n int, framed bool) (exchange.Piece, error) {
	u.at += n
	if h.Status == 101 && !u.upgrade {
		u.broken.Store(true)
		return exchange.Piece{}, fmt.Errorf("%w: 101 without having been asked to upgrade", exchange.ErrProtocol)
	}
	if h.Status < 200 && h.Status != 101 {
		return exchange.Piece{}, nil
	}
	u.floor = u.at
	tunnel := h.Framing == http1.FramingTunnel
	u.tunnel.Store(tunnel)
	u.framed = framed && h.Framing == http1.FramingChunked
	if h.Close || h.Framing == http1.FramingClose || tunnel {
		u.broken.Store(true)
	}
	u.buf.body.Reset(h.Framing, h.ContentLength, u.lim, !u.framed)
	return u.took(u.piece())
}

// took looks at a piece before it is handed out.
func (u *Upstream) took(p exchange.Piece, err error) (exchange.Piece, error) {
	if err != nil {
		u.broken.Store(true)
		return p, err
	}
	if u.received = p.End; u.received && u.at < u.end {
		u.broken.Store(true) // bytes behind a response that nobody asked for
	}
	return p, nil
}

// Next implements exchange.Upstream.
func (u *Upstream) Next() (exchange.Piece, error) {
	for {
		p, err := u.took(u.piece())
		if err != nil || len(p.Data) > 0 || p.End {
			return p, err
		}
		if err := u.fill(); err != nil {
			if errors.Is(err, exchange.ErrRemoteEnd) && u.buf.body.End() == nil {
				u.received = true
				return exchange.Piece{End: true}, nil
			}
			return exchange.Piece{}, err
		}
	}
}

// Trailers implements exchange.Upstream.
func (u *Upstream) Trailers(l *header.List) {
	if !u.framed {
		u.buf.body.Trailers(l)
	}
}

// failed turns an error of the socket into one of the exchange.
func (u *Upstream) failed(err error, doing string) error {
	if u.canceled.Load() {
		u.broken.Store(true)
		return exchange.ErrCanceled
	}
	var e *sock.Error
	reason, stale := sock.ReasonOther, false
	if errors.As(err, &e) {
		reason = e.Reason
		stale = u.exchanges > 1 && !e.Seen && (!e.Written || e.Retryable())
	}
	as := exchange.ErrReset
	switch {
	case reason == sock.ReasonTimeout:
		return fmt.Errorf("%s: %w", doing, exchange.ErrTimeout)
	case reason == sock.ReasonStale || stale:
		as = exchange.ErrStale
	case reason == sock.ReasonPeerGone:
		as = exchange.ErrGone
	case reason == sock.ReasonEOF || e == nil:
		as = exchange.ErrRemoteEnd
	}
	u.broken.Store(true)
	return fmt.Errorf("%s: %w: %w", doing, as, err)
}

// Deadline implements exchange.Upstream.
func (u *Upstream) Deadline(at sock.Instant) { u.conn.SetReadDeadline(at) }

// Cancel implements exchange.Upstream.
func (u *Upstream) Cancel() {
	u.canceled.Store(true)
	u.conn.Abort()
}

// Close implements exchange.Upstream.
func (u *Upstream) Close() {
	u.Sent()
	if u.buf != nil {
		u.buf.give()
		u.buf = nil
	}
	u.chunk = nil
	if u.broken.Load() || !u.sent || !u.received || u.canceled.Load() {
		u.Discard()
		return
	}
	u.conn.Watch(nil)
	u.conn.SetReadDeadline(0)
	u.owner.Idle(u)
}

// Discard closes the connection. The owner calls it for idle ones.
func (u *Upstream) Discard() {
	// The connection is given up; what closing it could report has no reader.
	_ = u.conn.Close()
	u.owner.Gone(u)
}
