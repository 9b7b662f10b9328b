package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestNextDoublesUpToMax(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 5 * time.Second, Random: func() float64 { return 0.5 }}
	for i, want := range []time.Duration{750 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second, 3750 * time.Millisecond, 3750 * time.Millisecond} {
		if got := b.Next(); got != want {
			t.Errorf("delay %d = %v, want %v", i, got, want)
		}
	}
	for range 100 {
		b.Next()
	}
	if got := b.Next(); got != 3750*time.Millisecond {
		t.Errorf("after many failures %v", got)
	}
	b.Reset()
	if got := b.Next(); got != 750*time.Millisecond {
		t.Errorf("after Reset %v", got)
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		b := Backoff{}
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v", err)
		}
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil || time.Since(start) < 100*time.Millisecond {
			t.Errorf("Wait = %v after %v", err, time.Since(start))
		}
	})
}
