package hcm

import (
	"context"
	"errors"
	"net/netip"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// raw is a TCP connection as the upstream side of an exchange: the payload of a CONNECT request that ends here.
type raw struct {
	link *upstream.Link
	buf  []byte
}

var _ exchange.Upstream = (*raw)(nil)

// rawBuffer is what a tunnel reads at once.
const rawBuffer = 32 << 10

// openTunnel connects to the host for the payload of a CONNECT request.
func openTunnel(h *upstream.Host, a *upstream.Ask) (exchange.Upstream, error) {
	l, err := h.Connect(context.Background(), &a.ConnectOptions)
	if err != nil {
		return nil, err
	}
	return &raw{link: l, buf: make([]byte, rawBuffer)}, nil
}

// Send implements exchange.Upstream. The head goes nowhere.
func (r *raw) Send(_ *http1.Head, first exchange.Piece) error { return r.write(first.Data, false) }

// Write implements exchange.Upstream.
func (r *raw) Write(p exchange.Piece, _ *header.List) error { return r.write(p.Data, p.End) }

func (r *raw) write(data []byte, end bool) error {
	if len(data) > 0 {
		if _, err := r.link.Conn.Write(data); err != nil {
			return rawError(err)
		}
	}
	if end {
		return rawError(r.link.Conn.CloseWrite())
	}
	return nil
}

// Response implements exchange.Upstream: that the connection stands is the answer.
func (r *raw) Response(h *http1.Head, _ bool) (exchange.Piece, error) {
	h.Reset()
	h.Status, h.Framing = 200, http1.FramingTunnel
	return exchange.Piece{}, nil
}

// Next implements exchange.Upstream.
func (r *raw) Next() (exchange.Piece, error) {
	n, err := r.link.Conn.Read(r.buf)
	if n > 0 {
		return exchange.Piece{Data: r.buf[:n]}, nil
	}
	var e *sock.Error
	if err != nil && !errors.As(err, &e) {
		return exchange.Piece{End: true}, nil // the plain io.EOF
	}
	return exchange.Piece{}, rawError(err)
}

func rawError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sock.ErrTimeout):
		return exchange.ErrTimeout
	case errors.Is(err, sock.ErrInterrupted):
		return exchange.ErrCanceled
	}
	return errors.Join(exchange.ErrReset, err)
}

// Trailers implements exchange.Upstream: there are none.
func (r *raw) Trailers(*header.List) {}

// Deadline implements exchange.Upstream.
func (r *raw) Deadline(at sock.Instant) { r.link.Conn.SetReadDeadline(at) }

// Cancel implements exchange.Upstream.
func (r *raw) Cancel() { r.link.Conn.Abort() }

// Close implements exchange.Upstream.
func (r *raw) Close() { r.link.Release() }

// Framed implements exchange.Upstream.
func (r *raw) Framed() bool { return false }

// Reused implements exchange.Upstream.
func (r *raw) Reused() bool { return false }

// Local implements exchange.Upstream.
func (r *raw) Local() netip.AddrPort { return r.link.Local }
