package hcm

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/proxy/upstream/retry"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// routing is what the router knows of one exchange.
type routing struct {
	cluster  *upstream.Cluster
	config   *plan.Cluster
	host     *upstream.Host
	tried    []*upstream.Host
	timeouts route.Timeouts
	retry    retry.State
	choice   upstream.Choice
	ask      upstream.Ask
	internal bool // the request comes from an internal address
	complete bool // the response went out whole
	// end is when the exchange ended, as far as that is known already.
	end sock.Instant

	first    exchange.Piece // the part of the request's body that came with its head
	framed   bool           // the request's pieces are handed on with their framing
	kept     []byte         // the body as sent so far, for retries and mirrors
	keeping  bool
	whole    bool // the whole body is in first and kept
	trailed  bool // and was followed by trailers, which aren't kept
	deadline sock.Instant
	attempts uint32
	idle     time.Duration
	flush    time.Duration // how long a client may take nothing of a response that is complete
	autoHost bool
	picked   bool // the next try has its host already
	cookie   *plan.HashPolicy
	cookieV  []byte
	// answered is the upstream side of the try that answered. The response's fields are views of its buffer, so that
	// it is closed only when the exchange has been logged.
	answered exchange.Upstream
}

// defaultKept bounds the body kept for retries where the route has no limit of its own; Envoy's buffer limit.
const defaultKept = 1 << 20

// forward sends the request to the decision's cluster and its answer back.
func (s *stream) forward() {
	if !s.admit() {
		return
	}
	defer s.router.cluster.EndRequest(s.decision.Action.Priority)
	s.settle()
	if s.firstPiece() {
		s.tries(outcome{}, false)
	}
}

// admit finds the cluster and counts the request against its circuit breaker, which EndRequest must take back. It
// reports false when the request has been answered instead.
func (s *stream) admit() bool {
	r := &s.router
	r.config = s.decision.Cluster(s.plan)
	r.cluster = upstream.Of(r.config)
	if r.cluster == nil {
		code := int(s.decision.Action.NotFoundCode)
		if code == 0 {
			code = 503
		}
		s.reply(reply{status: code, flags: telemetry.FlagNoClusterFound, details: "cluster_not_found"})
		return false
	}
	s.rec.UpstreamCluster = r.cluster.Name
	prio := s.decision.Action.Priority
	if r.cluster.Dropped() {
		s.reply(reply{status: 503, details: "drop_overload", body: "drop overload"})
		return false
	}
	if !r.cluster.BeginRequest(prio) {
		r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqPendingOverflow)
		s.overflow()
		return false
	}
	return true
}

func (s *stream) overflow() {
	s.reply(reply{
		status: 503, flags: telemetry.FlagUpstreamOverflow, details: "upstream_reset_before_response_started{overflow}",
		body: "upstream connect error or disconnect/reset before headers. reset reason: overflow", overloaded: true,
	})
}

// settle settles everything that all tries have in common.
func (s *stream) settle() {
	r, a, h := &s.router, s.decision.Action, s.req
	r.timeouts = s.decision.Timeouts(&s.head, s.m.filter.router, s.m.cfg.Timeouts.MaxStream)
	if d := r.config.Protocol.MaxStreamDuration; d > 0 && (r.timeouts.MaxStream == 0 || d < r.timeouts.MaxStream) {
		r.timeouts.MaxStream = d
	}
	if h.Upgrade || h.Method == http1.MethodConnect {
		r.timeouts.Global = 0
	}
	s.idleTimes()
	r.retry.Init(a.Retry, &s.head)
	r.choice = upstream.Choice{Shard: s.c.acc.Shard, OriginalDst: s.c.acc.Destination}
	if a.Retry != nil && a.Retry.AvoidPreviousHosts {
		r.choice.Attempts = max(1, a.Retry.HostAttempts)
	}
	if len(a.Hash) > 0 {
		s.hash(a.Hash)
	}
	s.rewrite()
	s.mutate(&h.List, s.decision.Headers.Request)
	if vh := s.decision.VirtualHost; vh.IncludeAttemptCount {
		s.attemptHeader()
	}
	s.exchangePeers()
	s.connectOptions()
	s.expectedTimeout()
	r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqTotal)
}

// idleTimes settles how long nothing may happen. A route's idle timeout counts for the flush, too, unless that has its own.
func (s *stream) idleTimes() {
	r, a, t := &s.router, s.decision.Action, &s.m.cfg.Timeouts
	r.idle, r.flush = t.StreamIdle, t.StreamFlush
	if a.HasIdleTimeout {
		r.idle = a.IdleTimeout
		if !t.HasStreamFlush {
			r.flush = a.IdleTimeout
		}
	}
	if a.HasFlushTimeout {
		r.flush = a.FlushTimeout
	}
	if s.rec.Protocol == telemetry.ProtocolHTTP2 {
		s.down2.LimitFlush(s.c.reduced(overload.StreamFlush, r.flush))
	}
}

// connectOptions says how a connection for the request must be made.
func (s *stream) connectOptions() {
	r := &s.router
	r.ask = upstream.Ask{
		ConnectOptions: upstream.ConnectOptions{Shard: s.c.acc.Shard, Source: s.c.remote, Destination: s.c.acc.Destination},
		HTTP2:          s.rec.Protocol == telemetry.ProtocolHTTP2, Priority: s.decision.Action.Priority, Client: s.client,
	}
	// Endpoints that are in plain text take no notice of it.
	if f := s.m.filter.alpn; f != nil && (r.config.TLS != nil || len(r.config.TransportSocketMatches) > 0) {
		r.ask.ALPN = s.alpn(f)
	}
	if r.config.Protocol.AutoSNI {
		name := s.req.Authority
		if hn := r.config.Protocol.SNIHeader; hn != nil {
			if v, ok := hn.Of(&s.head); ok {
				name = v
			}
		}
		r.ask.SNI = string(plan.WithoutPort(name))
	}
}

// alpn announces the protocol that the cluster is spoken to in.
func (s *stream) alpn(f *plan.ALPN) []string {
	same := s.router.config.Protocol.Version == plan.SameDownstream
	switch {
	case s.router.config.Protocol.Version == plan.HTTP2, same && s.rec.Protocol == telemetry.ProtocolHTTP2:
		return f.HTTP2
	case same && s.rec.Protocol == telemetry.ProtocolHTTP10:
		return f.HTTP10
	}
	return f.HTTP11
}

// tries tries until there is an answer. made says that the first try has been made already, and ended with out.
func (s *stream) tries(out outcome, made bool) {
	r := &s.router
	retrying := false
	for {
		done := false
		if !made {
			out, done = s.try()
		}
		made = false
		if retrying {
			r.cluster.EndRetry(s.decision.Action.Priority)
			retrying = false
		}
		if done {
			return
		}
		if !out.granted && !s.grant(&out) || !s.pause(&out) {
			if out.counted {
				r.cluster.EndRetry(s.decision.Action.Priority)
			}
			s.fail(&out)
			return
		}
		retrying = out.counted
	}
}

// firstPiece takes what has been received of the body, and decides whether the body is kept.
func (s *stream) firstPiece() bool {
	r := &s.router
	r.framed = s.req.Framing == http1.FramingChunked && s.framedUpstream()
	owed := s.endOwed()
	if owed {
		s.down.Deadline(s.requestDeadline())
	}
	p, err := s.down.Next(owed, r.framed)
	if err != nil {
		s.badBody(err)
		return false
	}
	if owed {
		s.down.Deadline(0)
	}
	if s.req.ExpectContinue && !s.m.cfg.Proxy100Continue {
		s.req.Remove(header.Expect)
		if !p.End {
			s.resp.Reset()
			s.resp.Status = 100
			if err := s.down.Respond(&s.resp, exchange.Piece{}); err != nil {
				s.gone.Store(true)
				return false
			}
		}
	}
	// A relay that found no room on its connection has been here already, before more of the body came.
	r.first, r.whole, r.keeping = p, p.End, false
	s.bodyIn = int64(len(p.Data))
	s.countIn(p)
	if p.End {
		s.rec.RequestReceived = sock.Now().Sub(s.start)
		return true
	}
	r.keeping = r.retry.Enabled() || s.decision.Mirrors != 0
	if r.keeping {
		// What was read is overwritten by what follows.
		r.kept = append(r.kept[:0], p.Data...)
	}
	return true
}

// endOwed tells of a request over HTTP/2 that says it has no body, and whose end is still to come. Over HTTP/1 it would be
// complete already, and answered before a body, which is an error, comes after all: so it isn't sent before its end is there.
func (s *stream) endOwed() bool {
	return s.rec.Protocol == telemetry.ProtocolHTTP2 && s.req.ContentLength == 0 && !s.down2.Whole()
}

// soFar is what is there of the request's body for the next try.
func (r *routing) soFar() exchange.Piece {
	if r.keeping {
		return exchange.Piece{Data: r.kept, End: r.whole, Framed: r.framed}
	}
	return r.first
}

// framedUpstream tells whether the upstream speaks HTTP/1 for certain.
func (s *stream) framedUpstream() bool {
	switch s.router.config.Protocol.Version {
	case plan.HTTP1:
		return true
	case plan.SameDownstream:
		return s.rec.Protocol != telemetry.ProtocolHTTP2
	}
	return false
}

// badBody answers a request whose body can't be read, with the end of an HTTP/1 connection.
func (s *stream) badBody(err error) {
	if s.http1 != nil {
		s.http1.CloseAfter()
	}
	switch {
	case errors.Is(err, exchange.ErrTimeout):
		s.lateBody()
	case errors.Is(err, exchange.ErrProtocol):
		var why http1.Reason
		status := 400
		if errors.As(err, &why) {
			status = why.Status()
		}
		s.reply(reply{status: status, flags: telemetry.FlagDownstreamProtocolError, details: "http1.codec_error"})
	default:
		s.gone.Store(true)
		s.down.Reset()
	}
}

// lateBody answers a client that takes too long over its request.
func (s *stream) lateBody() {
	if d := s.m.cfg.Timeouts.Request; d > 0 && sock.Now().Sub(s.start) >= d {
		s.stat.rqTimeout.Add(1)
		s.reply(reply{status: 408, details: "request_overall_timeout", body: "request timeout"})
		return
	}
	s.stat.rqIdleTimeout.Add(1)
	s.reply(reply{status: 408, flags: telemetry.FlagStreamIdleTimeout, details: "stream_idle_timeout", body: "stream timeout"})
}

// outcome is how a try ended without an answer for the client.
type outcome struct {
	retry.Outcome
	err     error
	connect *upstream.ConnectError
	noHost  bool
	final   bool // nothing more may be tried: part of the body is gone, or the time is up
	granted bool // another try was granted
	counted bool // and counted against the breaker
	free    bool // a stale connection: trying again costs nothing
	unsent  bool // nothing of the request was taken, so what there is of the body is all of what was read
	timeout telemetry.ResponseFlags
	detail  string
	wait    time.Duration // before the next try, as the response asks for; 0 leaves it to the policy
}

// grant decides whether to try once more.
func (s *stream) grant(o *outcome) bool {
	r := &s.router
	if o.final || s.gone.Load() || r.trailed || !r.first.End && !r.keeping && !o.unsent {
		return false
	}
	if o.free && !r.ask.Fresh {
		r.ask.Fresh, o.granted = true, true
		return true
	}
	if !r.retry.Wants(&o.Outcome) {
		return false
	}
	if !r.retry.Take() {
		s.rec.Flags |= telemetry.FlagUpstreamRetryLimitExceeded
		r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqRetryLimitExceeded)
		return false
	}
	if !r.cluster.BeginRetry(s.c.acc.Shard, s.decision.Action.Priority) {
		s.rec.Flags |= telemetry.FlagUpstreamOverflow
		return false
	}
	o.counted, o.granted = true, true
	r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqRetry)
	return true
}

// pause waits for the time of the retry that was granted, and prepares it.
func (s *stream) pause(o *outcome) bool {
	if !o.counted {
		return true
	}
	r := &s.router
	wait := o.wait
	if wait == 0 {
		wait = r.retry.Backoff(rand.Uint64())
	}
	if r.deadline != 0 {
		wait = min(wait, max(0, r.deadline.Sub(sock.Now())))
	}
	if wait > 0 && !s.wait(wait) {
		return false
	}
	if r.host != nil && r.choice.Attempts > 0 {
		r.tried = append(r.tried, r.host)
		r.choice.Avoid = r.tried
	}
	if s.decision.VirtualHost.IncludeAttemptCount {
		s.attemptHeader()
	}
	return true
}

// try makes one try. done means that the client has been answered, or is gone.
func (s *stream) try() (o outcome, done bool) {
	r := &s.router
	if !s.pick() {
		return outcome{noHost: true, final: true}, false
	}
	defer r.host.EndRequest(s.c.acc.Shard)
	s.setDeadline()
	r.ask.Deadline = r.deadline
	var up exchange.Upstream
	var err error
	if s.req.Method == http1.MethodConnect && s.decision.Action.ConnectTunnel {
		up, err = openTunnel(r.host, &r.ask)
	} else {
		up, err = r.host.Exchange(context.Background(), &r.ask)
	}
	if err != nil {
		return s.connectFailed(err), false
	}
	s.rec.UpstreamLocal = up.Local()
	s.setUpstream(up)
	defer func() {
		s.setUpstream(nil)
		if done {
			r.answered = up
			return
		}
		up.Close()
	}()
	return s.exchange(up)
}

// pick chooses the host of the next try, unless there is one already, and counts the try in with it.
func (s *stream) pick() bool {
	r := &s.router
	if r.picked {
		r.picked = false
		return true
	}
	r.attempts++
	s.rec.UpstreamAttempts = uint16(r.attempts)
	r.host = r.cluster.Pick(&r.choice)
	if r.host == nil {
		return false
	}
	s.rec.UpstreamHost, s.rec.UpstreamHostName = r.host.Addr(), r.host.Name()
	if r.autoHost {
		s.autoHost(r.host.Endpoint().Hostname)
	}
	r.host.BeginRequest(s.c.acc.Shard)
	return true
}

// setDeadline starts the route's timeout if the request is complete.
func (s *stream) setDeadline() {
	r := &s.router
	if r.timeouts.Global > 0 && r.deadline == 0 && r.whole {
		r.deadline = s.start.Add(s.rec.RequestReceived + r.timeouts.Global)
	}
}

// autoHost names the endpoint as the authority, where it has a name.
func (s *stream) autoHost(name string) {
	switch {
	case name == "":
	case s.router.attempts == 1:
		s.replaceAuthority(s.keep([]byte(name)))
	default:
		s.req.Authority = s.keep([]byte(name))
	}
}

func (s *stream) connectFailed(err error) outcome {
	o := outcome{err: err, Outcome: retry.Outcome{Failure: retry.ConnectFailure, GRPCStatus: -1}}
	if errors.As(err, &o.connect) && o.connect.Overflow {
		o.Failure = retry.Overflow
		return o
	}
	s.router.host.Report(503, true)
	return o
}
