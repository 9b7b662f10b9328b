// Package exchange is the contract between the two sides of one HTTP exchange: Downstream is the side that a client
// speaks to, Upstream the one that speaks to a server. Each protocol (HTTP/1, HTTP/2) implements both, and the code
// between them (proxy/hcm) knows neither.
//
// All bytes handed over are views: a piece is valid until the next call of the same side. Pieces are either payload,
// or framed: the bytes of a chunked HTTP/1 body as they stand, chunk sizes and all, which are passed on as they are
// when both sides speak HTTP/1.1. Whoever asks for a body says whether framed pieces would do, and keeps to it for the
// whole body; it may ask so only when the other side's Framed says yes.
//
// An exchange is driven by one goroutine; when a request's body has to be read while its response is being waited
// for, the body's calls (Downstream.Next, Upstream.Write, Upstream.Trailers) move to a second one as a group. Cancel
// and Stop alone may be called by any goroutine at any time.
//
// May import: wire.
package exchange

import (
	"errors"
	"net/netip"

	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// Piece is a part of a body.
type Piece struct {
	Data   []byte
	End    bool // nothing follows; with payload, trailers may have to be asked for
	Framed bool // the bytes of a chunked HTTP/1 body as they stand, trailers included
}

// Downstream is the client's side of one exchange. The request's head has been read when it comes into being.
type Downstream interface {
	// Next returns the next piece of the request's body, waiting for it if wait is set; without, it returns what has
	// been received already, which may be nothing.
	Next(wait, framed bool) (Piece, error)
	// Trailers adds the request's trailers to l, once Next has returned the end.
	Trailers(l *header.List)
	// Respond sends a response's head with the first piece of its body. Informational heads (1xx but 101) come
	// before the final one, with end unset and no data.
	Respond(h *http1.Head, first Piece) error
	// Write sends a further piece; the one with End set ends the response. l is its trailers, or nil.
	Write(p Piece, l *header.List) error
	// Stop makes Next fail, now and from now on; the rest of the request's body isn't wanted. Any goroutine may call it.
	Stop()
	// Deadline bounds Next; 0 removes the bound.
	Deadline(at sock.Instant)
	// Reset gives the exchange up after the response's head, in a way that the client can tell from its end.
	Reset()
	// Framed tells whether framed pieces can be written.
	Framed() bool
}

// Upstream is the server's side of one exchange, on a connection taken from a pool or made for it.
type Upstream interface {
	// Send sends the request's head and the first piece of its body. It may keep both in its buffer until more is
	// asked for, so views in h must stay valid until Response.
	Send(h *http1.Head, first Piece) error
	// Write sends a further piece of the body, with the trailers when it is the last and there are any.
	Write(p Piece, l *header.List) error
	// Response waits for the next response head and fills h. The piece is what came with it.
	Response(h *http1.Head, framed bool) (Piece, error)
	// Next waits for the next piece of the response's body.
	Next() (Piece, error)
	// Trailers adds the response's trailers to l, once the end has come.
	Trailers(l *header.List)
	// Deadline bounds Response and Next, which return ErrTimeout once; 0 removes the bound.
	Deadline(at sock.Instant)
	// Cancel makes waiting calls return ErrCanceled. It may be called at any time, by any goroutine.
	Cancel()
	// Close ends the exchange. The connection goes back to its pool when the exchange is complete, and is closed, or
	// the stream reset, when it isn't.
	Close()
	// Framed tells whether framed pieces can be written.
	Framed() bool
	// Reused tells whether an exchange came before this one on the connection, so that a failure may only mean that
	// the server had closed it.
	Reused() bool
	Local() netip.AddrPort
}

// Errors of an exchange. Implementations wrap what the system said.
var (
	ErrCanceled  = errors.New("exchange canceled")
	ErrRemoteEnd = errors.New("connection closed by the peer")
	ErrReset     = errors.New("stream reset by the peer")
	ErrRefused   = errors.New("stream refused by the peer before it was processed")
	ErrProtocol  = errors.New("protocol error")
	// ErrTimeout: the deadline has passed.
	ErrTimeout = errors.New("deadline exceeded")
	// ErrStale: a connection that had been used before was closed by the server, which has not seen the request. It
	// may be repeated on another one, whatever it is.
	ErrStale = errors.New("pooled connection was closed by the peer")
	// ErrGone: the client has gone while its answer was being waited for.
	ErrGone = errors.New("downstream connection closed")
)
