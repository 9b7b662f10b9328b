package sock

import "time"

// Instant is a point on the monotonic clock in nanoseconds. Zero is "never".
type Instant int64

// base is what Instants count from; one nanosecond before the start, so that no instant is zero.
var base = time.Now().Add(-1)

// Now reads the monotonic clock, for half the price of time.Now.
func Now() Instant { return Instant(time.Since(base)) }

// At returns the instant of a time that time.Now has returned.
func At(t time.Time) Instant { return Instant(t.Sub(base)) }

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Time converts to the wall clock's type. It must not be called on zero.
func (i Instant) Time() time.Time { return base.Add(time.Duration(i)) }
