package rest

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestHeadroomTarget(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 200}, {1 << 20, 200}, {32 << 20, 200}, {50 << 20, 125}, {64 << 20, 100}, {128 << 20, 50}, {1 << 30, 50}} {
		if got := headroom(c.live, 50, 64<<20); got != c.want {
			t.Errorf("%d MiB live: %d %%, want %d", c.live>>20, got, c.want)
		}
	}
}

func TestHeadroom(t *testing.T) {
	before := debug.SetGCPercent(50)
	defer debug.SetGCPercent(before)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		Headroom(ctx, 50, 64<<20)
	}()
	for percent := 0; percent != roomyPercent; {
		if ctx.Err() != nil {
			t.Fatal("the target never changed")
		}
		runtime.GC()
		runtime.Gosched()
		percent = debug.SetGCPercent(50)
		debug.SetGCPercent(percent)
	}
	cancel()
	<-done
}
