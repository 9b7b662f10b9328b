package translate

import (
	"sync/atomic"
	"testing"
)

func TestInParts(t *testing.T) {
	for _, n := range []int{0, 1, 511, 1024, 5000} {
		done := make([]atomic.Int32, n)
		inParts(n, func(from, to int) {
			for i := from; i < to; i++ {
				done[i].Add(1)
			}
		})
		for i := range done {
			if got := done[i].Load(); got != 1 {
				t.Fatalf("part %d of %d was done %d times", i, n, got)
			}
		}
	}
}

func TestInPartsPassesPanicsOn(t *testing.T) {
	defer func() {
		if p := recover(); p != "one" {
			t.Errorf("recovered %v", p)
		}
	}()
	inParts(5000, func(from, _ int) {
		if from == 0 {
			panic("one")
		}
	})
	t.Error("no panic came")
}
