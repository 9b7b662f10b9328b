package upstream

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/h1"
	"lateen.dev/lateen/proxy/h2"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
	"lateen.dev/lateen/wire/sock"
)

// mux is an HTTP/2 connection to a host.
type mux struct {
	pool   *pool
	link   *Link
	conn   *http2.Conn
	used   atomic.Uint64 // exchanges begun
	ending atomic.Bool   // it has been open for as long as it may
	idled  atomic.Int64  // when the last stream ended, a sock.Instant; 0 while there are streams
}

// exchange2 opens a stream on a connection that has room, or makes a connection.
func (p *pool) exchange2(ctx context.Context, a *Ask) (exchange.Upstream, error) {
	for {
		m, wait := p.roomy(a.Fresh)
		switch {
		case m != nil:
			return m.stream(a), nil
		case wait != nil:
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, &ConnectError{Timeout: true, Err: ctx.Err()}
			}
		}
		return p.open2(ctx, a)
	}
}

// Multiplexed tells whether HTTP/2 clients' requests to a cluster may go out by HTTP/2.
func Multiplexed(c *plan.Cluster) bool {
	if c == nil {
		return false
	}
	switch c.Protocol.Version {
	case plan.HTTP2, plan.SameDownstream, plan.AutoHTTP:
		return true
	}
	return false
}

// Room returns an HTTP/2 connection to the host that has room for a stream, if there is one already. Whether it still
// has room is known when the stream is opened.
func (h *Host) Room(a *Ask) (h2.Room, bool) {
	p := h.poolFor(a)
	if !p.variant.http2 || a.Fresh {
		return h2.Room{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.roomyLocked(false); m != nil {
		m.idled.Store(0)
		m.used.Add(1)
		return h2.Room{Conn: m.conn, Scheme: m.scheme(), Local: m.link.Local}, true
	}
	return h2.Room{}, false
}

// roomyLocked returns a connection that takes another stream, or nil. Without anyhow those are left out on which streams that
// nobody reads leave others little of the window.
func (p *pool) roomyLocked(anyhow bool) *mux {
	limit := p.host.cluster.Config().Protocol.MaxConnectionDuration
	for _, m := range p.muxes {
		if m.conn.Takes(anyhow) && (limit <= 0 || !m.link.old(limit, sock.Now())) {
			return m
		}
	}
	return nil
}

// roomy returns a connection with room for a stream, or a channel to wait on while one is being made, or neither: then
// the caller must make one.
func (p *pool) roomy(fresh bool) (*mux, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !fresh {
		if m := p.roomyLocked(false); m != nil {
			return m, nil
		}
	}
	if p.opening != nil {
		return nil, p.opening
	}
	p.opening = make(chan struct{})
	return nil, nil
}

// open2 makes a connection. With ALPN the server may turn out to speak HTTP/1 only.
func (p *pool) open2(ctx context.Context, a *Ask) (exchange.Upstream, error) {
	defer func() {
		p.mu.Lock()
		close(p.opening)
		p.opening = nil
		p.mu.Unlock()
	}()
	c := p.host.cluster
	if !take(&c.breakers[0].connections, c.Config().Limits[a.Priority&1].MaxConnections) {
		p.mu.Lock()
		m := p.roomyLocked(true)
		p.mu.Unlock()
		if m != nil && !a.Fresh {
			return m.stream(a), nil
		}
		c.Stats.Inc(a.Shard, CxOverflow)
		return nil, &ConnectError{Overflow: true, Err: errOverflow}
	}
	l, err := p.host.connect(ctx, &a.ConnectOptions)
	if err != nil {
		c.breakers[0].connections.Add(-1)
		return nil, err
	}
	if l.TLS != nil && c.Config().Protocol.Version == plan.AutoHTTP && l.TLS.ALPN != "h2" && l.TLS.ALPN != "istio-h2" {
		return p.adopt1(l, a), nil
	}
	c.Stats.Inc(a.Shard, CxHTTP2Total)
	m := &mux{pool: p, link: l}
	protocol := &c.Config().Protocol
	cfg := HTTP2Config(&protocol.HTTP2)
	cfg.MaxHeaderBytes, cfg.MaxHeaderFields = protocol.MaxHeadBytes, int(protocol.MaxHeaderCount)
	m.conn = http2.NewClient(l.Conn, cfg)
	m.conn.OnIdle(func() {
		m.idled.Store(int64(sock.Now()))
		// A connection that was being made when its host was removed is nobody else's to end.
		if p.unkept.Load() || p.host.removed.Load() {
			c.set.run(m.conn.Drain)
		}
	})
	p.mu.Lock()
	p.muxes = append(p.muxes, m)
	p.mu.Unlock()
	c.set.add(m)
	c.set.run(m.run)
	return m.stream(a), nil
}

// adopt1 makes an HTTP/1 exchange on a connection whose server chose that.
func (p *pool) adopt1(l *Link, a *Ask) exchange.Upstream {
	plain := p
	switch v := (variant{alpn: p.variant.alpn, sni: p.variant.sni}); {
	case p.client != client{}:
		plain = p.host.clientPool(p.shard, v, p.client)
	case !p.unkept.Load():
		plain = p.host.pool(p.shard, v)
	}
	u := h1.NewUpstream(l.Conn, l.Local, headLimits(&p.host.cluster.Config().Protocol), plain)
	plain.mu.Lock()
	if plain.links == nil {
		plain.links = map[*h1.Upstream]*Link{}
	}
	plain.links[u] = l
	plain.mu.Unlock()
	u.Begin(a.Client)
	return u
}

func (m *mux) stream(a *Ask) exchange.Upstream {
	m.idled.Store(0)
	return h2.NewUpstream(m.conn, h2.Options{Scheme: m.scheme(), Local: m.link.Local, Reused: m.used.Add(1) > 1, Client: a.Client})
}

// scheme is that of requests that name none.
func (m *mux) scheme() string {
	if m.link.TLS != nil {
		return "https"
	}
	return "http"
}

// run reads the connection until it ends.
func (m *mux) run() {
	// The streams were told of the error; the connection is only taken off the books here.
	_ = m.conn.Run()
	p := m.pool
	p.mu.Lock()
	p.muxes = slices.DeleteFunc(p.muxes, func(o *mux) bool { return o == m })
	p.mu.Unlock()
	p.host.cluster.set.drop(m)
	m.link.Release()
}

// ResetStreams resets streams to servers that hold so many bytes or more, most of them at most, and returns how many it were.
func (s *Set) ResetStreams(bytes int64, most int) int {
	n := 0
	for _, m := range s.allMuxes() {
		if n < most {
			n += m.conn.ResetHeavy(bytes, most-n)
		}
	}
	return n
}

// sweep2 closes HTTP/2 connections that have idled for too long.
func (p *pool) sweep2(now sock.Instant, timeout time.Duration) {
	p.mu.Lock()
	muxes := slices.Clone(p.muxes)
	p.mu.Unlock()
	limit := p.host.cluster.Config().Protocol.MaxConnectionDuration
	for _, m := range muxes {
		if limit > 0 && m.link.old(limit, now) && !m.ending.Swap(true) {
			p.host.cluster.Stats.Inc(p.shard, CxMaxDuration)
			m.conn.Drain()
		}
		if timeout <= 0 {
			continue
		}
		if m.conn.Streams() == 0 {
			m.idled.CompareAndSwap(0, int64(now)) // whoever asked for room has not opened a stream after all
		}
		if at := sock.Instant(m.idled.Load()); at != 0 && now.Sub(at) >= timeout {
			p.host.cluster.Stats.Inc(p.shard, CxIdleTimeout)
			m.conn.Drain()
		}
	}
}

// headLimits are those of a response over HTTP/1; nil for the usual ones.
func headLimits(p *plan.ProtocolOptions) *http1.Limits {
	if (p.MaxHeadBytes == 0 || p.MaxHeadBytes == http1.DefaultMaxHeadBytes) && (p.MaxHeaderCount == 0 || p.MaxHeaderCount == http1.DefaultMaxFields) {
		return nil
	}
	return &http1.Limits{MaxHeadBytes: int(p.MaxHeadBytes), MaxFields: int(p.MaxHeaderCount)}
}

// HTTP2Config translates the plan's HTTP/2 options, of either side.
func HTTP2Config(o *plan.HTTP2Options) http2.Config {
	return http2.Config{
		MaxConcurrentStreams: o.MaxConcurrentStreams, StreamWindow: o.InitialStreamWindow, ConnWindow: o.InitialConnectionWindow,
		HeaderTable: o.HPACKTableSize, NoHeaderTable: o.NoHPACKTable, MaxFieldBytes: o.MaxFieldBytes,
		MaxFrames: int(o.MaxOutboundFrames), MaxControlFrames: int(o.MaxOutboundControlFrames),
		MaxEmptyFrames: orNone(o.MaxConsecutiveEmptyFrames), MaxPriorities: orNone(o.MaxInboundPriorityPerStream),
		MaxWindowUpdates: int(o.MaxInboundWindowPerData), MaxResets: int(o.ResetBurst), ResetRate: int(o.ResetRate),
		EnableConnect: o.AllowConnect, PingInterval: o.PingInterval, PingTimeout: o.PingTimeout,
	}
}

// orNone is a limit as http2.Config has it, where 0 is its default.
func orNone(n uint32) int {
	if n == 0 {
		return -1
	}
	return int(min(n, math.MaxInt32))
}
