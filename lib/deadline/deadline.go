// Package deadline has a timer whose deadline can be moved on every request for the price of an atomic store.
//
// The proxy's connections use it for idle, head, route and stream timeouts, which are set far more often than they
// pass. A Timer is safe for concurrent use; its function runs on a goroutine of the runtime's timers.
//
// May import: nothing of ours.
package deadline

import (
	"sync"
	"sync/atomic"
	"time"
)

// Timer calls a function when its deadline passes. Moving the deadline later, or away, touches no runtime timer: the
// one that is running looks at the deadline when it fires, and sleeps on if need be.
type Timer struct {
	at   atomic.Int64 // deadline in nanoseconds since base; 0 is none
	due  atomic.Int64 // when the runtime timer fires; 0 when it isn't running
	base time.Time
	fire func()

	mu     sync.Mutex // serialises starting the runtime timer
	timer  *time.Timer
	closed bool
}

// New returns a timer without a deadline. fire must not block for long.
func New(fire func()) *Timer {
	t := &Timer{}
	t.Init(fire)
	return t
}

// Init makes a zero Timer, embedded in its owner, usable.
func (t *Timer) Init(fire func()) {
	t.base = time.Now().Add(-1) // so that no deadline is 0
	t.fire = fire
}

// Set moves the deadline to d after now. A d of zero or less clears it.
func (t *Timer) Set(now time.Time, d time.Duration) {
	if d <= 0 {
		t.at.Store(0)
		return
	}
	at := int64(now.Sub(t.base) + d)
	t.at.Store(at)
	if due := t.due.Load(); due == 0 || due > at {
		t.start(at)
	}
}

// Clear removes the deadline.
func (t *Timer) Clear() { t.at.Store(0) }

// Close removes the deadline for good and frees the runtime timer.
func (t *Timer) Close() {
	t.at.Store(0)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

func (t *Timer) start(at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if due := t.due.Load(); t.closed || due != 0 && due <= at {
		return
	}
	t.due.Store(at)
	wait := time.Duration(at) - time.Since(t.base)
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.wake)
		return
	}
	t.timer.Reset(wait)
}

// wake runs when the runtime timer fires. Storing zero to due before reading at makes sure that a Set at the same
// time either is seen here or starts the timer itself.
func (t *Timer) wake() {
	t.due.Store(0)
	at := t.at.Load()
	if at == 0 {
		return
	}
	if time.Duration(at) > time.Since(t.base) {
		t.start(at)
		return
	}
	if t.at.CompareAndSwap(at, 0) {
		t.fire()
	}
}
