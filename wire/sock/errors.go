package sock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Sentinels for what can end a wait besides bytes. Errors of Conn wrap them.
var (
	// ErrTimeout: the read deadline has passed, or a write has made no progress for the write timeout.
	ErrTimeout = errors.New("timed out")
	// ErrInterrupted: another goroutine called Interrupt.
	ErrInterrupted = errors.New("interrupted")
	// ErrPeerGone: the watched connection was closed by its peer while this one waited.
	ErrPeerGone = errors.New("the other side's peer has closed")
	// ErrStale: a connection that was to be used again has been closed by its peer, or has sent something that
	// nobody asked for. Nothing was written.
	ErrStale = errors.New("stale connection")
	// ErrCannotRead: Read was called inside Serve while CanRead is false. It is a mistake of the caller.
	ErrCannotRead = errors.New("read inside the serving callback")
)

// Reason classifies an Error.
type Reason uint8

// The reasons.
const (
	ReasonOther Reason = iota
	ReasonEOF
	ReasonReset
	ReasonTimeout
	ReasonStale
	ReasonPeerGone
	ReasonInterrupted
	ReasonClosed
)

var reasonNames = [...]string{
	"other", "eof", "reset", "timeout", "stale", "peer gone", "interrupted", "closed",
}

// String returns the reason in words.
func (r Reason) String() string { return reasonNames[r] }

// Error is what the methods of Conn return, except for a plain io.EOF, which Read and Serve return as it is when the
// peer has closed in order, outside an exchange.
type Error struct {
	// Op is "read", "write" or "exchange".
	Op     string
	Reason Reason
	// Written says whether any byte was written since the exchange began (WriteRead or Fresh); Seen whether any byte
	// of an answer came.
	Written, Seen bool
	// Reused says that the connection had served an exchange before this one.
	Reused bool
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retryable says whether the exchange may be repeated on another connection whatever its method: the server can't
// have begun to answer, and either got nothing, or closed a reused connection just as we used it, in which case it is
// as good as certain that it didn't look at the request (RFC 9112 section 9.3.1 leaves that to the client for
// idempotent methods only; the engine must ask for those itself when Written is true).
func (e *Error) Retryable() bool {
	if e.Seen {
		return false
	}
	return !e.Written || e.Reused && (e.Reason == ReasonEOF || e.Reason == ReasonReset)
}

func classify(err error) Reason {
	switch {
	case errors.Is(err, io.EOF):
		return ReasonEOF
	case errors.Is(err, ErrStale):
		return ReasonStale
	case errors.Is(err, ErrTimeout), errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonTimeout
	case errors.Is(err, ErrInterrupted):
		return ReasonInterrupted
	case errors.Is(err, ErrPeerGone):
		return ReasonPeerGone
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ReasonClosed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrUnexpectedEOF):
		return ReasonReset
	}
	return ReasonOther
}

// fail wraps an error with what is known about the exchange.
func (c *Conn) fail(op string, err error) error {
	reason := classify(err)
	if reason == ReasonOther && c.closed.Load() {
		reason = ReasonClosed // each kind of descriptor has an error of its own for this
	}
	return &Error{
		Op: op, Reason: reason, Err: err,
		Written: c.tx.Load() > c.txMark, Seen: c.rx.Load() > c.rxMark, Reused: c.exchanges > 1,
	}
}
