package upstream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/h1"
	"lateen.dev/lateen/wire/sock"
)

// waiters are the requests that wait because their cluster has as many connections as it may.
type waiters struct {
	n    atomic.Int32 // how many wait, so that nobody takes the lock in vain
	mu   sync.Mutex
	list []*waiter
}

type waiter struct {
	pool *pool
	got  chan *h1.Upstream // capacity 1; nil means that a connection may be opened
}

// wait waits for a connection of p, or, with nil, for leave to try to open one.
func (w *waiters) wait(ctx context.Context, p *pool, deadline sock.Instant) (*h1.Upstream, error) {
	me := &waiter{pool: p, got: make(chan *h1.Upstream, 1)}
	w.mu.Lock()
	w.list = append(w.list, me)
	w.n.Add(1)
	w.mu.Unlock()
	// A connection that came back before this request was on the list hasn't seen it, or idles on another shard.
	if u := p.spare(); u != nil && w.leave(me) {
		return u, nil
	} else if u != nil {
		p.Idle(u)
	}
	var expired <-chan time.Time
	if deadline != 0 {
		t := time.NewTimer(deadline.Sub(sock.Now()))
		defer t.Stop()
		expired = t.C
	}
	select {
	case u := <-me.got:
		return u, nil
	case <-expired:
	case <-ctx.Done():
	}
	if !w.leave(me) { // one was given meanwhile
		if u := <-me.got; u != nil {
			return u, nil
		}
	}
	return nil, &ConnectError{Timeout: true, Err: errOverflow}
}

// leave takes a waiter off the list; false means that it has been served already.
func (w *waiters) leave(me *waiter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.list, me)
	if i < 0 {
		return false
	}
	w.list = slices.Delete(w.list, i, i+1)
	w.n.Add(-1)
	return true
}

// give hands a connection that came back to the first who waits for one of its host and kind. If others only wait,
// the connection is closed to make room for theirs. It reports whether the connection is spoken for.
func (w *waiters) give(p *pool, u *h1.Upstream) bool {
	if w.n.Load() == 0 {
		return false
	}
	w.mu.Lock()
	if len(w.list) == 0 {
		w.mu.Unlock()
		return false
	}
	for i, o := range w.list {
		if o.pool.host == p.host && o.pool.same(p) {
			w.list = slices.Delete(w.list, i, i+1)
			w.n.Add(-1)
			w.mu.Unlock()
			o.got <- u
			return true
		}
	}
	w.mu.Unlock()
	u.Discard() // which lets the first one retry
	return true
}

// retry lets the first who waits try to open a connection.
func (w *waiters) retry() {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) > 0 {
		w.list[0].got <- nil
		w.list = slices.Delete(w.list, 0, 1)
		w.n.Add(-1)
	}
}
