package hcm

import (
	"testing"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/wire/http1"
)

// client is a downstream side whose body comes in these pieces.
type client struct {
	exchange.Downstream
	pieces []exchange.Piece
}

func (c *client) Next(bool, bool) (p exchange.Piece, err error) {
	p, c.pieces = c.pieces[0], c.pieces[1:]
	return p, nil
}

// TestBodyThatComesWhileAConnectionIsSought has a relay's connection take no more streams when the request's head is there, and
// the whole body come before another connection is tried: that try sends all of it. It is kept for retries in both cases.
func TestBodyThatComesWhileAConnectionIsSought(t *testing.T) {
	s := &stream{req: &http1.Head{}, m: &Manager{cfg: &plan.HTTPConnectionManager{}}, decision: route.Decision{Route: &plan.Route{}}}
	s.down = &client{pieces: []exchange.Piece{{}, {Data: []byte("body"), End: true}}}
	s.head.h = s.req
	s.router.retry.Init(&plan.RetryPolicy{On: plan.RetryReset, NumRetries: 2}, &s.head)
	for _, want := range []string{"", "body"} {
		if !s.firstPiece() {
			t.Fatal("the first piece was not taken")
		}
		if p := s.router.soFar(); string(p.Data) != want || p.End != (want != "") {
			t.Errorf("%q of the body would be sent, and its end: %v; want %q", p.Data, p.End, want)
		}
	}
}

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

// TestTrailersAreSentOnce: a request whose trailers went out is not tried again without them.
func TestTrailersAreSentOnce(t *testing.T) {
	s := &stream{}
	s.router.keeping, s.router.trailed = true, true
	if s.grant(&outcome{free: true}) {
		t.Error("a request is tried again though its trailers are gone")
	}
}
