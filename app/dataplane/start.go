package dataplane

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/lib/rest"
	"lateen.dev/lateen/proxy"
	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/discovery"
	"lateen.dev/lateen/proxy/dns"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/client"
)

// Proxy is a running proxy.
type Proxy struct {
	config   Config
	log      *slog.Logger
	metrics  *telemetry.Registry
	holder   *identity.Holder
	engine   *proxy.Proxy
	current  *plan.Current
	store    *state.Store
	dns      *dns.Server
	resolved dns.Resolvers

	nodeID, nodeCluster string
	node                []byte // as JSON
	bootstrap           *anypb.Any
	quit                chan struct{}
	quitOnce, closeOnce sync.Once
	restart             *restart
	discovery           *discovery.Discovery // nil but for a proxy with a bootstrap file
	control             *client.Client       // nil for such a proxy
	named               atomic.Bool          // the names of the mesh have come, or that there are none
	overload            *overload.Manager

	ctx    context.Context
	cancel context.CancelFunc
	endOwn context.CancelFunc // ends what serveOwn serves; nil before
	wg     sync.WaitGroup
	// engineDone ends the engine's housekeeping, after everything else.
	engineDone context.CancelFunc
	engineWG   sync.WaitGroup
}

// Start builds and starts a proxy under a control plane. ctx bounds nothing
// but the start. The proxy owns the sockets of the configuration from here on.
// Call TakeOver when it is ready.
func Start(ctx context.Context, c Config) (*Proxy, error) {
	p := &Proxy{config: c, log: c.Scopes.Logger("proxy"), metrics: telemetry.NewRegistry(), quit: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	holder, rotator, roots, err := Identity(&c)
	if err != nil {
		return nil, err
	}
	p.holder = holder
	n := node(&c).Encode()
	p.nodeID, p.nodeCluster = n.GetId(), n.GetCluster()
	if p.bootstrap, p.node, err = bootstrap.Describe(n, nil); err != nil {
		return nil, err
	}
	if err := p.watchOverload(nil); err != nil {
		return nil, err
	}
	if p.restart, err = openRestart(ctx, c.Restart); err != nil {
		return nil, err
	}
	if err := p.build(); err != nil {
		p.restart.close()
		return nil, err
	}
	p.control = client.New(client.Config{
		Target: c.Discovery, DialOptions: discoveryOptions(&c, holder, roots), Node: n,
		Wildcards: []string{xds.ClusterType, xds.ListenerType, xds.NameTableType, xds.RememberedType},
		Handler:   client.HandlerFunc(p.update), Log: c.Scopes.Logger("xds"),
	})
	p.store.SetSubscriber(p.control)
	p.wg.Go(func() { p.ended("identity", rotator.Run(p.ctx)) })
	p.wg.Go(func() { p.followIdentity() })
	p.wg.Go(func() { p.store.Run(p.ctx) })
	p.wg.Go(func() { p.ended("discovery", p.control.Run(p.ctx)) })
	if p.restart.epoch() == 0 {
		p.serveOwn()
	}
	p.runEngine()
	return p, nil
}

// build makes the parts that can fail.
func (p *Proxy) build() error {
	if err := p.buildEngine(); err != nil {
		return err
	}
	if err := p.buildDNS(); err != nil {
		return err
	}
	var err error
	p.restart.admin, err = p.restart.listenAdmin(p.config.Admin)
	return err
}

// serveOwn serves the admin pages and the program's DNS queries, until another process does.
func (p *Proxy) serveOwn() {
	ctx, cancel := context.WithCancel(p.ctx)
	p.endOwn = cancel
	serve := func(part string, f func() error) {
		p.wg.Go(func() {
			if err := f(); ctx.Err() == nil {
				p.ended(part, err)
			}
		})
	}
	serve("admin", func() error { return p.serveAdmin(ctx, p.restart.admin) })
	if p.dns != nil {
		serve("DNS", func() error {
			return p.dns.Serve(ctx, dns.Sockets{Packets: p.config.DNSPackets, Streams: []net.Listener{p.config.DNSStreams}})
		})
	}
}

// ended logs a part's end that nobody asked for.
func (p *Proxy) ended(part string, err error) {
	if p.ctx.Err() == nil {
		p.log.Error("a part of the proxy has ended", "part", part, "error", err)
	}
}

func (p *Proxy) runEngine() {
	ctx, cancel := context.WithCancel(context.Background())
	p.engineDone = cancel
	p.engineWG.Go(func() { p.engine.Run(ctx) })
	p.engineWG.Go(func() { rest.Watch(ctx) })
	p.engineWG.Go(func() { p.overload.Run(ctx) })
}

// buildEngine makes the engine and the store that feeds it.
func (p *Proxy) buildEngine() error {
	c := &p.config
	p.current = &plan.Current{}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	p.engine, err = proxy.New(proxy.Options{
		Current: p.current, Logger: c.Scopes.Logger("engine"), Identity: p.holder, NodeID: p.nodeID, InstanceName: c.Name,
		Labels: c.peer(), Standard: telemetry.NewStandard(p.metrics, c.Version), Sockets: c.sockets(), Dial: c.dialer, OpenLog: c.openLog,
		Overload: &p.overload.State, DrainTime: c.DrainTime, Inherit: p.restart.take, Hold: p.restart.epoch() > 0,
	})
	if err != nil {
		return err
	}
	p.store = state.New(state.Config{
		Current: p.current, Engine: p.engine, Await: []plan.Kind{plan.KindCluster, plan.KindListener}, LocalSecrets: []string{ownCertificate, ownRoots}, OnDemand: true, Log: c.Scopes.Logger("state"),
		Compiler: &compile.Compiler{Names: plan.NewNames(), Hostname: hostname, NodeID: p.nodeID, NodeCluster: p.nodeCluster, ReadFile: os.ReadFile},
	})
	p.measureDemand()
	return nil
}

// update is the discovery client's handler.
func (p *Proxy) update(ctx context.Context, u xds.Update) []xds.Refusal {
	switch u.TypeURL {
	case xds.NameTableType:
		return p.updateNames(u)
	case xds.RememberedType:
		return p.remember(u)
	}
	return p.store.Update(ctx, u)
}

// peer is this workload as metrics and other proxies name it.
func (c *Config) peer() telemetry.Peer {
	p := telemetry.Peer{Workload: c.WorkloadName, Namespace: c.Namespace, App: c.Labels["app"], Version: c.Labels["version"], Cluster: c.Cluster}
	if id, err := identity.NewID(c.TrustDomain, c.Namespace, c.ServiceAccount); err == nil {
		p.Principal = id.String()
	}
	first := func(names ...string) string {
		for _, n := range names {
			if v := c.Labels[n]; v != "" {
				return v
			}
		}
		return ""
	}
	p.CanonicalName = first("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
	p.CanonicalRevision = first("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
	return p
}

// The listeners through which all of a sidecar's traffic comes, by Istio's
// names.
const (
	virtualOutbound = "virtualOutbound"
	virtualInbound  = "virtualInbound"
)

// sockets are what the engine accepts from instead of binding ports that would
// be the whole machine's.
func (c *Config) sockets() map[string][]listen.Socket {
	if c.Gateway {
		return nil
	}
	outbound, inbound := []listen.Socket{}, []listen.Socket{}
	if c.Outbound != nil {
		outbound = append(outbound, listen.Socket{Listener: c.Outbound.Listener, OriginalDst: c.Outbound.OriginalDst})
	}
	for _, s := range c.Inbound {
		inbound = append(inbound, listen.Socket{Listener: s.Listener,
			OriginalDst: func(net.Conn) (netip.AddrPort, error) { return s.OriginalDst, nil }})
	}
	return map[string][]listen.Socket{virtualOutbound: outbound, virtualInbound: inbound}
}

// dialer reaches the program for the clusters that lead to it.
func (c *Config) dialer(cluster string) upstream.Dialer {
	if c.DialProgram == nil || (!strings.HasPrefix(cluster, "inbound|") && !strings.HasPrefix(cluster, "InboundPassthroughCluster")) {
		return nil
	}
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, fmt.Errorf("the program's address %q: %w", address, err)
		}
		return c.DialProgram(ctx, a.Port())
	}
}

// logInterval is how long an access log line may wait for others.
const logInterval = 100 * time.Millisecond

func (c *Config) openLog(path string) (proxy.LogSink, error) {
	if c.AccessLog != "" && (path == "/dev/stdout" || path == "/dev/stderr") {
		path = c.AccessLog
	}
	return telemetry.OpenFileSink(path, logInterval)
}

// namesPatience is how long a program waits for the names of the mesh, once all
// else is there: a control plane need not have any.
const namesPatience = 2 * time.Second

// WaitReady returns when the proxy has its certificate and all of its first
// configuration, or with what is missing when ctx ends. What it would answer to a
// question about a name before it knows the mesh's names would be wrong, and
// programs keep such answers.
func (p *Proxy) WaitReady(ctx context.Context) error {
	err := wait(ctx, func() (bool, string) {
		if p.holder.Current() == nil {
			return false, "the certificate authority has not answered yet"
		}
		if p.dns != nil && p.restart.epoch() > 0 && !p.named.Load() {
			return false, "the names of the mesh have not come yet"
		}
		ok, missing := p.store.Ready()
		if !ok && p.control != nil {
			// Why a control plane does not serve us is of more use than what is missing.
			if err := p.control.Status().LastError; err != nil {
				missing += "; the control plane: " + status.Convert(err).Message()
			}
		}
		return ok, missing
	})
	if err != nil || p.dns == nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, namesPatience)
	defer cancel()
	if wait(patience, func() (bool, string) { return p.named.Load(), "names" }) != nil && ctx.Err() == nil {
		p.log.Warn("the control plane has not told the names of the mesh", "waited", namesPatience)
	}
	return nil
}

// awaitStore returns when all of the first configuration is there, or with what is missing when ctx ends.
func (p *Proxy) awaitStore(ctx context.Context) error { return wait(ctx, p.store.Ready) }

func wait(ctx context.Context, ready func() (bool, string)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, missing := ready()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", missing, ctx.Err())
		case <-tick.C:
		}
	}
}

// Quit asks whoever runs the proxy to end it.
func (p *Proxy) Quit() { p.quitOnce.Do(func() { close(p.quit) }) }

// Quitting is closed when somebody has asked for the end on the admin page.
func (p *Proxy) Quitting() <-chan struct{} { return p.quit }

// BeginDrain asks connections to end, and goes on accepting.
func (p *Proxy) BeginDrain() { p.engine.FailHealthCheck() }

// DrainTimes say how a proxy ends.
type DrainTimes struct {
	// Limit is when what is left is cut off: Istio's terminationDrainDuration.
	Limit time.Duration
	// Minimum is how long connections are accepted at least, even if there are none.
	Minimum time.Duration
}

// Drain lets what is open come to its end. For half of the limit, or until there is no connection, it goes on
// accepting: clients learn by connection: close, GOAWAY and the state of /ready that they are to go elsewhere, and those
// who don't know yet are served. Then it refuses new connections, and at the limit it cuts off what is left.
func (p *Proxy) Drain(ctx context.Context, t DrainTimes) error {
	ctx, cancel := context.WithTimeout(ctx, max(t.Limit, t.Minimum))
	defer cancel()
	p.engine.Drain(ctx, t.Minimum, max(t.Limit/2, t.Minimum))
	if err := p.engine.Shutdown(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// closeGrace is how long open connections may take when a proxy is closed.
const closeGrace = 500 * time.Millisecond

// Close ends everything and waits for it. Calling it again does nothing more.
func (p *Proxy) Close() { p.closeOnce.Do(p.closeAll) }

func (p *Proxy) closeAll() {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := p.engine.Shutdown(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("closing", "error", err)
	}
	p.cancel()
	p.wg.Wait()
	p.restart.close()
	p.engineDone()
	p.engineWG.Wait()
}
