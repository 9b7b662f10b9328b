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
	order    *Order // may be nil

	mu      sync.Mutex // guards what follows
	holders map[any]struct{}
	idle    chan struct{} // closed when draining with no holder left
}

// New returns a Drain that is not draining.
func New() *Drain { return &Drain{holders: map[any]struct{}{}, idle: make(chan struct{})} }

// NewUnder returns a Drain that is draining, too, while the order stands.
func NewUnder(o *Order) *Drain {
	d := New()
	d.order = o
	return d
}

// Draining tells whether Begin was called, or the order stands. It is cheap enough to be asked per request.
func (d *Drain) Draining() bool {
	return d.draining.Load() || d.order != nil && d.order.asked.Load()
}

// Hurried tells whether holders that wait for work are to go at once.
func (d *Drain) Hurried() bool { return d.order != nil && d.order.hurried.Load() }

// Order asks everything that is drained under it at once, and may be taken back. Unlike Begin it turns nobody away who
// comes later. The zero Order asks for nothing.
type Order struct{ asked, hurried atomic.Bool }

// Begin asks holders to go when they may.
func (o *Order) Begin() { o.asked.Store(true) }

// Hurry asks those to go at once who only wait for work.
func (o *Order) Hurry() {
	o.asked.Store(true)
	o.hurried.Store(true)
}

// Cancel takes the order back.
func (o *Order) Cancel() {
	o.asked.Store(false)
	o.hurried.Store(false)
}

// Standing tells whether the order was given and not taken back.
func (o *Order) Standing() bool { return o.asked.Load() }

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
