package h2

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
	"lateen.dev/lateen/wire/sock"
)

// Upstream is one stream to a server.
type Upstream struct {
	conn   *http2.Conn
	scheme string
	local  netip.AddrPort
	reused bool
	client *sock.Conn
	until  sock.Instant // of waits; 0 is never

	body body
	out  http2.Head

	tunnel       bool   // one is asked for
	upgrade, key []byte // of a request for an upgrade; views of its head

	mu       sync.Mutex    // guards what follows against Cancel
	stream   *http2.Stream // nil before Send and after Close
	canceled bool
}

var _ exchange.Upstream = (*Upstream)(nil)

// Room is a connection with room for a stream.
type Room struct {
	Conn *http2.Conn
	// Scheme of requests that name none: https over TLS.
	Scheme string
	Local  netip.AddrPort
}

// Options of an Upstream.
type Options struct {
	// Scheme of requests that name none: https over TLS.
	Scheme string
	Local  netip.AddrPort
	// Reused says that the connection has served an exchange before.
	Reused bool
	// Client, if not nil, is watched during waits: nobody else would notice that
	// an HTTP/1 client has gone.
	Client *sock.Conn
}

// NewUpstream makes an exchange on a connection. The stream is opened by Send,
// which returns exchange.ErrRefused if the connection takes no more.
func NewUpstream(conn *http2.Conn, o Options) *Upstream {
	return &Upstream{conn: conn, scheme: o.Scheme, local: o.Local, reused: o.Reused, client: o.Client}
}

// Send implements exchange.Upstream.
func (u *Upstream) Send(h *http1.Head, first exchange.Piece) error {
	u.tunnel = h.Upgrade || h.Method == http1.MethodConnect
	if h.Upgrade {
		if u.conn.RefusesExtendedConnect() {
			return fmt.Errorf("%w: the server takes no extended CONNECT, so there can be no upgrade", exchange.ErrProtocol)
		}
		u.upgrade, u.key = h.Get(header.Upgrade), h.Get(header.SecWebsocketKey)
	}
	requestFields(&u.out, h, u.scheme)
	end := first.End && len(first.Data) == 0 && !u.tunnel
	s, err := u.conn.Open(&u.out, end)
	if err != nil {
		return translate(err)
	}
	u.body = body{stream: s}
	u.mu.Lock()
	u.stream = s
	canceled := u.canceled
	u.mu.Unlock()
	if canceled {
		s.Reset(http2.Cancel)
		return exchange.ErrCanceled
	}
	if end || len(first.Data) == 0 {
		return nil
	}
	s.SetWriteDeadline(deadline(u.until))
	err = u.Write(first, nil)
	s.SetWriteDeadline(time.Time{})
	return err
}

// Write implements exchange.Upstream.
func (u *Upstream) Write(p exchange.Piece, trailers *header.List) error {
	return u.failed(writePiece(u.stream, &u.out, p, trailers))
}

// Response implements exchange.Upstream.
func (u *Upstream) Response(h *http1.Head, _ bool) (exchange.Piece, error) {
	u.rest()
	interim, in, err := u.stream.ReadHead()
	for u.restless(err) {
		interim, in, err = u.stream.ReadHead()
	}
	if err != nil {
		if u.abandoned(err) {
			return exchange.Piece{}, exchange.ErrGone
		}
		return exchange.Piece{}, u.failed(translate(err))
	}
	if interim != 0 {
		responseHead(h, in, true)
		return exchange.Piece{}, nil
	}
	responseHead(h, in, u.stream.Ended() && u.stream.Trailers() == nil)
	if u.tunnel && h.Status/100 == 2 {
		h.Framing, h.ContentLength = http1.FramingTunnel, -1
		h.Remove(header.ContentLength)
		if u.upgrade != nil {
			grantUpgrade(h, u.upgrade, u.key)
		}
	}
	p, err := u.body.next(false)
	return p, u.failed(err)
}

// Next implements exchange.Upstream.
func (u *Upstream) Next() (exchange.Piece, error) {
	u.rest()
	p, err := u.body.next(true)
	for u.restless(err) {
		p, err = u.body.next(true)
	}
	if u.abandoned(err) {
		return exchange.Piece{}, exchange.ErrGone
	}
	return p, u.failed(err)
}

// watchEvery is how often a wait looks whether the client is still there.
const watchEvery = time.Second

// rest sets how long the next wait may take before the client is looked at.
func (u *Upstream) rest() {
	at := u.until
	if u.client != nil {
		if next := sock.Now().Add(watchEvery); at == 0 || next < at {
			at = next
		}
	}
	u.stream.SetReadDeadline(deadline(at))
}

// restless says whether a wait ended only to look at the client, and is to go on.
func (u *Upstream) restless(err error) bool {
	if !u.early(err) || u.client.Gone() {
		return false
	}
	u.rest()
	return true
}

// abandoned says whether a wait ended because the client has gone.
func (u *Upstream) abandoned(err error) bool { return u.early(err) && u.client.Gone() }

// early says whether a wait ended before its time.
func (u *Upstream) early(err error) bool {
	return u.client != nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, exchange.ErrTimeout)) && (u.until == 0 || sock.Now() < u.until)
}

// failed says of an error that follows Cancel that this is why.
func (u *Upstream) failed(err error) error {
	if err == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.canceled {
		return exchange.ErrCanceled
	}
	return err
}

// Trailers implements exchange.Upstream.
func (u *Upstream) Trailers(l *header.List) { addTrailers(l, u.stream.Trailers()) }

// Deadline implements exchange.Upstream.
func (u *Upstream) Deadline(at sock.Instant) { u.until = at }

// Cancel implements exchange.Upstream.
func (u *Upstream) Cancel() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stream != nil && !u.canceled {
		u.stream.Reset(http2.Cancel)
	}
	u.canceled = true
}

// Close implements exchange.Upstream.
func (u *Upstream) Close() {
	u.body.release()
	u.mu.Lock()
	s := u.stream
	u.stream = nil
	u.mu.Unlock()
	if s != nil {
		s.Release()
	}
}

// Framed implements exchange.Upstream: chunks are HTTP/1's.
func (u *Upstream) Framed() bool { return false }

// Reused implements exchange.Upstream.
func (u *Upstream) Reused() bool { return u.reused }

// Local implements exchange.Upstream.
func (u *Upstream) Local() netip.AddrPort { return u.local }
