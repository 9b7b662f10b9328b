package hcm

import "testing"

// TestUnsentRequestsAreTriedAgain has a connection that takes no more streams, as one that drains, when a request comes whose
// body is still on its way and isn't kept: another connection can have it, once.
func TestUnsentRequestsAreTriedAgain(t *testing.T) {
	s := &stream{}
	if s.grant(&outcome{free: true}) {
		t.Error("a request is tried again though a part of its body is gone")
	}
	if !s.grant(&outcome{free: true, unsent: true}) {
		t.Error("a request of which nothing was sent is not tried again")
	}
	if s.grant(&outcome{free: true, unsent: true}) {
		t.Error("it is tried again on a fresh connection, too")
	}
}
