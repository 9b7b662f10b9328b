package hcm

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/h1"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
	"lateen.dev/lateen/wire/sniff"
	"lateen.dev/lateen/wire/sock"
)

// conn is one downstream connection.
type conn struct {
	m   *Manager
	acc *listen.Accepted
	// born is when the connection began, and age how long it may live; 0 is no limit.
	born sock.Instant
	age  time.Duration
	// secure is what the metrics call connection_security_policy; names are the peer certificate's for RBAC.
	mutual     bool
	names      [][]byte
	serverName []byte
	scheme     string

	local, remote, direct netip.AddrPort
	// told says that an HTTP/2 client was asked to go.
	told atomic.Bool
	// idled is when the last HTTP/2 stream ended, or else the connection began, a sock.Instant; 0 while there is one.
	idled atomic.Int64

	mu    sync.Mutex // guards what follows: HTTP/2 streams share the connection
	peers peerCache
	xfcc  []byte // the connection's element of x-forwarded-client-cert
	alarm alarm

	// http2 is the connection's, if it is multiplexed. Both are set before anybody else knows of them.
	http2       *http2.Conn
	multiplexed bool
}

// Serve serves a connection until it ends.
func (m *Manager) Serve(acc *listen.Accepted) error {
	c := m.newConn(acc)
	if acc.TLS != nil {
		c.scheme = "https"
		c.takeNames()
	}
	if m.speaksHTTP2(acc) {
		return c.serve2()
	}
	hc := h1.NewConn(acc.Conn, c, h1.Config{
		Limits:   &m.limits,
		Timeouts: h1.Timeouts{Head: m.cfg.Timeouts.RequestHeaders, DelayedClose: m.cfg.Timeouts.DelayedClose},
		Draining: c.draining, Hurried: acc.Drain.Hurried,
	})
	acc.OnDrain(func(hurry bool) {
		if hurry {
			acc.Conn.Nudge()
		}
	})
	acc.OnPressure(c)
	return hc.Run()
}

func (c *conn) takeNames() {
	p := c.acc.TLS.Peer
	if p == nil {
		return
	}
	c.mutual = true
	list := p.URIs
	if len(list) == 0 {
		list = p.DNSNames
	}
	for _, n := range list {
		c.names = append(c.names, []byte(n))
	}
	if len(list) == 0 {
		c.names = append(c.names, []byte(p.Leaf.Subject.String()))
	}
}

func (m *Manager) speaksHTTP2(acc *listen.Accepted) bool {
	switch m.cfg.Codec {
	case plan.CodecHTTP2:
		return true
	case plan.CodecHTTP1:
		return false
	}
	switch acc.Protocol() {
	case "h2", "istio-h2":
		return true
	case "":
		if len(acc.ALPN) > 0 && acc.ALPN[0] == "h2c" {
			return true
		}
		return acc.TLS == nil && len(acc.ALPN) == 0 && preface(acc, m.cfg.Timeouts.Idle)
	}
	return false
}

// draining tells whether the connection should end when it may.
func (c *conn) draining() bool {
	if c.acc.Drain.Draining() {
		return true
	}
	return c.age > 0 && sock.Now().Sub(c.born) >= c.reduced(overload.ConnectionMax, c.age)
}

// newConn is apart from Serve so that what it needs is not on the stack of an idle connection. A connection may live for
// max_connection_duration and as much of its jitter as chance wants.
func (m *Manager) newConn(acc *listen.Accepted) *conn {
	age, jitter := m.cfg.Timeouts.MaxConnection, m.cfg.Timeouts.MaxConnJitter
	if age > 0 && jitter > 0 {
		age += time.Duration(float64(age) * jitter / 100 * rand.Float64())
	}
	return &conn{m: m, acc: acc, serverName: []byte(acc.SNI), born: sock.Now(), age: age, scheme: "http", local: acc.Local, remote: acc.Remote, direct: acc.Direct}
}

// Handle implements h1.Handler.
func (c *conn) Handle(d *h1.Conn) {
	s := takeStream()
	h := d.Request()
	protocol := telemetry.ProtocolHTTP11
	if h.Minor == 0 {
		protocol = telemetry.ProtocolHTTP10
	}
	s.begin(c, d, h, protocol)
	if limit := c.m.cfg.Limits.MaxRequestsPerConnection; limit > 0 && d.Requests() >= uint64(limit) {
		d.CloseAfter()
	}
	if c.m.engine.Overload.CloseConnections() {
		s.stat.cxKeepAliveOff.Add(1)
		d.CloseAfter()
	}
	s.client, s.http1 = d.Sock(), d
	s.run()
	if c.acc.Drain.Draining() {
		s.stat.cxDrainClose.Add(1)
	}
	s.give()
}

// Reject implements h1.Handler.
func (c *conn) Reject(d *h1.Conn, why http1.Reason) {
	s := takeStream()
	c.m.stat(c.acc.Shard).cxErr.Add(1)
	s.begin(c, d, &s.bad, telemetry.ProtocolHTTP11)
	r := reply{status: why.Status(), flags: telemetry.FlagDownstreamProtocolError, details: why.Detail()}
	switch {
	case why == h1.HeadTimeout:
		r = reply{status: 408, details: "request_header_timeout", body: "request header timeout"}
		c.m.stat(c.acc.Shard).rqTimeout.Add(1)
	case why == http1.HeadTooLarge || why == http1.TooManyFields:
		c.m.stat(c.acc.Shard).rqTooLarge.Add(1)
	}
	s.reply(r)
	s.finish()
	s.give()
}

// serve2 serves an HTTP/2 connection.
func (c *conn) serve2() error {
	cfg := upstream.HTTP2Config(&c.m.cfg.HTTP2)
	cfg.MaxHeaderBytes, cfg.MaxHeaderFields = c.m.cfg.Limits.MaxHeadBytes, int(c.m.cfg.Limits.MaxHeaderCount)
	if cfg.Linger = c.m.cfg.Timeouts.DelayedClose; cfg.Linger == 0 {
		cfg.Linger = -1
	}
	t := &transport2{conn: c.acc.Conn, idled: &c.idled}
	c.idled.Store(int64(c.born))
	c.http2, c.multiplexed = http2.NewServer(t, cfg, c.handle2), true
	c.http2.OnIdle(func() { c.idled.Store(int64(sock.Now())) })
	t.idle = func() bool {
		if c.draining() {
			c.http2.Drain()
			return true
		}
		if c.http2.Streams() > 0 {
			return true
		}
		now := sock.Now()
		if t.leaving == 0 && t.since().Add(c.Idle()) > now {
			return true // it was only to look whether it is idle for too long by now
		}
		if t.leaving == 0 {
			// The client learns it before it uses the connection again: RFC 9113 section 9.1. It may take drain_timeout.
			t.leaving = now.Add(c.m.cfg.Timeouts.Drain)
			c.http2.Drain()
		}
		return now < t.leaving
	}
	t.timeout = c.Idle
	c.acc.OnDrain(func(bool) { c.ask() })
	c.acc.OnPressure(c)
	if !c.m.filter.waits {
		c.http2.OnStream(c.pass)
	}
	err := c.http2.Run()
	c.stopAlarm()
	return err
}

// handle2 serves a stream.
func (c *conn) handle2(st *http2.Stream) {
	c.idled.Store(0)
	s := takeStream()
	s.down2.Begin(st, &s.bad)
	s.begin(c, &s.down2, &s.bad, telemetry.ProtocolHTTP2)
	s.serve((*stream).run)
}

// serve has f answer an HTTP/2 request in the stream's own goroutine.
func (s *stream) serve(f func(*stream)) {
	c, d := s.c, &s.down2
	defer c.m.engine.contain("HTTP/2 stream")
	d.LimitStalls(c.reduced(overload.StreamIdle, c.m.cfg.Timeouts.StreamIdle))
	d.LimitFlush(c.reduced(overload.StreamFlush, s.router.flush))
	d.OnReset(s.clientReset)
	f(s)
	d.OnReset(nil)
	d.End()
	s.give()
	if c.draining() {
		c.ask()
	}
}

// ask asks an HTTP/2 client to go.
func (c *conn) ask() {
	if c.told.CompareAndSwap(false, true) {
		c.m.stat(c.acc.Shard).cxDrainClose.Add(1)
	}
	c.http2.Drain()
}

// transport2 lets an HTTP/2 connection read from a socket, and ends it when there is no stream for the idle timeout,
// whatever else comes: PINGs are no activity.
type transport2 struct {
	conn    *sock.Conn
	timeout func() time.Duration
	idled   *atomic.Int64
	// idle is asked when the timeout has passed; it reports whether to go on.
	idle func() bool
	// leaving is when a connection ends that has been idle for the timeout, if the client doesn't end it; 0 before.
	leaving sock.Instant
}

func (t *transport2) Read(p []byte) (int, error) {
	for {
		if d := t.timeout(); d > 0 {
			t.conn.SetReadDeadline(max(t.since().Add(d), t.leaving))
		}
		n, err := t.conn.Read(p)
		if n == 0 && wokenUp(err) && t.idle() {
			continue
		}
		return n, err
	}
}

// since is when the connection began to idle, or now.
func (t *transport2) since() sock.Instant {
	if at := sock.Instant(t.idled.Load()); at != 0 {
		return at
	}
	return sock.Now()
}

func (t *transport2) Write(p []byte) (int, error) { return t.conn.Write(p) }

func (t *transport2) TryWrite(p []byte) (int, bool, error) { return t.conn.TryWrite(p) }

func (t *transport2) TryWriteVector(v [][]byte) (int, bool, error) { return t.conn.TryWriteVector(v) }

func (t *transport2) Gathers() bool { return t.conn.Gathers() }

func (t *transport2) Close() error { return t.conn.Close() }

// wokenUp tells an end of waiting from an end of the connection.
func wokenUp(err error) bool {
	return errors.Is(err, sock.ErrTimeout) || errors.Is(err, sock.ErrInterrupted)
}

// lastLook is how long a client that hasn't said anything may still take when the proxy ends.
const lastLook = time.Second

// preface looks whether a client without ALPN begins with HTTP/2's preface. When the proxy ends it stops looking.
func preface(acc *listen.Accepted, timeout time.Duration) bool {
	var mu sync.Mutex // makes sure that nobody interrupts after Resume
	looking := true
	acc.OnDrain(func(hurry bool) {
		mu.Lock()
		defer mu.Unlock()
		if hurry && looking {
			acc.Conn.Interrupt()
		}
	})
	r, err := sniff.Detect(acc.Conn, timeout)
	mu.Lock()
	defer mu.Unlock()
	looking = false
	acc.Conn.Resume()
	if errors.Is(err, sock.ErrInterrupted) {
		r, err = sniff.Detect(acc.Conn, lastLook) // the preface may be on its way
	}
	return err == nil && r.Kind == sniff.HTTP2
}

var _ h1.Handler = (*conn)(nil)
