package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// observe watches, as long as the storm lasts, that clients in peace get every
// mark within the bound, and what the control planes use.
func (c *chaos) observe(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.latencies.report(c)
			return nil
		case now := <-tick.C:
			for _, r := range c.replicas {
				r.mu.Lock()
				r.peak = max(r.peak, r.process.memory("VmHWM"))
				r.mu.Unlock()
			}
			if err := c.overdue(now); err != nil {
				return err
			}
		}
	}
}

// overdue names a client that was connected all the time and has not got a mark
// that is older than the bound.
func (c *chaos) overdue(now time.Time) error {
	n := c.edits.marked()
	for n > 0 && now.Sub(c.edits.made(n)) < c.o.bound {
		n--
	}
	if n == 0 {
		return nil
	}
	for _, r := range c.clients {
		since, peaceful := r.peaceful()
		if !peaceful || since.IsZero() || now.Sub(since) < c.o.bound {
			continue
		}
		if e, v := r.endpointMark.Load(), r.routeMark.Load(); min(e, v) < int64(n) {
			return fmt.Errorf("client %d (%s), connected for %s, has marks %d and %d; mark %d was made %s ago", r.index, r.kind(),
				now.Sub(since).Round(time.Millisecond), e, v, n, now.Sub(c.edits.made(n)).Round(time.Millisecond))
		}
	}
	return nil
}

// arrived notes how long a mark took to a client.
func (c *chaos) arrived(n int) {
	if n < 1 || n > c.edits.marked() {
		return
	}
	took := time.Since(c.edits.made(n))
	c.latencies.mu.Lock()
	defer c.latencies.mu.Unlock()
	c.latencies.took = append(c.latencies.took, took)
}

func (l *latencies) report(c *chaos) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(c.out, "  change → client: %d times, p50 %s, p99 %s, longest %s (clients that were away included)\n", len(l.took),
		round(percentile(l.took, 0.5)), round(percentile(l.took, 0.99)), round(percentile(l.took, 1)))
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// move has all clients leave one replica for the other, and measures what that
// costs those who tell what they have: next to nothing, as equal content has
// equal versions everywhere.
func (c *chaos) move(ctx context.Context) error {
	for i, r := range c.replicas {
		before := make([]int64, len(c.clients))
		for k, client := range c.clients {
			client.moveTo(r.process.target())
			before[k] = client.streams.Load()
		}
		if err := c.connectedAgain(ctx, before); err != nil {
			return err
		}
		if err := c.settled(ctx, fmt.Sprintf("all at replica %d", i)); err != nil {
			return err
		}
		if i == 0 {
			for _, client := range c.clients {
				client.atMove = client.bytes.Load()
			}
		}
	}
	var total, moved, clients int64
	for _, r := range c.clients {
		if !r.sotw {
			clients++
			total += r.atMove
			moved += r.bytes.Load() - r.atMove
		}
		r.moveTo("")
	}
	fmt.Fprintf(c.out, "  a first configuration has %d kB, moving to another replica cost %d bytes a client\n", total/clients/1000, moved/clients)
	// What remains is an empty answer for each type.
	const perType = 200
	if moved/clients > perType*int64(len(kinds)) {
		return errors.New("clients that moved received what they had")
	}
	return nil
}

// connectedAgain waits until every client has begun another stream than those
// counted before, and has been heard on it.
func (c *chaos) connectedAgain(ctx context.Context, before []int64) error {
	deadline := time.Now().Add(c.o.bound)
	for k, r := range c.clients {
		for r.streams.Load() == before[k] || !r.heard.Load() {
			if time.Now().After(deadline) {
				return fmt.Errorf("client %d has not come back", r.index)
			}
			if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}
