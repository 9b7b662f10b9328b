package hcm

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"lateen.dev/lateen/proxy/exchange"
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

	first    exchange.Piece // the part of the request's body that came with its head
	framed   bool           // the request's pieces are handed on with their framing
	kept     []byte         // the body as sent so far, for retries and mirrors
	keeping  bool
	whole    bool // the whole body is in first and kept
	deadline sock.Instant
	attempts uint32
	idle     time.Duration
	autoHost bool
	cookie   *plan.HashPolicy
	cookieV  []byte
}

// defaultKept bounds the body kept for retries where the route has no limit of its own; Envoy's buffer limit.
const defaultKept = 1 << 20

// forward sends the request to the decision's cluster and its answer back.
func (s *stream) forward() {
	r := &s.router
	r.config = s.decision.Cluster(s.plan)
	r.cluster = upstream.Of(r.config)
	if r.cluster == nil {
		code := int(s.decision.Action.NotFoundCode)
		if code == 0 {
			code = 503
		}
		s.reply(reply{status: code, flags: telemetry.FlagNoClusterFound, details: "cluster_not_found"})
		return
	}
	s.rec.UpstreamCluster = r.cluster.Name
	prio := s.decision.Action.Priority
	if r.cluster.Dropped() {
		s.reply(reply{status: 503, details: "drop_overload", body: "drop overload"})
		return
	}
	if !r.cluster.BeginRequest(prio) {
		r.cluster.Stats.Inc(s.c.acc.Shard, upstream.RqPendingOverflow)
		s.overflow()
		return
	}
	defer r.cluster.EndRequest(prio)
	s.plan2upstream()
	s.attempt()
}

func (s *stream) overflow() {
	s.reply(reply{
		status: 503, flags: telemetry.FlagUpstreamOverflow, details: "upstream_reset_before_response_started{overflow}",
		body: "upstream connect error or disconnect/reset before headers. reset reason: overflow", overloaded: true,
	})
}

// plan2upstream settles everything that all tries have in common.
func (s *stream) plan2upstream() {
	r, a, h := &s.router, s.decision.Action, s.req
	r.timeouts = s.decision.Timeouts(&s.head, s.m.filter.router, s.m.cfg.Timeouts.MaxStream)
	if h.Upgrade || h.Method == http1.MethodConnect {
		r.timeouts.Global = 0
	}
	r.idle = s.m.cfg.Timeouts.StreamIdle
	if a.HasIdleTimeout {
		r.idle = a.IdleTimeout
	}
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

// connectOptions says how a connection for the request must be made.
func (s *stream) connectOptions() {
	r := &s.router
	r.ask = upstream.Ask{
		ConnectOptions: upstream.ConnectOptions{Shard: s.c.acc.Shard, Source: s.c.remote, Destination: s.c.acc.Destination},
		HTTP2:          s.rec.Protocol == telemetry.ProtocolHTTP2, Priority: s.decision.Action.Priority, Client: s.client,
	}
	if f := s.m.filter.alpn; f != nil && r.config.TLS != nil {
		switch s.rec.Protocol {
		case telemetry.ProtocolHTTP10:
			r.ask.ALPN = f.HTTP10
		case telemetry.ProtocolHTTP2:
			r.ask.ALPN = f.HTTP2
		default:
			r.ask.ALPN = f.HTTP11
		}
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

// hash computes what consistent hashing chooses by, making a cookie where the policy wants one.
func (s *stream) hash(policies []plan.HashPolicy) {
	r := &s.router
	at := len(s.arena)
	s.arena = appendHex(s.arena, rand.Uint64())
	made := s.arena[at:len(s.arena):len(s.arena)]
	r.choice.Hash, r.choice.HasHash, r.cookie = route.Hash(policies, &s.input, made)
	r.cookieV = made
}

func appendHex(dst []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for i := 60; i >= 0; i -= 4 {
		dst = append(dst, digits[v>>i&15])
	}
	return dst
}

var (
	originalPath  = header.NewName("x-envoy-original-path")
	forwardedHost = header.NewName("x-forwarded-host")
)

// rewrite changes path and authority.
func (s *stream) rewrite() {
	d, h := &s.decision, s.req
	authority, changed := d.Authority(&s.head)
	if d.RewritesPath() {
		old := h.Path
		at := len(s.arena)
		s.arena = d.AppendPath(s.arena, old)
		h.Path = s.arena[at:len(s.arena):len(s.arena)]
		s.rec.Path, s.rec.OriginalURI = h.Path, old
		if !s.suppressed() {
			h.Set(originalPath, old)
		}
	}
	if changed {
		if d.Action.AppendXForwardedHost {
			h.AddName(forwardedHost, h.Authority)
		}
		h.Authority = authority
	}
	s.router.autoHost = d.Action.Rewrite.AutoHost
}

func (s *stream) suppressed() bool {
	return s.m.filter.router != nil && s.m.filter.router.SuppressEnvoyHeaders
}

var digits = func() (d [10][]byte) {
	for i := range d {
		d[i] = []byte{byte('0' + i)}
	}
	return d
}()

func (s *stream) attemptHeader() {
	n := int(s.router.attempts) + 1
	if n < len(digits) {
		s.req.SetKnown(header.XEnvoyAttemptCount, digits[n])
		return
	}
	s.req.SetKnown(header.XEnvoyAttemptCount, s.decimal(int64(n)))
}

func (s *stream) decimal(n int64) []byte {
	at := len(s.arena)
	s.arena = appendDecimal(s.arena, n)
	return s.arena[at:len(s.arena):len(s.arena)]
}

// expectedTimeout tells the upstream how long we wait for it.
func (s *stream) expectedTimeout() {
	t := s.router.timeouts.Global
	if p := s.router.timeouts.PerTry; p > 0 {
		t = p
	}
	if t > 0 && !s.suppressed() {
		s.req.SetKnown(header.XEnvoyExpectedRqTimeoutMS, s.decimal(t.Milliseconds()))
	}
}

// attempt tries until there is an answer.
func (s *stream) attempt() {
	r := &s.router
	if !s.firstPiece() {
		return
	}
	retrying := false
	for {
		out, done := s.try()
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
	p, err := s.down.Next(false, r.framed)
	if err != nil {
		s.badBody(err)
		return false
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
	r.first, r.whole = p, p.End
	s.bodyIn = int64(len(p.Data))
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

func (s *stream) badBody(err error) {
	switch {
	case errors.Is(err, exchange.ErrTimeout):
		s.stat.rqIdleTimeout.Add(1)
		s.reply(reply{status: 408, flags: telemetry.FlagStreamIdleTimeout, details: "stream_idle_timeout", body: "stream timeout"})
	case errors.Is(err, exchange.ErrProtocol):
		var why http1.Reason
		status := 400
		if errors.As(err, &why) {
			status = why.Status()
		}
		s.reply(reply{status: status, flags: telemetry.FlagDownstreamProtocolError, details: "http1.codec_error"})
	default:
		s.gone.Store(true)
	}
	s.down.Reset()
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
	timeout telemetry.ResponseFlags
	detail  string
}

// grant decides whether to try once more.
func (s *stream) grant(o *outcome) bool {
	r := &s.router
	if o.final || s.gone.Load() || !r.first.End && !r.keeping {
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
	wait := r.retry.Backoff(rand.Uint64())
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
	r.attempts++
	s.rec.UpstreamAttempts = uint16(r.attempts)
	r.host = r.cluster.Pick(&r.choice)
	if r.host == nil {
		return outcome{noHost: true, final: true}, false
	}
	s.rec.UpstreamHost, s.rec.UpstreamHostName = r.host.Addr(), r.host.Name()
	if r.autoHost {
		if name := r.host.Endpoint().Hostname; name != "" {
			s.req.Authority = s.keep([]byte(name))
		}
	}
	if r.timeouts.Global > 0 && r.deadline == 0 && r.whole {
		r.deadline = s.start.Add(s.rec.RequestReceived + r.timeouts.Global)
	}
	r.ask.Deadline = r.deadline
	r.host.BeginRequest(s.c.acc.Shard)
	defer r.host.EndRequest(s.c.acc.Shard)
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
		up.Close()
	}()
	return s.exchange(up)
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

// fail answers with the last try's failure.
func (s *stream) fail(o *outcome) {
	switch {
	case s.gone.Load():
		s.rec.Flags |= telemetry.FlagDownstreamConnectionTermination
		s.rec.CodeDetails = "downstream_remote_disconnect"
		s.down.Reset()
	case o.noHost:
		s.router.cluster.Stats.Inc(s.c.acc.Shard, upstream.NoneHealthy)
		s.reply(reply{status: 503, flags: telemetry.FlagNoHealthyUpstream, details: "no_healthy_upstream", body: "no healthy upstream"})
	case o.timeout != 0:
		s.reply(reply{status: 504, flags: o.timeout, details: o.detail, body: "upstream request timeout"})
	case o.connect != nil && o.connect.Overflow:
		s.overflow()
	case o.connect != nil:
		s.failConnect(o.connect)
	default:
		s.failReset(o)
	}
}

func (s *stream) failConnect(e *upstream.ConnectError) {
	reason := "remote connection failure"
	switch {
	case e.Timeout:
		reason = "connection timeout"
	case e.TLS:
		reason = "remote connection failure"
	}
	s.rec.UpstreamFailure = e.Error()
	body := "upstream connect error or disconnect/reset before headers. reset reason: " + reason
	if s.router.retry.Retries() > 0 {
		body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: " + reason
	}
	if !e.Timeout {
		body += ", transport failure reason: " + failureText(e)
	}
	s.reply(reply{
		status: 503, flags: telemetry.FlagUpstreamConnectionFailure, body: body,
		details: "upstream_reset_before_response_started{" + underscored(reason) + "}",
	})
}

// failureText says why there is no connection, as Envoy words it.
func failureText(e *upstream.ConnectError) string {
	switch {
	case e.TLS:
		return e.Error()
	case upstream.Refused(e.Err):
		return "delayed connect error: Connection refused"
	}
	return "delayed connect error: " + e.Error()
}

func underscored(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}

func (s *stream) failReset(o *outcome) {
	reason, flag, status := "connection termination", telemetry.FlagUpstreamConnectionTermination, 503
	switch {
	case errors.Is(o.err, exchange.ErrProtocol):
		reason, flag, status = "protocol error", telemetry.FlagUpstreamProtocolError, 502
	case errors.Is(o.err, exchange.ErrRefused):
		reason, flag = "remote refused stream reset", telemetry.FlagUpstreamRemoteReset
	case errors.Is(o.err, exchange.ErrReset) && s.rec.Protocol == telemetry.ProtocolHTTP2:
		reason, flag = "remote reset", telemetry.FlagUpstreamRemoteReset
	}
	body := "upstream connect error or disconnect/reset before headers. reset reason: " + reason
	if s.router.retry.Retries() > 0 {
		body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: " + reason
	}
	s.reply(reply{status: status, flags: flag, body: body, details: "upstream_reset_before_response_started{" + underscored(reason) + "}"})
}
