package h2

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/http2"
	"lateen.dev/lateen/wire/sock"
)

// pieceSize is how much of a body is handed over at once: two frames.
const pieceSize = 32 << 10

var pieces = sync.Pool{New: func() any {
	b := make([]byte, pieceSize)
	return &b
}}

// body reads one stream's body in pieces.
type body struct {
	stream *http2.Stream
	buf    *[]byte // nil until the first byte
	ended  bool
}

// next returns the next piece. Without wait it returns what is there.
func (b *body) next(wait bool) (exchange.Piece, error) {
	if b.ended || b.stream.Ended() {
		b.ended = true
		return exchange.Piece{End: true}, nil
	}
	if !wait && b.stream.Buffered() == 0 {
		return exchange.Piece{}, nil
	}
	if b.buf == nil {
		buf, ok := pieces.Get().(*[]byte)
		if !ok {
			panic("the pool of pieces holds something else")
		}
		b.buf = buf
	}
	n, err := b.stream.Read(*b.buf)
	switch {
	case errors.Is(err, io.EOF):
		b.ended = true
		return exchange.Piece{End: true}, nil
	case err != nil:
		return exchange.Piece{}, translate(err)
	}
	b.ended = b.stream.Ended() && b.stream.Trailers() == nil
	return exchange.Piece{Data: (*b.buf)[:n], End: b.ended}, nil
}

// release gives the buffer back.
func (b *body) release() {
	if b.buf != nil {
		pieces.Put(b.buf)
		b.buf = nil
	}
}

// deadline converts a point in time; 0 is none.
func deadline(at sock.Instant) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return at.Time()
}

// translate turns an error of the stream into one of the exchange.
func translate(err error) error {
	if err == nil {
		return nil
	}
	return translated(err)
}

func translated(err error) error {
	var fault *http2.StreamError
	var ended *http2.ConnError
	switch {
	case errors.Is(err, http2.ErrRefused):
		return exchange.ErrRefused
	case errors.As(err, &fault) && fault.Code == http2.RefusedStream:
		return fmt.Errorf("%w: %w", exchange.ErrRefused, err)
	case errors.As(err, &fault) && !fault.Remote, errors.As(err, &ended) && !ended.Remote:
		return fmt.Errorf("%w: %w", exchange.ErrProtocol, err)
	case errors.As(err, &fault):
		return fmt.Errorf("%w: %w", exchange.ErrReset, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", exchange.ErrTimeout, err)
	}
	return fmt.Errorf("%w: %w", exchange.ErrRemoteEnd, err)
}
