// Package backoff computes how long to wait before another attempt: growing,
// bounded, and jittered so that many clients of a server that comes back do not
// all knock in the same moment.
//
// Called by whoever retries. A Backoff belongs to one goroutine; the package
// starts none.
//
// May import: nothing.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is one series of attempts. The zero value waits between 100 ms and
// 10 s.
type Backoff struct {
	// Min is the longest first delay, Max the longest of all.
	Min, Max time.Duration
	// Random gives numbers in [0,1); nil means math/rand.
	Random func() float64

	failures int
}

const (
	defaultMin = 100 * time.Millisecond
	defaultMax = 10 * time.Second
	maxDoubled = 30
)

// Next is the delay before the next attempt: between half and all of a bound
// that doubles with each call, up to Max.
func (b *Backoff) Next() time.Duration {
	low, high := b.Min, b.Max
	if low <= 0 {
		low = defaultMin
	}
	if high <= 0 {
		high = defaultMax
	}
	bound := low << min(b.failures, maxDoubled)
	if bound > high || bound <= 0 {
		bound = high
	}
	b.failures++
	random := b.Random
	if random == nil {
		random = rand.Float64
	}
	return bound/2 + time.Duration(random()*float64(bound/2))
}

// Reset starts over after a success.
func (b *Backoff) Reset() { b.failures = 0 }

// Wait sleeps for Next, or until the context ends, and then returns its error.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Sleep waits for d, or until the context ends, and then returns its error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
