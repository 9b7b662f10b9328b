package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// resident is a client that stays for a whole chaos run: when its stream ends,
// for whatever reason, it comes back, to any replica.
type resident struct {
	*client
	chaos *chaos
	// restless clients leave and come back, refusing ones take not everything.
	restless, refuses bool
	trouble           atomic.Bool
	random            *rand.Rand
	streams           atomic.Int64
	atMove            int64 // bytes received before it moved to another replica

	mu     sync.Mutex // guards leave and since
	leave  context.CancelFunc
	since  time.Time // since when it is connected; zero while it is not
	target string    // where it must connect to, "" for anywhere
}

func (r *resident) kind() string {
	protocol, temper := "delta", "calm"
	if r.sotw {
		protocol = "state of the world"
	}
	switch {
	case r.refuses:
		temper = "refusing"
	case r.restless:
		temper = "restless"
	}
	return protocol + ", " + temper
}

// live connects again and again until ctx ends.
func (r *resident) live(ctx context.Context) {
	for ctx.Err() == nil {
		stream, leave := context.WithCancel(ctx)
		if r.restless && r.trouble.Load() {
			stream, leave = context.WithTimeout(ctx, time.Duration(r.random.IntN(3000))*time.Millisecond)
		}
		r.mu.Lock()
		r.leave, r.since = leave, time.Now()
		target := r.target
		r.mu.Unlock()
		if target == "" {
			target = r.chaos.target(r.random)
		}
		r.heard.Store(false)
		r.streams.Add(1)
		_ = r.run(stream, target) // a control plane that was killed: it comes back elsewhere
		leave()
		r.mu.Lock()
		r.since = time.Time{}
		r.mu.Unlock()
		pause(ctx, time.Duration(20+r.random.IntN(200))*time.Millisecond)
	}
}

// moveTo makes it leave, and connect to the address from now on.
func (r *resident) moveTo(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
	r.leave()
}

// mend makes a client that refused come back as one that takes everything.
func (r *resident) mend() {
	if !r.refuses {
		return
	}
	r.refusing.Store(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leave()
}

// peaceful is since when it has been connected and is owed all changes; false
// if it is not.
func (r *resident) peaceful() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, !r.restless && !r.refuses
}

// Marks are numbers that changes write into two objects: an address of
// svc-change's endpoints, and a header in vs-change.
const (
	markNetwork = "10.249."
	markHeader  = "mark-"
)

func endpointMark(n int) string { return fmt.Sprintf("%s%d.%d", markNetwork, n>>8&255, n&255) }
func routeMark(n int) string    { return fmt.Sprintf("%s%d-", markHeader, n) }

// noteMarks reads marks out of a response.
func (c *client) noteMarks(kind int, r *response) {
	for _, b := range r.resources {
		switch kind {
		case assignments:
			if _, rest, found := bytes.Cut(b.value, []byte(markNetwork)); found {
				if n, ok := parseNumber(rest); ok {
					c.raise(&c.endpointMark, n)
				}
			}
		case routes, hosts:
			if _, rest, found := bytes.Cut(b.value, []byte(markHeader)); found {
				number, _, _ := bytes.Cut(rest, []byte("-"))
				if n, err := strconv.Atoi(string(number)); err == nil {
					c.raise(&c.routeMark, n)
				}
			}
		}
	}
}

// raise has one caller, the client's own goroutine.
func (c *client) raise(v *atomic.Int64, n int) {
	if int64(n) > v.Load() {
		v.Store(int64(n))
		c.watch.arrived(n)
	}
}
