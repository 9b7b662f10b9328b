package upstream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/h1"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/sock"
)

// variant tells connections apart that one host's requests can't share.
type variant struct {
	http2 bool
	alpn  *string // first element of the ALPN list of the plan; nil for the cluster's own
	sni   string
}

// pool holds the HTTP connections of one host, shard and variant.
type pool struct {
	host    *Host
	shard   uint32
	variant variant
	// client is whom the connections' PROXY header tells of; the zero value for those that begin with none.
	client client
	// unkept says that connections are closed after their exchange, because there are too many clients, or because the
	// pool is not in the host's table any more. It is set with mu held.
	unkept atomic.Bool

	mu    sync.Mutex
	idle  []*h1.Upstream // newest last
	links map[*h1.Upstream]*Link
	muxes []*mux
	// opening is closed when the HTTP/2 connection that is being made is there or has failed.
	opening chan struct{}
}

// Ask is what an exchange is asked for with.
type Ask struct {
	ConnectOptions
	// HTTP2 says what the client spoke, for clusters that speak the same.
	HTTP2    bool
	Priority uint8
	// Client is the downstream connection, watched while waiting; may be nil.
	Client *sock.Conn
	// Fresh asks for a new connection: the last one taken from the pool turned out to be closed.
	Fresh bool
}

// Exchange takes a connection to the host for one exchange, from the pool or by opening one. Errors are of type
// *ConnectError.
func (h *Host) Exchange(ctx context.Context, a *Ask) (exchange.Upstream, error) {
	p := h.poolFor(a)
	if p.variant.http2 {
		return p.exchange2(ctx, a)
	}
	return p.exchange1(ctx, a)
}

// poolFor is the pool of the connections that will do.
func (h *Host) poolFor(a *Ask) *pool {
	cfg := h.cluster.Config()
	v := variant{sni: a.SNI}
	if len(a.ALPN) > 0 {
		v.alpn = &a.ALPN[0]
	}
	switch cfg.Protocol.Version {
	case plan.HTTP2:
		v.http2 = true
	case plan.SameDownstream:
		v.http2 = a.HTTP2
	case plan.AutoHTTP:
		v.http2 = cfg.TLSFor(h.Endpoint()) != nil
	}
	if cfg.ProxyProtocolFor(h.Endpoint()) != 0 {
		return h.clientPool(a.Shard, v, client{a.Source, a.Destination})
	}
	return h.pool(a.Shard, v)
}

// same tells whether requests for one pool can be served by the connections of the other.
func (p *pool) same(o *pool) bool { return p == o || p.variant == o.variant && p.client == o.client }

func (p *pool) exchange1(ctx context.Context, a *Ask) (exchange.Upstream, error) {
	if !a.Fresh {
		if u := p.takeIdle(); u != nil {
			u.Begin(a.Client)
			return u, nil
		}
	}
	u, err := p.open1(ctx, a)
	if err != nil {
		return nil, err
	}
	u.Begin(a.Client)
	return u, nil
}

func (p *pool) takeIdle() *h1.Upstream {
	limit := p.host.cluster.Config().Protocol.MaxConnectionDuration
	for {
		u, old := p.popIdle(limit)
		if !old {
			return u
		}
		p.host.cluster.Stats.Inc(p.shard, CxMaxDuration)
		u.Discard()
	}
}

// popIdle takes the newest idle connection; old says that it has been open for as long as it may.
func (p *pool) popIdle(limit time.Duration) (u *h1.Upstream, old bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil, false
	}
	u = p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return u, limit > 0 && p.links[u].old(limit, sock.Now())
}

// outlived tells whether a connection that comes back has been open for as long as it may.
func (p *pool) outlived(u *h1.Upstream) bool {
	limit := p.host.cluster.Config().Protocol.MaxConnectionDuration
	if limit <= 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[u].old(limit, sock.Now())
}

// spare takes an idle connection that will do from any shard. Where there is none it closes one of the cluster's that
// idles towards another host, or with other TLS, so that one can be opened in its place.
func (p *pool) spare() (u *h1.Upstream) {
	p.host.eachPool(func(o *pool) {
		if u == nil && o.same(p) {
			u = o.takeIdle()
		}
	})
	if u != nil {
		return u
	}
	var other *h1.Upstream
	for _, h := range p.host.cluster.Hosts() {
		h.eachPool(func(o *pool) {
			if other == nil {
				other = o.takeIdle()
			}
		})
	}
	if other != nil {
		other.Discard() // which lets the first who waits retry
	}
	return nil
}

// open1 opens a connection if the circuit breaker allows, or waits until one comes back.
func (p *pool) open1(ctx context.Context, a *Ask) (*h1.Upstream, error) {
	c := p.host.cluster
	limits, b := c.Config().Limits[a.Priority&1], &c.breakers[a.Priority&1]
	if !take(&b.pending, limits.MaxPendingRequests) {
		c.Stats.Inc(a.Shard, RqPendingOverflow)
		return nil, &ConnectError{Overflow: true, Err: errOverflow}
	}
	defer b.pending.Add(-1)
	for !take(&c.breakers[0].connections, limits.MaxConnections) {
		u, err := c.waiters.wait(ctx, p, a.Deadline)
		if err != nil {
			c.Stats.Inc(a.Shard, CxOverflow)
			return nil, err
		}
		if u != nil {
			return u, nil
		}
	}
	l, err := p.host.connect(ctx, &a.ConnectOptions)
	if err != nil {
		c.breakers[0].connections.Add(-1)
		c.waiters.retry()
		return nil, err
	}
	c.Stats.Inc(a.Shard, CxHTTP1Total)
	u := h1.NewUpstream(l.Conn, l.Local, headLimits(&c.Config().Protocol), p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links == nil {
		p.links = map[*h1.Upstream]*Link{}
	}
	p.links[u] = l
	return u, nil
}

// Idle implements h1.Owner.
func (p *pool) Idle(u *h1.Upstream) {
	c := p.host.cluster
	limit := c.Config().MaxRequestsPerConnection
	if p.unkept.Load() || p.host.removed.Load() || limit > 0 && uint32(u.Exchanges()) >= limit {
		if limit > 0 && uint32(u.Exchanges()) >= limit {
			c.Stats.Inc(p.shard, CxMaxRequests)
		}
		u.Discard()
		return
	}
	if p.outlived(u) {
		c.Stats.Inc(p.shard, CxMaxDuration)
		u.Discard()
		return
	}
	if c.waiters.give(p, u) {
		return
	}
	u.IdleSince = sock.Now()
	p.mu.Lock()
	kept := !p.unkept.Load()
	if kept {
		p.idle = append(p.idle, u)
	}
	p.mu.Unlock()
	if !kept {
		u.Discard()
	}
}

// Gone implements h1.Owner.
func (p *pool) Gone(u *h1.Upstream) {
	p.mu.Lock()
	l := p.links[u]
	delete(p.links, u)
	p.mu.Unlock()
	if l != nil {
		l.gone()
		p.host.cluster.waiters.retry()
	}
}

// closeIdle closes what idles.
func (p *pool) closeIdle() {
	p.mu.Lock()
	idle, muxes := p.idle, slices.Clone(p.muxes)
	p.idle = nil
	p.mu.Unlock()
	for _, u := range idle {
		u.Discard()
	}
	for _, m := range muxes {
		m.conn.Drain()
	}
}

// sweep closes connections that have idled for too long, or that the server has closed.
func (p *pool) sweep(now sock.Instant, timeout time.Duration) {
	if p.client != (client{}) && (timeout <= 0 || timeout > clientIdle) {
		timeout = clientIdle
	}
	var old []*h1.Upstream
	p.mu.Lock()
	p.idle = slices.DeleteFunc(p.idle, func(u *h1.Upstream) bool {
		expired := timeout > 0 && now.Sub(u.IdleSince) >= timeout
		if expired {
			p.host.cluster.Stats.Inc(p.shard, CxIdleTimeout)
		}
		if expired || u.Conn().Gone() {
			old = append(old, u)
			return true
		}
		return false
	})
	p.mu.Unlock()
	for _, u := range old {
		u.Discard()
	}
	p.sweep2(now, timeout)
}
