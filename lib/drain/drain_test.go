package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsForHolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New()
		if !d.Hold("a") {
			t.Fatal("nothing is draining yet")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d.Begin()
		if err := d.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v while a holder is left", err)
		}
		if !d.Hold("b") || len(d.Holders()) != 2 {
			t.Error("whoever comes while others are left may still hold")
		}
		d.Drop("a")
		d.Drop("b")
		if err := d.Wait(t.Context()); err != nil {
			t.Errorf("Wait = %v", err)
		}
		if d.Hold("c") {
			t.Error("held on to what is drained")
		}
	})
}

func TestBeginWithoutHolders(t *testing.T) {
	d := New()
	d.Begin()
	d.Begin()
	if err := d.Wait(t.Context()); err != nil || !d.Draining() {
		t.Errorf("Wait = %v", err)
	}
}

func TestOrder(t *testing.T) {
	o := &Order{}
	d := NewUnder(o)
	if d.Draining() || d.Hurried() || o.Standing() {
		t.Error("nobody has asked yet")
	}
	o.Begin()
	if !d.Draining() || d.Hurried() || !d.Hold("late") {
		t.Error("an order asks to go, without hurry, and turns nobody away")
	}
	o.Hurry()
	if !d.Hurried() {
		t.Error("not hurried")
	}
	o.Cancel()
	if d.Draining() || d.Hurried() || o.Standing() {
		t.Error("the order was taken back")
	}
}
