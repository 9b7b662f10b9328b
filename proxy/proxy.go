package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"lateen.dev/lateen/proxy/hcm"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/peer"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/tcp"
	"lateen.dev/lateen/proxy/transport"
	"lateen.dev/lateen/proxy/upstream"
)

// Proxy is the engine. It implements plan.Engine.
type Proxy struct {
	opts      Options
	transport *transport.Source
	clusters  *upstream.Set
	listeners *listen.Server
	http      *hcm.Engine
	tcp       *tcp.Engine

	ctx    context.Context // ends when Shutdown has given up waiting
	cancel context.CancelFunc
	// sequences are the drains that admin has begun.
	sequences sync.WaitGroup
	drained   [2]atomic.Bool // a sequence has begun: for inbound listeners, for all

	mu    sync.Mutex // guards what follows: the writer of plans shares it with readers of statistics
	sinks map[string]LogSink
	stats map[statKey]*hcm.Stats
}

// statKey names a connection manager for statistics.
type statKey struct{ listener, prefix string }

var _ plan.Engine = (*Proxy)(nil)

// New returns a proxy without listeners. It starts nothing.
func New(o Options) (*Proxy, error) {
	o = o.withDefaults()
	self, err := peer.NewSelf(o.NodeID, o.InstanceName, o.Labels)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{opts: o, sinks: map[string]LogSink{}, stats: map[statKey]*hcm.Stats{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.transport = transport.NewSource(o.Current, o.Identity)
	p.clusters = upstream.NewSet(upstream.Options{Shards: o.Shards, Transport: p.transport, Dial: o.Dial, Resolver: o.Resolver})
	p.listeners = listen.New(listen.Options{
		Sockets: o.Sockets, Serve: p.serve, Shards: o.Shards, MaxConnections: o.MaxConnections, DrainTime: o.DrainTime, Inherit: o.Inherit, Hold: o.Hold, Overload: o.Overload, Logger: o.Logger,
	})
	p.http = &hcm.Engine{Current: o.Current, Self: self, Standard: o.Standard, Logger: o.Logger, URI: p.uri, Overload: o.Overload}
	p.tcp = &tcp.Engine{Current: o.Current, Self: self, Standard: o.Standard, Logger: o.Logger}
	return p, nil
}

// uri is the workload's SPIFFE id, as soon as there is one.
func (p *Proxy) uri() string {
	if p.opts.Identity == nil {
		return ""
	}
	m := p.opts.Identity.Current()
	if m == nil {
		return ""
	}
	return m.ID.String()
}

// Run keeps house until ctx ends, and then ends what is left of the upstream side. Call Shutdown first.
func (p *Proxy) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { p.tcp.Run(ctx) })
	p.clusters.Run(ctx)
	wg.Wait()
}

// Reserve opens the sockets of a listener that is to come into force; an error is why it can't be opened.
func (p *Proxy) Reserve(l *plan.Listener) error { return p.listeners.Reserve(l) }

// Unreserve gives up a listener that did not come into force.
func (p *Proxy) Unreserve(listener string) { p.listeners.Unreserve(listener) }

// Shutdown drains and waits until every connection has ended; when ctx ends before, it cuts off those that are left
// and returns the context's error. Then it closes the access logs.
func (p *Proxy) Shutdown(ctx context.Context) error {
	err := p.listeners.Shutdown(ctx)
	p.cancel()
	p.http.Wait()
	p.sequences.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, sink := range p.sinks {
		if cerr := sink.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("access log %s: %w", path, cerr))
		}
		delete(p.sinks, path)
	}
	return err
}

// Dial opens a connection to a host of a cluster in force, by HTTP/2 where TLS lets it choose, for what the proxy itself
// asks.
func (p *Proxy) Dial(ctx context.Context, cluster string) (net.Conn, error) {
	c := p.clusters.Clusters()[cluster]
	if c == nil {
		return nil, fmt.Errorf("there is no cluster %s", cluster)
	}
	return c.Dial(ctx, "h2")
}

// Clusters are the clusters in force, for admin.
func (p *Proxy) Clusters() map[string]*upstream.Cluster { return p.clusters.Clusters() }

// Listening returns the addresses that a listener accepts on.
func (p *Proxy) Listening(listener string) []net.Addr { return p.listeners.Bound(listener) }

// Reconsider has connections look at their timeouts again: see overload.Relief.
func (p *Proxy) Reconsider() { p.listeners.Reconsider() }

// ResetStreams resets HTTP/2 streams that hold much: see overload.Relief. What a client doesn't take is held on its side, or,
// where a goroutine waits for the client and more is to come, on that of the server.
func (p *Proxy) ResetStreams(bytes int64, most int) int {
	n := p.listeners.ResetStreams(bytes, most)
	return n + p.clusters.ResetStreams(bytes, most-n)
}

// Connections is the number of open downstream connections.
func (p *Proxy) Connections() int64 { return p.listeners.Open() }

// Stats calls f with every statistic, by Envoy's name: cluster.NAME.…, listener.NAME.…, http.PREFIX.….
func (p *Proxy) Stats(f func(name string, value int64)) {
	for name, c := range p.clusters.Clusters() {
		prefix := "cluster." + name + "."
		c.Stats.Each(func(stat string, v int64) { f(prefix+stat, v) })
	}
	p.listeners.Stats(func(listener string, s *listen.Stats) {
		prefix := "listener." + listener + "."
		s.Each(func(stat string, v int64) { f(prefix+stat, v) })
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.stats {
		prefix := "http." + key.prefix + "."
		s.Each(func(stat string, v int64) { f(prefix+stat, v) })
	}
}
