// Package drain makes shutting down something that others hold on to: whoever holds is waited for.
//
// The proxy's connections hold on to the listener that they came by. All methods are safe for concurrent use; the
// package starts no goroutine.
//
// May import: nothing of ours.
package drain

import (
	"context"
	"sync"
	"sync/atomic"
)

// Drain is the state of one thing that can be drained. Make it with New.
type Drain struct {
	draining atomic.Bool

	mu      sync.Mutex // guards what follows
	holders map[any]struct{}
	idle    chan struct{} // closed when draining with no holder left
}

// New returns a Drain that is not draining.
func New() *Drain { return &Drain{holders: map[any]struct{}{}, idle: make(chan struct{})} }

// Draining tells whether Begin was called. It is cheap enough to be asked per request.
func (d *Drain) Draining() bool { return d.draining.Load() }

// Hold adds a holder, which must be comparable and end with Drop. It reports false, having added nothing, once
// everything has been drained.
func (d *Drain) Hold(holder any) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.draining.Load() && len(d.holders) == 0 {
		return false
	}
	d.holders[holder] = struct{}{}
	return true
}

// Drop removes a holder.
func (d *Drain) Drop(holder any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.holders, holder)
	d.settleLocked()
}

// Begin starts draining. Calling it again does nothing.
func (d *Drain) Begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.draining.Swap(true) {
		d.settleLocked()
	}
}

func (d *Drain) settleLocked() {
	if !d.draining.Load() || len(d.holders) > 0 {
		return
	}
	select {
	case <-d.idle:
	default:
		close(d.idle)
	}
}

// Holders returns those who hold on at the moment.
func (d *Drain) Holders() []any {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]any, 0, len(d.holders))
	for h := range d.holders {
		out = append(out, h)
	}
	return out
}

// Wait returns nil once draining has begun and nobody holds on, or the context's error.
func (d *Drain) Wait(ctx context.Context) error {
	select {
	case <-d.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
