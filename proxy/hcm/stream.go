package hcm

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/h1"
	"lateen.dev/lateen/proxy/h2"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// stream is one exchange: a request and its response. Streams are pooled; a stream belongs to the goroutine that runs
// it, but for what is said to be shared.
type stream struct {
	c    *conn
	m    *Manager
	stat *statShard
	plan *plan.Plan

	down   exchange.Downstream
	client *sock.Conn // watched while waiting for the upstream; nil on HTTP/2
	http1  *h1.Conn   // the client's connection; nil on HTTP/2
	down2  h2.Downstream
	bad    http1.Head // HTTP/2's request head, or an empty one for a request that can't be read

	head  head // the request as matchers see it
	req   *http1.Head
	resp  http1.Head
	start sock.Instant

	input    route.Input
	decision route.Decision
	rec      telemetry.Record
	router   routing
	peer     exchangePeer

	// arena holds header values that were made for this exchange.
	arena                   []byte
	line                    []byte // of access logs
	trailers                header.List
	respFields, trailFields fields
	grpc                    bool
	answered                bool // a response's head was sent
	corsRule                *plan.CORS
	corsOK                  bool
	bodyIn                  int64
	messagesIn, messagesOut messages
	bodyOut                 int64

	pump *pump       // the one that runs, if any
	gone atomic.Bool // shared: the client has given up
	up   shared

	relay relay
}

// shared is the upstream side as other goroutines may cancel it.
type shared struct {
	mu sync.Mutex
	up exchange.Upstream
	wg sync.WaitGroup // cancelling
}

var streams = sync.Pool{New: func() any {
	s := &stream{}
	s.resp.Reset()
	return s
}}

func takeStream() *stream {
	s, ok := streams.Get().(*stream)
	if !ok {
		panic("the pool of streams holds something else")
	}
	return s
}

// maxKept bounds what a pooled stream holds on to.
const maxKept = 16 << 10

func (s *stream) give() {
	s.up.wg.Wait()
	if cap(s.arena) > maxKept || cap(s.router.kept) > 4*maxKept {
		return
	}
	if s.http1 == nil {
		s.bad.Reset()
	}
	if len(s.trailers.Fields) > 0 {
		s.trailers.Reset()
	}
	s.c, s.m, s.stat, s.plan, s.down, s.client, s.http1, s.req = nil, nil, nil, nil, nil, nil, nil, nil
	s.head = head{buf: s.head.buf}
	s.resp.Reset()
	s.input, s.decision, s.rec = route.Input{}, route.Decision{}, telemetry.Record{}
	s.router = routing{kept: s.router.kept[:0], tried: s.router.tried[:0]}
	s.peer = exchangePeer{}
	s.arena = s.arena[:0]
	s.grpc, s.answered, s.corsOK, s.corsRule = false, false, false, nil
	s.bodyIn, s.bodyOut = 0, 0
	s.messagesIn, s.messagesOut = messages{}, messages{}
	s.gone.Store(false)
	streams.Put(s)
}

// begin fills in what is known when a request has arrived.
func (s *stream) begin(c *conn, d exchange.Downstream, h *http1.Head, p telemetry.Protocol) {
	s.c, s.m, s.down, s.req = c, c.m, d, h
	s.stat = c.m.stat(c.acc.Shard)
	s.stat.rqTotal.Add(1)
	s.stat.rqActive.Add(1)
	s.plan = c.m.engine.Current.Load()
	now := time.Now()
	s.start = sock.At(now)
	s.head.h, s.head.scheme = h, c.scheme
	s.router.flush = c.m.cfg.Timeouts.StreamFlush
	r := &s.rec
	r.Start = now
	r.Protocol, r.GRPCStatus, r.ConnectionID = p, -1, c.acc.ID
	r.DownstreamLocal, r.DownstreamRemote, r.DownstreamDirect = c.local, c.remote, c.direct
	r.RequestedServer = c.acc.SNI
	if t := c.acc.TLS; t != nil && t.Peer != nil {
		r.DownstreamPeerURI = t.Peer.ID
	}
	s.head.rec = r
}

// clientReset is called, by the connection's reader, when an HTTP/2 client gives the stream up.
func (s *stream) clientReset() {
	s.gone.Store(true)
	s.up.wg.Go(s.cancel)
}

// cancel gives up on the upstream. Any goroutine may call it.
func (s *stream) cancel() {
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	if s.up.up != nil {
		s.up.up.Cancel()
	}
}

// setUpstream publishes the upstream side for cancel, which nobody calls for a client that speaks HTTP/1.
func (s *stream) setUpstream(up exchange.Upstream) {
	if s.http1 != nil {
		return
	}
	s.up.mu.Lock()
	s.up.up = up
	s.up.mu.Unlock()
	if up != nil && s.gone.Load() {
		up.Cancel()
	}
}

// run answers the request.
func (s *stream) run() {
	defer s.finish()
	if !s.prepare() {
		return
	}
	s.decide()
	s.demand()
	if s.filtered() {
		s.act()
	}
}

// unknown returns what tells that more is known of the request's host; nil when it is known.
func (s *stream) unknown() <-chan struct{} {
	return s.input.Config.Missing(s.decision.VirtualHost, s.req.Authority)
}

// demand holds a request whose host nobody has called before until the control plane has answered what it is, and
// decides again.
func (s *stream) demand() {
	answer := s.unknown()
	if answer == nil {
		return
	}
	limit := time.NewTimer(plan.DemandTime)
	defer limit.Stop()
	select {
	case <-answer:
	case <-limit.C:
	}
	s.plan = s.m.engine.Current.Load()
	s.decide()
}

// filtered lets what comes before the router decide. It reports false when the request has been answered.
func (s *stream) filtered() bool { return s.upgradeOK() && s.runFilters() }

// decide decides where the request goes.
func (s *stream) decide() {
	in := &s.input
	in.Config = s.m.cfg.Routes(s.plan)
	in.Head = &s.head
	in.Random = rand.Uint64()
	in.Conn = route.Conn{
		Internal: s.router.internal, CertPresented: s.c.mutual, CertValidated: s.c.mutual, Remote: s.rec.DownstreamRemote.Addr(),
	}
	d := &s.decision
	route.Decide(d, in)
	if d.Route != nil {
		s.rec.RouteName = d.Route.Name
	}
	s.grpc = isGRPC(s.req)
}

// act does what was decided.
func (s *stream) act() {
	d := &s.decision
	switch d.Outcome {
	case route.Forward:
		s.forward()
	case route.Redirect, route.RequireTLS:
		s.redirect()
	case route.Direct:
		s.direct()
	case route.Unsupported:
		s.reply(reply{status: 500, details: "route_has_no_action"})
	default:
		s.reply(reply{status: 404, flags: telemetry.FlagNoRouteFound, details: "route_not_found"})
	}
}

func (s *stream) redirect() {
	d := &s.decision
	status := 301
	if d.Outcome == route.Redirect && d.Route.Redirect.Code != 0 {
		status = int(d.Route.Redirect.Code)
	}
	location := d.AppendLocation(nil, &s.head)
	s.reply(reply{status: status, details: "direct_response", location: location})
}

func (s *stream) direct() {
	r := s.decision.Route.Direct
	body := r.Body
	if r.BodyFormat != nil {
		body = r.BodyFormat.Append(nil, &s.rec)
	}
	a := reply{status: int(r.Status), details: "direct_response", bytes: body, contentType: r.ContentType}
	if a.status == 201 || a.status/100 == 3 {
		a.location = s.decision.AppendLocation(nil, &s.head) // the request's own URL, as Envoy has it
	}
	s.reply(a)
}

// finish records the exchange.
func (s *stream) finish() {
	r := &s.rec
	now := s.router.end
	if now == 0 {
		now = sock.Now()
	}
	r.Duration = now.Sub(s.start)
	if s.http1 != nil {
		s.http1.Ended(now)
	}
	s.stat.rqActive.Add(-1)
	s.stat.rqCompleted.Add(1)
	s.stat.code(int(r.ResponseCode)).Add(1)
	if s.gone.Load() && !s.router.complete {
		r.Flags |= telemetry.FlagDownstreamConnectionTermination
		if r.CodeDetails == "" || r.CodeDetails == detailViaUpstream {
			r.CodeDetails = "downstream_remote_disconnect"
		}
		s.stat.rqReset.Add(1)
	}
	r.BytesReceived, r.BytesSent = s.bodyIn, s.bodyOut
	s.report()
	s.log()
	if up := s.router.answered; up != nil {
		s.router.answered = nil
		up.Close()
	}
}

// isGRPC tells whether a request is a gRPC call.
func isGRPC(h *http1.Head) bool {
	ct := h.Get(header.ContentType)
	const grpc = "application/grpc"
	if len(ct) < len(grpc) || string(ct[:len(grpc)]) != grpc {
		return false
	}
	return len(ct) == len(grpc) || ct[len(grpc)] == '+' || ct[len(grpc)] == ';'
}
