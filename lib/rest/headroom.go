package rest

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// roomyPercent is the collector's target where little is live.
const roomyPercent = 200

// Headroom lets the heap grow by percent of what is live between two collections, or by room bytes if that is more, but to
// three times what is live at most, until ctx ends. So a program that holds much is collected often, for its size, and one
// that holds little is not collected all the time while it is busy.
func Headroom(ctx context.Context, percent int, room uint64) {
	collected := make(chan struct{}, 1)
	follow(ctx, collected)
	for now := percent; ; {
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if next := headroom(live[0].Value.Uint64(), percent, room); next != now {
			debug.SetGCPercent(next)
			now = next
		}
	}
}

// headroom is the target for what is live, in steps, as setting it stops the program for a moment.
func headroom(live uint64, percent int, room uint64) int {
	const step = 25
	want := int(min(roomyPercent, room*100/max(live, 1)))
	return max(percent, want-want%step)
}

// follow tells of each collection until ctx ends.
func follow(ctx context.Context, collected chan<- struct{}) {
	type sentinel struct{ _ *int }
	runtime.AddCleanup(&sentinel{new(int)}, func(struct{}) {
		select {
		case <-ctx.Done():
			return
		case collected <- struct{}{}:
		default: // it has not been looked at yet
		}
		follow(ctx, collected)
	}, struct{}{})
}
