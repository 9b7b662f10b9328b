package upstream

import (
	"context"
	"net"
	"sync"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/transport"
	"lateen.dev/lateen/wire/sock"
)

// Options of a Set.
type Options struct {
	// Shards is the number of worker shards; at least 1.
	Shards int
	// Transport makes TLS.
	Transport *transport.Source
	// Dial returns the dialer for a cluster, or nil for the usual one. May be nil.
	Dial func(cluster string) Dialer
	// Resolver looks up names of DNS clusters; nil is the machine's.
	Resolver Resolver
}

// Set is all clusters of a proxy.
type Set struct {
	opts Options

	ctx    context.Context // ends with Run
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex // guards what follows
	clusters map[string]*Cluster
	closed   bool
	fresh    []*Cluster // come into force, and not checked yet
	// muxes are all HTTP/2 connections, those to hosts that are in no cluster any more included.
	muxes map[*mux]struct{}
}

// NewSet returns an empty set.
func NewSet(o Options) *Set {
	o.Shards = max(1, o.Shards)
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	s := &Set{opts: o, clusters: map[string]*Cluster{}, muxes: map[*mux]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Shards is the number of worker shards.
func (s *Set) Shards() int { return s.opts.Shards }

// Prepare gives every cluster of next its runtime: the one that it has, or a new one that takes over what its
// predecessor in prev had learnt.
func (s *Set) Prepare(prev, next *plan.Plan) {
	for _, cfg := range next.Clusters() {
		if c := Of(cfg); c != nil {
			c.reconfigure(cfg)
			continue
		}
		var before *Cluster
		if old := prev.ClusterNamed([]byte(cfg.Name)); old != nil {
			before = Of(old)
		}
		cfg.Runtime = newCluster(s, cfg, before)
	}
}

// Activate starts what next's clusters need to run, and ends those that are no longer in it.
func (s *Set) Activate(next *plan.Plan) {
	var gone []*Cluster
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	current := make(map[string]*Cluster, len(s.clusters))
	for _, cfg := range next.Clusters() {
		c := Of(cfg)
		current[cfg.Name] = c
		if old := s.clusters[cfg.Name]; old != c {
			if old != nil {
				gone = append(gone, old)
			}
			s.startLocked(c)
		}
	}
	for name, c := range s.clusters {
		if current[name] == nil {
			gone = append(gone, c)
		}
	}
	s.clusters = current
	fresh := s.fresh
	s.fresh = nil
	s.mu.Unlock()
	for _, c := range fresh {
		c.startChecks()
	}
	for _, c := range gone {
		if c.dns.cancel != nil {
			c.dns.cancel()
		}
		c.close()
	}
}

func (s *Set) startLocked(c *Cluster) {
	// Not here: checks are goroutines that the set counts, and its lock is held.
	s.fresh = append(s.fresh, c)
	if !isDNS(c.Config().Discovery) {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	c.dns.cancel = cancel
	s.wg.Go(func() { c.resolve(ctx) })
}

// run runs f in a goroutine that Run waits for.
func (s *Set) run(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wg.Go(f)
}

// add keeps an account of an HTTP/2 connection until drop. One that comes too late is closed at once.
func (s *Set) add(m *mux) {
	s.mu.Lock()
	s.muxes[m] = struct{}{}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		m.conn.Close()
	}
}

func (s *Set) drop(m *mux) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.muxes, m)
}

// allMuxes are the HTTP/2 connections that are open.
func (s *Set) allMuxes() []*mux {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*mux, 0, len(s.muxes))
	for m := range s.muxes {
		list = append(list, m)
	}
	return list
}

// sweepRemoved ends connections without streams to hosts that were removed while they were being made: no pool that
// is swept has them.
func (s *Set) sweepRemoved() {
	for _, m := range s.allMuxes() {
		if m.pool.host.removed.Load() && m.conn.Streams() == 0 {
			m.conn.Drain()
		}
	}
}

// Clusters are the clusters in force.
func (s *Set) Clusters() map[string]*Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]*Cluster, len(s.clusters))
	for name, c := range s.clusters {
		out[name] = c
	}
	return out
}

// houseInterval is how often idle connections and ejections are looked at.
const houseInterval = time.Second

// sweepEvery is after how many house intervals idle connections are looked at.
const sweepEvery = 5

// Run keeps house until ctx ends, then closes every idle connection and returns when nothing is left running. Call
// it once, after the last exchange was asked to end: connections in use are closed when they come back.
func (s *Set) Run(ctx context.Context) {
	ticker := time.NewTicker(houseInterval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case now := <-ticker.C:
			if n%sweepEvery == 0 {
				s.sweepRemoved()
			}
			for _, c := range s.Clusters() {
				c.tick(now)
				c.warm()
				if n%sweepEvery == 0 {
					c.sweep(sock.Now())
				}
			}
		case <-ctx.Done():
			s.shutdown()
			return
		}
	}
}

func (s *Set) shutdown() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	for _, c := range s.Clusters() {
		c.close()
	}
	for _, m := range s.allMuxes() {
		m.conn.Close()
	}
	s.wg.Wait()
}

func (c *Cluster) sweep(now sock.Instant) {
	timeout := c.Config().Protocol.IdleTimeout
	c.forgetOriginals(now)
	c.mu.Lock()
	hosts := make([]*Host, 0, len(c.hosts))
	for _, h := range c.hosts {
		hosts = append(hosts, h)
	}
	c.mu.Unlock()
	for _, h := range hosts {
		h.eachPool(func(p *pool) { p.sweep(now, timeout) })
		h.forgetClients()
	}
}
