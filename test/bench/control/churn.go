package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// churnRate is how many services change in a second.
const churnRate = 100

// churnResult is what a stream of changes led to.
type churnResult struct {
	Rate     float64       `json:"rate"`
	P50, P99 time.Duration `json:"-"`
	Cores    float64       `json:"cores"`
	// LoadCores is what the clients took.
	LoadCores float64 `json:"loadCores"`
	// Seen is how many times a client saw a change, of so many that were Due: the
	// rest were overtaken by the next change of the same service.
	Seen  int     `json:"seen"`
	Due   int     `json:"due"`
	P50Ms float64 `json:"p50ms"`
	P99Ms float64 `json:"p99ms"`
}

// churn measures a stream of numbered changes: each writes its number into an
// address.
type churn struct {
	mu    sync.Mutex // guards what follows
	began map[int]time.Time
	took  []time.Duration
}

const churnNetwork = "10.252."

func churnAddress(n int) string { return fmt.Sprintf("%s%d.%d", churnNetwork, n>>8&255, n&255) }

func (ch *churn) begin(n int) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.began[n] = time.Now()
}

func (ch *churn) seen() int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return len(ch.took)
}

func (ch *churn) saw(kind int, r *response) {
	if kind != assignments {
		return
	}
	now := time.Now()
	for _, b := range r.resources {
		_, rest, found := bytes.Cut(b.value, []byte(churnNetwork))
		if !found {
			continue
		}
		if n, ok := parseNumber(rest); ok {
			ch.mu.Lock()
			if began, ok := ch.began[n]; ok {
				ch.took = append(ch.took, now.Sub(began))
			}
			ch.mu.Unlock()
		}
	}
}

// runChurn changes one service after another, through files, at a rate that
// neither a slow file system nor a busy machine brings down: what is late is
// written at once. The time of a change counts from before it is written.
func (b *bench) runChurn(ctx context.Context) error {
	ch := &churn{began: map[int]time.Time{}}
	b.watch.churn.Store(ch)
	defer b.watch.churn.Store(nil)
	audience := b.audience()
	before, load, began := b.control.cpu(), processorTime(), time.Now()
	r := &churnResult{}
	n := 0
	for ; time.Since(began) < b.s.churn; n++ {
		if due := began.Add(time.Duration(n) * time.Second / churnRate); time.Until(due) > 0 {
			pause(ctx, time.Until(due))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		ch.begin(n + 1)
		r.Due += audience[n%churning]
		if err := b.write(ctx, "files", churnFile(n%churning), churnService(b.s, n%churning, churnAddress(n+1))); err != nil {
			return err
		}
	}
	took := time.Since(began)
	r.Rate = float64(n) / took.Seconds()
	r.Cores = (b.control.cpu() - before).Seconds() / took.Seconds()
	r.LoadCores = (processorTime() - load).Seconds() / took.Seconds()
	b.settle(ctx)
	for late := time.Now(); ch.seen() < r.Due && time.Since(late) < time.Second; {
		pause(ctx, 10*time.Millisecond)
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	r.Seen, r.P50, r.P99 = len(ch.took), percentile(ch.took, 0.5), percentile(ch.took, 0.99)
	r.P50Ms, r.P99Ms = millis(r.P50), millis(r.P99)
	b.result.Churn = r
	return nil
}

// audience is how many clients hold the endpoints of each churning service.
func (b *bench) audience() []int {
	count := make([]int, churning)
	for k := range count {
		id := b.catalog.id(assignments, fmt.Sprintf("outbound|80||%s", churnHost(b.s, k)))
		for _, c := range b.clients {
			if c.holds(assignments, id) {
				count[k]++
			}
		}
	}
	return count
}
