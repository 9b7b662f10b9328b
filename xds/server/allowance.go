package server

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// BurstSeconds is how many seconds' worth of requests a client may send at once.
const BurstSeconds = 5

// namesPerRequest is how many names make a request as dear as one more,
// repeatedPerRequest how many that the client tells again.
const (
	namesPerRequest    = 100
	repeatedPerRequest = 10_000
)

// allowance slows down a client that asks all the time, so that it can't use the
// processor time of the others. It belongs to one goroutine.
type allowance struct {
	each time.Duration // time that gives the right to one request
	// free is when the requests so far will have been paid for.
	free time.Time
}

func newAllowance(perSecond int) *allowance {
	return &allowance{each: time.Second / time.Duration(max(perSecond, 1))}
}

// take pays for a request at the time now and returns how long to wait before
// the next is read.
func (a *allowance) take(now time.Time, cost int) time.Duration {
	if a.free.Before(now) {
		a.free = now
	}
	a.free = a.free.Add(time.Duration(cost) * a.each)
	return max(0, a.free.Sub(now)-BurstSeconds*time.Second)
}

// wait pays for a request, and waits if the client has been too fast.
func (a *allowance) wait(ctx context.Context, cost int) error {
	d := a.take(time.Now(), cost)
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cost is what the message counts for.
func (m *message) cost() int {
	if m.Repeats {
		return 1 + m.named/repeatedPerRequest
	}
	return 1 + (len(m.Names)+len(m.Subscribe)+len(m.Unsubscribe)+len(m.Initial))/namesPerRequest
}

// check refuses names that no honest client has.
func (m *message) check(limit int) error {
	if len(m.TypeURL) > limit {
		return status.Errorf(codes.InvalidArgument, "a type URL of %d bytes; %d are allowed", len(m.TypeURL), limit)
	}
	for _, list := range [...][]string{m.Names, m.Subscribe, m.Unsubscribe} {
		for _, name := range list {
			if len(name) > limit {
				return status.Errorf(codes.InvalidArgument, "a resource name of %d bytes (%.40q…); %d are allowed", len(name), name, limit)
			}
		}
	}
	for name, version := range m.Initial {
		if len(name) > limit || len(version) > limit {
			return status.Errorf(codes.InvalidArgument, "an initial resource version of %d and %d bytes; %d are allowed", len(name), len(version), limit)
		}
	}
	return nil
}
