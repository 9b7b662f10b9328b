// Package drain makes shutting down something that work holds a token of: whoever holds one is waited for.
//
// Listeners and connections of the proxy hold tokens. All methods are safe for concurrent use; the package starts no
// goroutine.
//
// May import: nothing of ours.
package drain

import (
	"context"
	"sync"
	"sync/atomic"
)

// Drain is the state of one thing that can be drained. The zero value is not usable: see New.
type Drain struct {
	draining atomic.Bool

	mu     sync.Mutex // guards what follows
	tokens int
	begun  chan struct{}
	idle   chan struct{} // closed when draining with no token out
}

// New returns a Drain that is not draining.
func New() *Drain { return &Drain{begun: make(chan struct{}), idle: make(chan struct{})} }

// Draining tells whether Begin was called. It is cheap enough to be asked per request.
func (d *Drain) Draining() bool { return d.draining.Load() }

// Begun is closed by Begin.
func (d *Drain) Begun() <-chan struct{} { return d.begun }

// Acquire takes a token; every token is given back by one Release. It reports false, with no token taken, once
// everything has been drained.
func (d *Drain) Acquire() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.draining.Load() && d.tokens == 0 {
		return false
	}
	d.tokens++
	return true
}

// Release gives a token back.
func (d *Drain) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens--
	d.settleLocked()
}

// Begin starts draining. Calling it again does nothing.
func (d *Drain) Begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.draining.Swap(true) {
		return
	}
	close(d.begun)
	d.settleLocked()
}

func (d *Drain) settleLocked() {
	if !d.draining.Load() || d.tokens > 0 {
		return
	}
	select {
	case <-d.idle:
	default:
		close(d.idle)
	}
}

// Active is the number of tokens out.
func (d *Drain) Active() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tokens
}

// Wait returns nil once draining has begun and every token is back, or the context's error.
func (d *Drain) Wait(ctx context.Context) error {
	select {
	case <-d.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
