package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/wire/sock"
)

// ErrIdle ends a relay over which nothing went in either direction for the idle timeout.
var ErrIdle = errors.New("idle timeout")

// Options of a relay.
type Options struct {
	// IdleTimeout ends the relay when nothing has come from either side for so long; 0 means never.
	IdleTimeout time.Duration
	// Counters, if not nil, count the bytes as they go, for reports on connections that live long.
	Counters *Counters
}

// Counters count the bytes of a relay between a and b. They may be read at any time.
type Counters struct {
	AToB, BToA atomic.Int64
	// Spliced is how many of both were moved without being read.
	Spliced atomic.Int64
}

// Relay copies until both sides have said that they are done, and then returns nil. The end of one direction is passed
// on as a half-close while the other goes on. A failure in one direction, the idle timeout or the end of ctx ends
// both. Bytes that were put back with Unread go first. Relay closes neither connection, but after an error both are
// good for nothing but closing.
//
// Neither connection may be in use otherwise; a must not be inside its serving callback.
func Relay(ctx context.Context, a, b *sock.Conn, o Options) error {
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	r := &relay{a: a, b: b, idle: o.IdleTimeout, spliced: &o.Counters.Spliced}
	r.touch()
	stop := context.AfterFunc(ctx, func() { r.fail(ctx.Err()) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { r.run(b, a, &o.Counters.BToA) })
	r.run(a, b, &o.Counters.AToB)
	wg.Wait()
	return r.err
}

type relay struct {
	a, b *sock.Conn
	idle time.Duration
	last atomic.Int64 // a sock.Instant: when bytes were last read on either side

	spliced *atomic.Int64

	once sync.Once
	err  error // written once, before both directions are aborted
}

func (r *relay) touch() { r.last.Store(int64(sock.Now())) }

// fail ends both directions.
func (r *relay) fail(err error) {
	r.once.Do(func() {
		r.err = err
		r.a.Abort()
		r.b.Abort()
	})
}

// run copies one direction to its end.
func (r *relay) run(src, dst *sock.Conn, count *atomic.Int64) {
	d := &direction{r: r, src: src, dst: dst, count: count}
	d.bulk = newBulk(src, dst)
	src.Watch(nil)
	src.SetReadDeadline(d.deadline())
	dst.SetWriteTimeout(r.idle)
	err := src.Serve(d)
	d.drop()
	switch {
	case err == io.EOF:
		// The other side may be gone already, in which case its own direction says so.
		_ = dst.CloseWrite()
	case err != nil:
		r.fail(err)
	case d.err != nil:
		r.fail(d.err)
	}
}

// direction is the session of one side: what comes in goes out on the other.
type direction struct {
	r        *relay
	src, dst *sock.Conn
	count    *atomic.Int64
	buf      *buffer
	bulk     mover // nil if the bytes have to be read
	err      error
}

// mover moves many bytes without reading them, until the flow pauses or ends.
type mover interface{ move(d *direction) error }

type buffer struct{ b [bufferSize]byte }

const bufferSize = 32 << 10

var pool = sync.Pool{New: func() any { return &buffer{} }}

// deadline is when the relay will have been idle for too long.
func (d *direction) deadline() sock.Instant {
	if d.r.idle <= 0 {
		return 0
	}
	return sock.Instant(d.r.last.Load()).Add(d.r.idle)
}

// Space implements sock.Session.
func (d *direction) Space() []byte {
	if d.buf == nil {
		d.buf = pool.Get().(*buffer)
	}
	return d.buf.b[:]
}

// Serve implements sock.Session. A full buffer means that there is probably much more: the session then leaves the
// callback and splices.
func (d *direction) Serve(n int) sock.Next {
	if n > 0 {
		d.r.touch()
		if _, err := d.dst.Write(d.buf.b[:n]); err != nil {
			d.err = err
			return sock.Close
		}
		d.count.Add(int64(n))
		if n < bufferSize || d.bulk == nil {
			d.src.SetReadDeadline(d.deadline())
			return sock.Wait
		}
	}
	if !d.src.CanRead() {
		return sock.Detach
	}
	if d.bulk == nil {
		return sock.Wait
	}
	d.drop()
	d.err = d.bulk.move(d)
	d.src.SetReadDeadline(d.deadline())
	if d.err != nil {
		return sock.Close
	}
	return sock.Wait
}

// Park implements sock.Session.
func (d *direction) Park() { d.drop() }

func (d *direction) drop() {
	if d.buf != nil {
		pool.Put(d.buf)
		d.buf = nil
	}
}

// Wake implements sock.Session: a direction that has been idle goes on waiting if the other hasn't.
func (d *direction) Wake(cause error) sock.Next {
	if cause == sock.ErrInterrupted {
		return sock.Wait // there is nothing to look at: a relay ends with its connections
	}
	if cause == sock.ErrTimeout && d.r.idle > 0 {
		if at := d.deadline(); at > sock.Now() {
			d.src.SetReadDeadline(at)
			return sock.Wait
		}
		cause = ErrIdle
	}
	d.err = cause
	return sock.Close
}
