package app

import (
	"testing"
	"time"
)

// TestPace: changes that few see follow each other quickly, a single one that everybody sees keeps nobody waiting
// afterwards, and in a stream of those there is as much rest as work.
func TestPace(t *testing.T) {
	now := time.Unix(1, 0)
	var p pace
	work := func(took time.Duration) time.Duration {
		rest := p.rest(now, now.Add(took))
		now = now.Add(took + rest)
		return rest
	}
	for range 100 {
		if rest := work(time.Millisecond); rest != restFactor*time.Millisecond {
			t.Fatalf("after a millisecond's work it rests for %v", rest)
		}
	}
	now = now.Add(time.Second)
	for range 10 {
		if rest := work(60 * time.Millisecond); rest != restMost {
			t.Fatalf("after a change for everybody it rests for %v", rest)
		}
		now = now.Add(400 * time.Millisecond)
	}
	var worked, rested time.Duration
	for range 100 {
		const took = 100 * time.Millisecond
		worked += took
		rested += work(took)
	}
	if rested < worked-2*workAhead || rested > worked {
		t.Errorf("in a storm it rests for %v and works for %v", rested, worked)
	}
}
