package deadline

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimerFiresAtTheLastDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Int64
		start := time.Now()
		tm := New(func() { fired.Store(int64(time.Since(start))) })
		tm.Set(start, time.Second)
		time.Sleep(500 * time.Millisecond)
		tm.Set(time.Now(), time.Second)
		time.Sleep(5 * time.Second)
		if got := time.Duration(fired.Load()); got != 1500*time.Millisecond {
			t.Errorf("fired after %v, want 1.5s", got)
		}
	})
}

func TestTimerMovesEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Int64
		start := time.Now()
		tm := New(func() { fired.Add(int64(time.Since(start))) })
		tm.Set(start, time.Hour)
		tm.Set(start, time.Second)
		time.Sleep(2 * time.Hour)
		if got := time.Duration(fired.Load()); got != time.Second {
			t.Errorf("fired at %v in all, want once after 1s", got)
		}
	})
}

func TestClearedAndClosedTimersStaySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Int64
		tm := New(func() { fired.Add(1) })
		tm.Set(time.Now(), time.Second)
		tm.Clear()
		time.Sleep(2 * time.Second)
		tm.Set(time.Now(), time.Second)
		tm.Close()
		tm.Set(time.Now(), time.Second)
		time.Sleep(2 * time.Second)
		if fired.Load() != 0 {
			t.Error("a timer without a deadline fired")
		}
	})
}

func TestSetDoesNotAllocate(t *testing.T) {
	tm := New(func() {})
	defer tm.Close()
	tm.Set(time.Now(), time.Hour)
	if n := testing.AllocsPerRun(100, func() { tm.Set(time.Now(), time.Hour); tm.Clear() }); n != 0 {
		t.Errorf("Set allocates %v times", n)
	}
}
