package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// watch hears of every response that a client has taken in, and tells when the
// last client has what is waited for.
type watch struct {
	goal  atomic.Pointer[goal]
	churn atomic.Pointer[churn]
	// arrived is told of each mark that a client sees for the first time; nil if
	// nobody cares for marks.
	arrived func(mark int)
}

// goal is something that each client reaches once.
type goal struct {
	reached func(c *client, kind int, r *response) bool

	mu      sync.Mutex
	missing map[*client]bool
	last    time.Time
	done    chan struct{}
}

func (w *watch) saw(c *client, kind int, r *response) {
	if g := w.goal.Load(); g != nil {
		g.saw(c, kind, r)
	}
	if ch := w.churn.Load(); ch != nil {
		ch.saw(kind, r)
	}
	if w.arrived != nil {
		c.noteMarks(kind, r)
	}
}

func (g *goal) saw(c *client, kind int, r *response) {
	g.mu.Lock()
	waits := g.missing[c]
	g.mu.Unlock()
	if !waits || !g.reached(c, kind, r) {
		return
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.missing, c)
	if len(g.missing) == 0 {
		g.last = now
		close(g.done)
	}
}

// expect begins to wait for a goal of all clients.
func (w *watch) expect(clients []*client, reached func(c *client, kind int, r *response) bool) *goal {
	g := &goal{reached: reached, missing: map[*client]bool{}, done: make(chan struct{})}
	for _, c := range clients {
		g.missing[c] = true
	}
	w.goal.Store(g)
	return g
}

// wait returns when the last client reached the goal.
func (g *goal) wait(ctx context.Context, what string) (time.Time, error) {
	select {
	case <-g.done:
		return g.last, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.missing {
		c.mu.Lock()
		defer c.mu.Unlock()
		return time.Time{}, fmt.Errorf("%s: %d clients wait; client %d has %v of %v: %w", what, len(g.missing), c.index, c.count, c.want, context.Cause(ctx))
	}
	return g.last, nil
}

// contains is the goal that a resource of the kinds brings the marker. Each body is
// searched once, however many clients receive it.
func contains(marker string, wanted ...int) func(*client, int, *response) bool {
	text := []byte(marker)
	var searched sync.Map // from the hash of a body to whether it has the marker
	return func(_ *client, kind int, r *response) bool {
		return slices.Contains(wanted, kind) && slices.ContainsFunc(r.resources, func(b body) bool {
			if found, ok := searched.Load(b.sum); ok {
				return found.(bool)
			}
			found := bytes.Contains(b.value, text)
			searched.Store(b.sum, found)
			return found
		})
	}
}

// parseNumber reads "HIGH.LOW" at the start of b.
func parseNumber(b []byte) (int, bool) {
	high, rest, ok := bytes.Cut(b, []byte("."))
	if !ok {
		return 0, false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	h, herr := strconv.Atoi(string(high))
	l, lerr := strconv.Atoi(string(rest[:end]))
	return h<<8 | l, herr == nil && lerr == nil
}

// percentile of durations, which it sorts.
func percentile(list []time.Duration, p float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(len(list)-1, int(p*float64(len(list))))]
}
