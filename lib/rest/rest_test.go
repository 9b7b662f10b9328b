package rest

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestCollectsOnceAtRest(t *testing.T) {
	const mib = 1 << 20
	var w watcher
	for i, tt := range []struct {
		now  sample
		want bool
		left uint64
	}{
		{sample{0, 10 * mib}, false, 0}, // it has just started
		{sample{1, 20 * mib}, false, 0}, // it works
		{sample{1, 30 * mib}, false, 0}, // it works without collecting
		{sample{1, 30 * mib}, true, 8 * mib},
		{sample{2, 8 * mib}, false, 0},
		{sample{2, 8*mib + 1}, false, 0},
		{sample{2, 8*mib + 900<<10}, false, 0}, // rest, but little to gain
		{sample{2, 9*mib + 700<<10}, false, 0},
		{sample{2, 40 * mib}, false, 0},
		{sample{3, 40 * mib}, false, 0}, // the collector has just run
		{sample{3, 40 * mib}, true, 40 * mib},
		{sample{4, 40 * mib}, false, 0},
		{sample{4, 49 * mib}, false, 0},
		{sample{4, 49 * mib}, false, 0}, // less than a quarter more
		{sample{4, 51 * mib}, false, 0},
		{sample{4, 51 * mib}, true, 20 * mib},
	} {
		if got := w.step(tt.now); got != tt.want {
			t.Errorf("step %d: %v", i, got)
		}
		if tt.want {
			w.collected(sample{tt.now.cycles + 1, tt.left})
		}
	}
}

func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*interval)
		defer cancel()
		Watch(ctx)
	})
}
