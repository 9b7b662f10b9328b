package hcm

import (
	"sync"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/filter/grpcweb"
	"lateen.dev/lateen/proxy/h2"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
	"lateen.dev/lateen/wire/sock"
)

// relay is what a stream has whose frames are passed on, in both directions, by the readers of its two HTTP/2
// connections, so that it needs no goroutine. Whatever has to wait (for a connection, for a retry, in a filter) is
// handed over to a goroutine, which goes on from where the relay has come to, and never back.
//
// Both readers and the connection's alarm come here, so everything of the stream is guarded by mu while down is set.
// Locks are taken in this order: mu, then those of connections, of either kind.
type relay struct {
	mu sync.Mutex
	// down and up are the streams on either side. A call for any other stream is late, and is for an exchange that has
	// ended. down is nil when the stream is no relay; up is nil before the request is sent and after it is given up.
	down, up *http2.Stream
	sender   h2.Sender
	counted  bool         // against the cluster's circuit breaker
	began    sock.Instant // the try
	active   sock.Instant // when something was passed on last
	slot     int          // in the connection's alarm, from 1, guarded by that; 0 is none
}

// fromClient and fromServer receive what comes on either side.
type (
	fromClient stream
	fromServer stream
)

var (
	_ http2.Receiver = (*fromClient)(nil)
	_ http2.Receiver = (*fromServer)(nil)
)

const relayName = "HTTP/2 relay"

// pass begins to serve a stream. It is the connection's reader that calls.
func (c *conn) pass(b *http2.Batch, st *http2.Stream) {
	c.idled.Store(0)
	s := takeStream()
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	defer c.m.engine.contain(relayName)
	s.down2.Begin(st, &s.bad)
	s.begin(c, &s.down2, &s.bad, telemetry.ProtocolHTTP2)
	s.relay.down, s.relay.counted = st, false
	st.Attach((*fromClient)(s))
	s.down2.Pass(b)
	s.passRequest(b)
	if s.relay.down == st {
		s.watch()
	}
}

// passRequest answers the request, sends it on or hands it over.
func (s *stream) passRequest(b *http2.Batch) {
	if !s.prepare() {
		s.replied(b)
		return
	}
	s.decide()
	if s.mustWait() {
		s.handOver(b, func(s *stream) {
			defer s.finish()
			s.demand()
			if s.filtered() {
				s.act()
			}
		})
		return
	}
	if !s.filtered() {
		s.replied(b)
		return
	}
	if s.decision.Outcome != route.Forward {
		s.act()
		s.replied(b)
		return
	}
	if !s.admit() {
		s.replied(b)
		return
	}
	s.relay.counted = true
	s.settle()
	s.passHead(b)
}

// mustWait tells whether the request needs a goroutine of its own.
func (s *stream) mustWait() bool {
	d, h := &s.decision, s.req
	if s.unknown() != nil || s.endOwed() {
		return true
	}
	if d.Outcome == route.Forward && (d.Mirrors != 0 || h.Method == http1.MethodConnect || h.Upgrade || h.ExpectContinue ||
		!upstream.Multiplexed(d.Cluster(s.plan))) {
		return true
	}
	for i := range s.m.filter.order {
		st := &s.m.filter.order[i]
		if st.found != nil {
			now, ok := st.under(s.plan)
			if !ok {
				continue // it is answered at once
			}
			st = &now
		}
		switch {
		case st.rbac != nil, st.cors != nil:
		case st.grpcWeb:
			if grpcweb.KindOf(s.req.Get(header.ContentType)) != grpcweb.No {
				return true
			}
		case st.fault != nil:
			if s.delays(st) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// passHead sends the request's head to a host.
func (s *stream) passHead(b *http2.Batch) {
	r := &s.router
	if !s.pick() {
		s.handTries(b, outcome{noHost: true, final: true}, true)
		return
	}
	if room, ok := r.host.Room(&r.ask); ok && s.firstPiece() {
		s.setDeadline()
		s.rec.UpstreamLocal = room.Local
		s.rec.UpstreamFirstOut = sock.Now().Sub(s.start)
		s.relay.began = s.start.Add(s.rec.UpstreamFirstOut)
		s.relay.active = s.relay.began
		up, err := s.relay.sender.Open(b, room, s.req, r.first.End, (*fromServer)(s))
		if err == nil {
			s.relay.up = up
			return
		}
	}
	r.picked = true
	s.relay.counted = false
	s.handOver(b, func(s *stream) {
		defer s.finish()
		defer s.router.cluster.EndRequest(s.decision.Action.Priority)
		if s.firstPiece() {
			s.tries(outcome{}, false)
		}
	})
}

// handOver has a goroutine go on with the stream.
func (s *stream) handOver(b *http2.Batch, f func(*stream)) {
	st := s.relay.down
	s.unwatch()
	s.leaveServer(b)
	s.relay.down = nil
	s.down2.Pass(nil)
	st.Serve(func(*http2.Stream) { s.serve(f) })
}

// handTries hands over to where requests are tried: see tries.
func (s *stream) handTries(b *http2.Batch, o outcome, made bool) {
	s.relay.counted = false
	s.handOver(b, func(s *stream) {
		defer s.finish()
		defer s.router.cluster.EndRequest(s.decision.Action.Priority)
		s.tries(o, made)
	})
}

// leaveServer gives up the upstream side, if there is one.
func (s *stream) leaveServer(b *http2.Batch) {
	if s.relay.up == nil {
		return
	}
	s.relay.up.Leave(b, http2.Cancel)
	s.relay.up = nil
	s.router.host.EndRequest(s.c.acc.Shard)
}

// replied ends the relay after a response of our own, once it is out.
func (s *stream) replied(b *http2.Batch) {
	if !s.router.complete || s.relay.down.Kept() == 0 {
		s.end(b)
	}
}

// end ends the relay. The stream is somebody else's when the lock has been given up.
func (s *stream) end(b *http2.Batch) {
	c := s.c
	s.unwatch()
	s.leaveServer(b)
	if s.relay.counted {
		s.relay.counted = false
		s.router.cluster.EndRequest(s.decision.Action.Priority)
	}
	s.finish()
	s.relay.down = nil
	s.down2.Leave(b)
	if c.draining() {
		c.ask()
	}
	s.give()
}

// came accounts for a part of the request.
func (s *stream) came(p []byte, end bool) {
	r, piece := &s.router, exchange.Piece{Data: p, End: end}
	s.bodyIn += int64(len(p))
	s.countIn(piece)
	s.keepPiece(piece)
	s.relay.active = sock.Now()
	if r.whole = end; !end {
		return
	}
	s.rec.RequestReceived = s.relay.active.Sub(s.start)
	if r.timeouts.Global > 0 {
		r.deadline = s.start.Add(s.rec.RequestReceived + r.timeouts.Global)
		s.watch()
	}
}

// ReceiveHead implements http2.Receiver: the request's trailers.
func (f *fromClient) ReceiveHead(b *http2.Batch, st *http2.Stream, h *http2.Head, _ bool) bool {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.down != st {
		return false
	}
	defer s.m.engine.contain(relayName)
	if s.relay.up != nil {
		s.came(nil, true)
		s.router.trailed = true
		// Who hears from the server will learn why it can't be written to.
		_ = s.relay.sender.Trailers(b, s.relay.up, &h.List)
	}
	return true
}

// ReceiveData implements http2.Receiver.
func (f *fromClient) ReceiveData(b *http2.Batch, st *http2.Stream, p []byte, end bool) bool {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.down != st {
		return false
	}
	defer s.m.engine.contain(relayName)
	kept := 0
	if s.relay.up != nil {
		s.came(p, end)
		var err error
		if kept, err = s.relay.up.Send(b, p, end); err != nil {
			kept = 0 // who hears from the server will learn why
		}
	}
	st.Consumed(b, len(p)-kept)
	return true
}

// ReceiveReset implements http2.Receiver.
func (f *fromClient) ReceiveReset(b *http2.Batch, st *http2.Stream, _ error) {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.down != st {
		return
	}
	defer s.m.engine.contain(relayName)
	s.gone.Store(true)
	s.end(b)
}

// Sent implements http2.Receiver: the client has opened its window.
func (f *fromClient) Sent(b *http2.Batch, st *http2.Stream, n int) {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.down != st {
		return
	}
	defer s.m.engine.contain(relayName)
	s.relay.active = sock.Now()
	if s.relay.up != nil {
		s.relay.up.Consumed(b, n)
	}
	if s.router.complete && st.Kept() == 0 {
		s.end(b)
	}
}

// ReceiveHead implements http2.Receiver: the response's head, interim ones, or the trailers.
func (f *fromServer) ReceiveHead(b *http2.Batch, st *http2.Stream, h *http2.Head, end bool) bool {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.up != st {
		return false
	}
	defer s.m.engine.contain(relayName)
	s.relay.active = sock.Now()
	s.down2.Pass(b)
	if s.answered {
		s.passTrailers(b, h)
		return true
	}
	h2.ResponseHead(&s.resp, h, end)
	if s.resp.Status < 200 {
		if !s.inform() {
			s.end(b)
		}
		return true
	}
	if o, again := s.judge(); again {
		s.handTries(b, o, true)
		return true
	}
	s.responseHead(s.relay.began)
	s.answered = true
	if err := s.down2.Respond(&s.resp, exchange.Piece{End: end}); err != nil {
		s.gone.Store(true)
		s.end(b)
	} else if end {
		s.passedAll(b)
	}
	return true
}

// passTrailers ends the response.
func (s *stream) passTrailers(b *http2.Batch, h *http2.Head) {
	s.trailers.Reset()
	h2.AddTrailers(&s.trailers, h)
	s.noteTrailers()
	if err := s.down2.Write(exchange.Piece{End: true}, &s.trailers); err != nil {
		s.gone.Store(true)
		s.end(b)
		return
	}
	s.passedAll(b)
}

// noteTrailers has access logs and metrics see the response's trailers.
func (s *stream) noteTrailers() {
	if len(s.trailers.Fields) == 0 {
		return
	}
	s.trailFields.List = &s.trailers
	s.rec.Trailers = &s.trailFields
	if s.grpc {
		if st := grpcStatus(&s.trailers); st >= 0 {
			s.rec.GRPCStatus = int16(st)
		}
	}
}

// passedAll ends the exchange when the last of the response has gone out.
func (s *stream) passedAll(b *http2.Batch) {
	s.ended()
	if s.relay.down.Kept() == 0 {
		s.end(b)
	}
}

// ReceiveData implements http2.Receiver.
func (f *fromServer) ReceiveData(b *http2.Batch, st *http2.Stream, p []byte, end bool) bool {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.up != st {
		return false
	}
	defer s.m.engine.contain(relayName)
	s.relay.active = sock.Now()
	s.down2.Pass(b)
	s.bodyOut += int64(len(p))
	s.countOut(exchange.Piece{Data: p})
	kept, err := s.down2.PassData(p, end)
	if err != nil {
		s.gone.Store(true)
		s.end(b)
		return true
	}
	st.Consumed(b, len(p)-kept)
	if end {
		s.passedAll(b)
	}
	return true
}

// ReceiveReset implements http2.Receiver.
func (f *fromServer) ReceiveReset(b *http2.Batch, st *http2.Stream, err error) {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.up != st || s.router.complete {
		return
	}
	defer s.m.engine.contain(relayName)
	s.broke(b, h2.Fault(err))
}

// broke ends the exchange with an error of the upstream side.
func (s *stream) broke(b *http2.Batch, err error) {
	if !s.answered {
		s.handTries(b, s.tryFailed(err), true)
		return
	}
	s.cutOff(err)
	s.end(b)
}

// Sent implements http2.Receiver: the server has opened its window.
func (f *fromServer) Sent(b *http2.Batch, st *http2.Stream, n int) {
	s := (*stream)(f)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if s.relay.up != st {
		return
	}
	defer s.m.engine.contain(relayName)
	s.relay.active = sock.Now()
	s.relay.down.Consumed(b, n)
}
