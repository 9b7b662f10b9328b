package sock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Times that bound how late something that the poller doesn't report is noticed.
const (
	// watchInterval is how often a waiting upstream looks whether the watched downstream is still there.
	watchInterval = time.Second
	// doubtInterval is when an idle downstream connection that was left after a short read is read once more: its
	// peer's FIN may have come together with the last bytes, which makes no further edge.
	doubtInterval = 2 * time.Second
	// DefaultWriteTimeout bounds how long a write may make no progress.
	DefaultWriteTimeout = 5 * time.Minute
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// waiting is what a wait may be ended by besides bytes.
type waiting struct {
	// deadline is what the reader asked for; armed is what the runtime's timer has, 0 if it has none. The timer may
	// be earlier than the deadline, never later while somebody waits.
	deadline, armed Instant
	// armedProbe says that armed came from an interval above, so that it is soon enough for the next probe too.
	armedProbe bool
	// doubt says that the peer may have closed unnoticed.
	doubt bool
	// peer is the connection to look at from time to time.
	peer *Conn
	// interrupted is set by Interrupt, aborted by Abort.
	interrupted, aborted atomic.Bool
	// nudged is set by Nudge.
	nudged atomic.Bool
}

// SetReadDeadline bounds Read, WriteRead and the waits of Serve; zero removes the bound. It costs next to nothing.
func (c *Conn) SetReadDeadline(at Instant) { c.waiting.deadline = at }

// ReadDeadline returns what was set.
func (c *Conn) ReadDeadline() Instant { return c.waiting.deadline }

// SetWriteTimeout bounds how long a write may make no progress; zero means no bound. The default is
// DefaultWriteTimeout.
func (c *Conn) SetWriteTimeout(d time.Duration) { c.writeTimeout = d }

// Watch makes waits of this connection end with ErrPeerGone about a second after peer's other side has closed; nil
// ends the watching. It costs nothing for answers that come sooner.
func (c *Conn) Watch(peer *Conn) { c.waiting.peer = peer }

// Interrupt ends the wait that is going on, or else the next one, with ErrInterrupted, once.
func (c *Conn) Interrupt() {
	c.waiting.interrupted.Store(true)
	// An error means that the connection is closed, which ends waits as well.
	_ = c.nc.SetReadDeadline(longAgo)
}

// Resume forgets an Interrupt that came when the reader had already got what it waited for. It belongs to the reader.
func (c *Conn) Resume() { c.waiting.interrupted.Store(false) }

// Nudge has the session of Serve woken with ErrInterrupted, once, if it waits for bytes. Unlike Interrupt it leaves
// alone who reads in the middle of something: a session that does must look by itself, before it waits again, for what
// it would be nudged for.
func (c *Conn) Nudge() {
	c.waiting.nudged.Store(true)
	_ = c.nc.SetReadDeadline(longAgo) // as above; a reader finds that its own deadline hasn't passed, and reads on
}

// Abort makes every wait of this connection fail with ErrInterrupted from now on, reading and writing. Unlike Close it
// leaves the descriptor to its owner, who closes it.
func (c *Conn) Abort() {
	c.waiting.aborted.Store(true)
	_ = c.nc.SetDeadline(longAgo) // as above
}

// arm sees to it that the runtime's timer fires early enough for the wait that is about to begin.
func (c *Conn) arm() {
	w := &c.waiting
	at := w.deadline
	if w.doubt || w.peer != nil {
		if w.armed != 0 && w.armedProbe && (at == 0 || w.armed <= at) {
			return
		}
		c.setTimer(at)
		return
	}
	if at == 0 || w.armed != 0 && w.armed <= at {
		return
	}
	w.armed, w.armedProbe = at, false
	c.startTimer()
}

// setTimer arms for the earlier of at and the next probe.
func (c *Conn) setTimer(at Instant) {
	w := &c.waiting
	w.armed, w.armedProbe = at, false
	var interval time.Duration
	switch {
	case w.peer != nil:
		interval = watchInterval
	case w.doubt:
		interval = doubtInterval
	}
	if interval != 0 {
		if probe := Now().Add(interval); at == 0 || probe < at {
			w.armed, w.armedProbe = probe, true
		}
	}
	c.startTimer()
}

// startTimer gives armed to the runtime. If Interrupt or Nudge came in between, its deadline is restored.
func (c *Conn) startTimer() {
	var t time.Time
	if c.waiting.armed != 0 {
		t = c.waiting.armed.Time()
	}
	_ = c.nc.SetReadDeadline(t) // fails only on a closed connection, as the read that follows will
	if c.waiting.interrupted.Load() || c.waiting.aborted.Load() || c.inline && c.waiting.nudged.Load() {
		_ = c.nc.SetReadDeadline(longAgo)
	}
}

// startWriteTimer bounds a write that is about to wait. If Abort came in between, its deadline is restored.
func (c *Conn) startWriteTimer() {
	if d := c.writeTimeout; d > 0 {
		_ = c.nc.SetWriteDeadline(time.Now().Add(d)) // fails only on a closed connection, as the write will
	}
	if c.waiting.aborted.Load() {
		_ = c.nc.SetWriteDeadline(longAgo)
	}
}

// These are not ErrTimeout and ErrInterrupted themselves, because a session isn't to be woken for them: part of what
// was to be written may have been, and what is aborted stays so.
var (
	errWriteTimeout = fmt.Errorf("write: %w", ErrTimeout)
	errAborted      = fmt.Errorf("aborted: %w", ErrInterrupted)
)

// writeLapsed decides what an error of a write means.
func (c *Conn) writeLapsed(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case c.closed.Load():
		return net.ErrClosed
	case c.waiting.aborted.Load():
		return errAborted
	}
	return errWriteTimeout
}

// lapsed decides what an error of a wait means. It returns nil if the timer only fired early and the wait is to go
// on; the timer is armed again then.
func (c *Conn) lapsed(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	w := &c.waiting
	if c.closed.Load() {
		return net.ErrClosed
	}
	if w.aborted.Load() {
		return errAborted
	}
	if w.interrupted.Swap(false) {
		c.setTimer(w.deadline)
		return ErrInterrupted
	}
	if w.deadline != 0 && Now() >= w.deadline {
		w.deadline = 0
		c.setTimer(0)
		return ErrTimeout
	}
	if w.peer != nil && w.peer.Gone() {
		c.setTimer(w.deadline)
		return ErrPeerGone
	}
	c.setTimer(w.deadline)
	return nil
}
