package hcm

import (
	"errors"
	"math/rand/v2"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/proxy/upstream/retry"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// exchange sends the request on an upstream connection and passes the answer on.
func (s *stream) exchange(up exchange.Upstream) (o outcome, done bool) {
	r := &s.router
	first := r.soFar()
	s.rec.UpstreamFirstOut = sock.Now().Sub(s.start)
	began := s.start.Add(s.rec.UpstreamFirstOut)
	var flag telemetry.ResponseFlags
	var detail string
	if !up.Framed() {
		// A server that speaks HTTP/2 may open no window for what comes with the head.
		var at sock.Instant
		at, flag, detail = s.waitDeadline(began, began)
		up.Deadline(at)
	}
	switch err := up.Send(s.req, first); {
	case errors.Is(err, exchange.ErrTimeout) && flag != 0:
		return s.timedOut(flag, detail), false
	case err != nil:
		o = s.tryFailed(err)
		o.unsent = errors.Is(err, exchange.ErrRefused)
		return o, false
	}
	if !first.End {
		if s.duplex(up) {
			p := s.startPump(up)
			defer p.join()
		} else if !s.sendBody(up) {
			return o, true
		}
	} else if s.decision.Mirrors != 0 && r.attempts == 1 {
		s.mirror(first.Data)
	}
	return s.await(up, began)
}

// longBody is a body, in bytes, that socket buffers may not hold: a server that answers while it reads stops reading
// such a one until somebody reads its answer.
const longBody = 64 << 10

// duplex tells whether the request's body may have to be read while the response is being awaited. A short body of
// known length is always sent to its end; of others the client may hold back a part until it has seen some of the answer.
// A server that speaks HTTP/2 may open no window for even a short one, and is waited for with the limits on answers.
func (s *stream) duplex(up exchange.Upstream) bool {
	return !up.Framed() || s.req.Framing != http1.FramingLength || s.req.ContentLength > longBody || s.rec.Protocol == telemetry.ProtocolHTTP2 ||
		s.req.ExpectContinue && s.m.cfg.Proxy100Continue
}

// sendBody passes the rest of the request's body on. It reports false when the client has failed, and been answered.
func (s *stream) sendBody(up exchange.Upstream) bool {
	r := &s.router
	for {
		s.down.Deadline(s.requestDeadline())
		p, err := s.down.Next(true, r.framed)
		if err != nil {
			s.badBody(err)
			return false
		}
		s.bodyIn += int64(len(p.Data))
		s.countIn(p)
		s.keepPiece(p)
		if r.whole = p.End; p.End {
			s.down.Deadline(0)
			s.rec.RequestReceived = sock.Now().Sub(s.start)
			if r.timeouts.Global > 0 {
				r.deadline = s.start.Add(s.rec.RequestReceived + r.timeouts.Global)
			}
		}
		if err := up.Write(p, s.requestTrailers(p)); err != nil {
			// The server may have answered before it stopped reading: that answer is what counts.
			return true
		}
		if p.End {
			if s.decision.Mirrors != 0 && r.keeping && r.attempts == 1 {
				s.mirror(r.kept)
			}
			return true
		}
	}
}

// keepPiece keeps a piece for retries, as long as the body isn't too long for that.
func (s *stream) keepPiece(p exchange.Piece) {
	r := &s.router
	if !r.keeping {
		return
	}
	limit := defaultKept
	if l := s.c.acc.Listener.BufferLimit; l > 0 {
		limit = int(l)
	}
	if l := s.decision.Route.PerRequestBufferLimit; l > 0 {
		limit = int(l)
	}
	if len(r.kept)+len(p.Data) > limit {
		r.keeping = false
		return
	}
	r.kept = append(r.kept, p.Data...)
}

func (s *stream) requestTrailers(p exchange.Piece) *header.List {
	if !p.End || p.Framed || s.req.Framing == http1.FramingLength && s.rec.Protocol != telemetry.ProtocolHTTP2 {
		return nil
	}
	l := &header.List{}
	s.down.Trailers(l)
	s.router.trailed = len(l.Fields) > 0
	return l
}

func (s *stream) idleDeadline() sock.Instant {
	d := s.c.reduced(overload.StreamIdle, s.router.idle)
	if d <= 0 {
		return 0
	}
	return sock.Now().Add(d)
}

// requestDeadline bounds the wait for more of the request.
func (s *stream) requestDeadline() sock.Instant {
	at := s.idleDeadline()
	if d := s.m.cfg.Timeouts.Request; d > 0 {
		if whole := s.start.Add(d); at == 0 || whole < at {
			at = whole
		}
	}
	return at
}

// waitDeadline is the earliest of the limits on waiting for a response, and what it means when it passes. The try began
// at began, and something was passed on last at active.
func (s *stream) waitDeadline(began, active sock.Instant) (at sock.Instant, flag telemetry.ResponseFlags, detail string) {
	r := &s.router
	at, flag, detail = s.responseDeadline(), telemetry.FlagUpstreamRequestTimeout, "response_timeout"
	earlier := func(d time.Duration, from sock.Instant, f telemetry.ResponseFlags, what string) {
		if d > 0 && (at == 0 || from.Add(d) < at) {
			at, flag, detail = from.Add(d), f, what
		}
	}
	earlier(r.timeouts.PerTry, began, telemetry.FlagUpstreamRequestTimeout, "upstream_per_try_timeout")
	if r.whole {
		earlier(r.timeouts.PerTryIdle, began, telemetry.FlagStreamIdleTimeout, "upstream_per_try_idle_timeout")
	}
	if s.pump != nil {
		active = max(active, sock.Instant(s.pump.last.Load()))
	}
	earlier(s.c.reduced(overload.StreamIdle, r.idle), active, telemetry.FlagStreamIdleTimeout, detailStreamIdle)
	earlier(r.timeouts.MaxStream, s.start, telemetry.FlagUpstreamMaxStreamDurationReached, "upstream_max_stream_duration_reached")
	return at, flag, detail
}

// responseDeadline is when the route's timeout passes. While the request is still being pumped that isn't known, and it
// is when to look again.
func (s *stream) responseDeadline() sock.Instant {
	r := &s.router
	if r.deadline != 0 || s.pump == nil || r.timeouts.Global <= 0 {
		return r.deadline
	}
	if end := sock.Instant(s.pump.complete.Load()); end != 0 {
		r.deadline = end.Add(r.timeouts.Global)
		return r.deadline
	}
	return sock.Now().Add(r.timeouts.Global)
}

// await waits for the response's head.
func (s *stream) await(up exchange.Upstream, began sock.Instant) (o outcome, done bool) {
	at, _, _ := s.waitDeadline(began, began)
	up.Deadline(at)
	for {
		first, err := up.Response(&s.resp, s.down.Framed())
		switch {
		case errors.Is(err, exchange.ErrTimeout):
			// The request may have gone on, or been completed, meanwhile: its timeouts count from there.
			at, flag, detail := s.waitDeadline(began, began)
			if at == 0 || sock.Now() < at {
				up.Deadline(at)
				continue
			}
			return s.timedOut(flag, detail), false
		case err != nil:
			return s.tryFailed(err), false
		}
		if s.resp.Status < 200 && s.resp.Status != 101 {
			if !s.inform() {
				return o, true
			}
			continue
		}
		if o, again := s.judge(); again {
			return o, false
		}
		s.respond(up, first, began)
		return o, true
	}
}

// judge counts the response whose head has come, and tells whether to try again rather than to pass it on.
func (s *stream) judge() (o outcome, again bool) {
	r, code := &s.router, s.resp.Status
	s.rec.UpstreamFirstIn = sock.Now().Sub(s.start)
	r.host.Answered(s.c.acc.Shard, code)
	if !r.retry.Enabled() && !r.retry.Exhausted() {
		return o, false
	}
	o = outcome{Outcome: retry.Outcome{
		Code: code, GRPCStatus: grpcStatus(&s.resp.List), Head: responseHead{&s.resp.List},
		Ratelimited: s.resp.Has(header.XEnvoyRatelimited),
	}}
	if r.retry.Wants(&o.Outcome) && s.grant(&o) {
		o.wait = r.retry.ResetAfter(&o.Outcome, time.Now(), rand.Uint64())
		return o, true
	}
	if r.retry.Retries() > 0 && code < 500 {
		r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqRetrySuccess)
	}
	return o, false
}

// inform passes a 1xx on. A 100 has been sent already unless it is left to the upstream.
func (s *stream) inform() bool {
	if s.resp.Status == 100 && !s.m.cfg.Proxy100Continue {
		return true
	}
	if err := s.down.Respond(&s.resp, exchange.Piece{}); err != nil {
		s.gone.Store(true)
		return false
	}
	return true
}

func (s *stream) timedOut(flag telemetry.ResponseFlags, detail string) outcome {
	r := &s.router
	o := outcome{Outcome: retry.Outcome{Failure: retry.TryTimeout, GRPCStatus: -1}, timeout: flag, detail: detail}
	r.host.Stats.RqTimeout.Add(1)
	r.host.Report(504, true)
	if detail == "upstream_per_try_timeout" || detail == "upstream_per_try_idle_timeout" {
		r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqPerTryTimeout)
		return o
	}
	o.final = true
	r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqTimeout)
	return o
}

// tryFailed says what an error before the response's head means.
func (s *stream) tryFailed(err error) outcome {
	o := outcome{err: err, Outcome: retry.Outcome{Failure: retry.Reset, GRPCStatus: -1}}
	switch {
	case errors.Is(err, exchange.ErrGone), errors.Is(err, exchange.ErrCanceled):
		s.gone.Store(true)
		o.final = true
		return o
	case errors.Is(err, exchange.ErrStale):
		o.Failure, o.free = retry.Stale, true
		return o
	case errors.Is(err, exchange.ErrRefused):
		o.Failure, o.free = retry.Refused, true
	}
	s.router.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqRxReset)
	s.router.host.Report(503, true)
	return o
}

// respond sends the response to the client.
func (s *stream) respond(up exchange.Upstream, first exchange.Piece, began sock.Instant) {
	s.responseHead(began)
	s.copyResponse(up, first)
}

// responseHead makes the response's head what the client gets.
func (s *stream) responseHead(began sock.Instant) {
	h := &s.resp
	s.rec.ResponseCode = uint16(h.Status)
	s.rec.CodeDetails = detailViaUpstream
	s.respFields.List = &h.List
	s.rec.Response = &s.respFields
	if s.grpc {
		s.rec.GRPCStatus = int16(grpcStatus(&h.List))
	}
	s.responsePeers()
	if !s.suppressed() {
		h.SetKnown(header.XEnvoyUpstreamServiceTime, s.decimal(s.start.Add(s.rec.UpstreamFirstIn).Sub(began).Milliseconds()))
	}
	s.mutate(&h.List, s.decision.Headers.Response)
	s.finalHeaders(h, true)
}

// copyResponse sends the response, whose head is ready.
func (s *stream) copyResponse(up exchange.Upstream, first exchange.Piece) {
	h := &s.resp
	tunnel := h.Framing == http1.FramingTunnel
	trailers := s.responseTrailers(up, first)
	send := first
	if trailers != nil {
		send.End = false
	}
	s.answered = true
	if !tunnel {
		s.announceClose()
	}
	if err := s.down.Respond(h, send); err != nil {
		s.gone.Store(true)
		return
	}
	s.bodyOut = int64(len(first.Data))
	s.countOut(first)
	if trailers != nil {
		if err := s.down.Write(exchange.Piece{End: true}, trailers); err != nil {
			s.gone.Store(true)
			return
		}
	}
	if tunnel && first.End {
		s.ended()
		return
	}
	if tunnel && s.router.whole {
		p := s.startPump(up)
		defer p.join()
	}
	if first.End {
		s.ended()
		return
	}
	s.copyBody(up)
}

const (
	detailViaUpstream = "via_upstream"
	detailStreamIdle  = "stream_idle_timeout"
)

func (s *stream) ended() {
	r, now := &s.router, sock.Now()
	r.complete = true
	s.rec.UpstreamLastIn = now.Sub(s.start)
	if s.pump == nil {
		r.end = now
	}
}

// copyBody passes the rest of the response on.
func (s *stream) copyBody(up exchange.Upstream) {
	for {
		up.Deadline(s.bodyDeadline())
		p, err := up.Next()
		if err != nil {
			if errors.Is(err, exchange.ErrTimeout) && s.pumpedLately() {
				continue
			}
			s.cutOff(err)
			return
		}
		s.bodyOut += int64(len(p.Data))
		s.countOut(p)
		if err := s.down.Write(p, s.responseTrailers(up, p)); err != nil {
			s.gone.Store(true)
			return
		}
		if p.End {
			s.ended()
			return
		}
	}
}

func (s *stream) bodyDeadline() sock.Instant {
	at := s.idleDeadline()
	if d := s.router.deadline; d != 0 && (at == 0 || d < at) {
		at = d
	}
	return at
}

// responseTrailers returns the trailers that come with the last piece, or nil.
func (s *stream) responseTrailers(up exchange.Upstream, p exchange.Piece) *header.List {
	if !p.End || p.Framed {
		return nil
	}
	s.trailers.Reset()
	up.Trailers(&s.trailers)
	if len(s.trailers.Fields) == 0 {
		return nil
	}
	s.noteTrailers()
	return &s.trailers
}

// cutOff ends a response that can't be completed.
func (s *stream) cutOff(err error) {
	reason, flag := "connection_termination", telemetry.FlagUpstreamConnectionTermination
	switch {
	case errors.Is(err, exchange.ErrTimeout):
		reason, flag = detailStreamIdle, telemetry.FlagStreamIdleTimeout
		if s.router.deadline != 0 && sock.Now() >= s.router.deadline {
			reason, flag = "response_timeout", telemetry.FlagUpstreamRequestTimeout
			s.router.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqTimeout)
		}
	case errors.Is(err, exchange.ErrCanceled), errors.Is(err, exchange.ErrGone):
		s.gone.Store(true)
		s.down.Reset()
		return
	case errors.Is(err, exchange.ErrProtocol):
		reason, flag = "protocol_error", telemetry.FlagUpstreamProtocolError
	case errors.Is(err, exchange.ErrReset) && s.rec.Protocol == telemetry.ProtocolHTTP2:
		reason, flag = "remote_reset", telemetry.FlagUpstreamRemoteReset
	}
	s.rec.Flags |= flag
	s.rec.CodeDetails = "upstream_reset_after_response_started{" + reason + "}"
	s.down.Reset()
}

// grpcStatus reads grpc-status; -1 where there is none.
func grpcStatus(l *header.List) int {
	v := l.Get(header.GRPCStatus)
	if len(v) == 0 || len(v) > 3 {
		return -1
	}
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' {
			return 2
		}
		n = n*10 + int(c-'0')
	}
	return n
}
