package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/derive"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/lib/rest"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/consul"
	"lateen.dev/lateen/source/mcp"
	"lateen.dev/lateen/source/store"
	"lateen.dev/lateen/source/workload"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds/server"
)

// ControlOptions are the flags of the control plane.
type ControlOptions struct {
	// Dir holds everything: config/, state/ and the local API's socket.
	Dir string
	// ConfigDir is read and written instead of Dir/config.
	ConfigDir string
	// Port serves discovery in plain text; +2 over TLS, +4 pages.
	Port int
	// Listen are further addresses, HOST:PORT, at which proxies of other machines
	// find discovery and certificates over TLS. ServingNames are more names for
	// the certificate there.
	Listen, ServingNames []string
	// CACerts is a directory with a plugged-in CA.
	CACerts     string
	CertTTL     time.Duration
	TrustDomain string
	// HTTP10 has proxies accept HTTP/1.0.
	HTTP10 bool
	// Consul is read too if its Address is set.
	Consul ConsulOptions
	// Discovery bounds what clients can make the control plane hold.
	Discovery DiscoveryLimits
	Log       LogOptions
}

// DiscoveryLimits are those of the discovery server; what is zero is as by default.
type DiscoveryLimits = server.Limits

// ConsulOptions say which Consul to read services from.
type ConsulOptions = consul.Options

// Folders of the control plane's directory.
const (
	configDir = "config"
	stateDir  = "state"
)

// control is the control plane's parts, in the order in which they are built.
type control struct {
	o       ControlOptions
	scopes  *telemetry.Scopes
	log     *slog.Logger
	metrics *telemetry.Registry

	store     *store.Store
	workloads *workload.Registry
	world     *world.World
	authority *ca.Authority
	tokens    *ca.Tokens
	// told is closed for each source that has told the whole of what it has.
	told struct{ store, workloads chan struct{} }
	// sources are those beside the store and the workloads, merge is what all of
	// them hold together, and elsewhere tells it to other control planes.
	sources   *sources
	named     *configSources
	merge     *source.Merge
	elsewhere *mcp.Server
	ready     atomic.Bool

	applying sync.Mutex    // one batch at a time, so that merge and elsewhere see what the world sees
	revision atomic.Uint64 // of the store

	discovery *discovery
	server    *server.Server
	grpc      *grpcServers
	who       *ca.Authenticator
	joins     *registrations
	changed   changes
}

// The control plane holds much and makes little: collecting twice as often as by
// default costs a few per cent of its processor time and saves a third of its
// memory (docs/performance.md). While it holds little, its memory may grow by
// gcRoom.
const (
	gcPercent          = 50
	gcRoom             = 64 << 20
	goDefaultGCPercent = 100
	// gcStartPercent is for the first translation and the first change log: what
	// they leave would make the memory grow beyond what is needed afterwards.
	gcStartPercent = 25
)

// collect chooses when garbage is collected, until ctx ends. started are closed
// when the parts of a start are over that make much of it.
func collect(ctx context.Context, started ...<-chan struct{}) {
	starting, over := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer over()
		for _, s := range started {
			select {
			case <-s:
			case <-ctx.Done():
			}
		}
	})
	rest.Headroom(starting, gcStartPercent, gcRoom)
	waiting.Wait()
	if ctx.Err() == nil {
		rest.Collect()
		debug.SetGCPercent(gcPercent)
		rest.Headroom(ctx, gcPercent, gcRoom)
	}
}

// RunControl runs the control plane until ctx ends.
func RunControl(ctx context.Context, o ControlOptions) error {
	c, err := newControl(o)
	if err != nil {
		return err
	}
	defer c.store.Close()
	listeners, err := c.listen()
	if err != nil {
		return err
	}
	defer listeners.Close()
	g := newGroup(ctx)
	g.Go("configuration", func(ctx context.Context) error {
		return c.store.Run(ctx, c.sink(c.store.Name(), func() { close(c.told.store) }))
	})
	g.Go("workloads", func(ctx context.Context) error {
		return c.workloads.Run(ctx, c.sink(workload.Name, func() { close(c.told.workloads) }))
	})
	g.Go("sources", c.sources.run)
	if err := c.firstSnapshot(g.ctx); err != nil {
		g.Stop()
		return err
	}
	// Not earlier: reading a large configuration makes much garbage.
	started := make(chan struct{})
	if before := debug.SetGCPercent(gcStartPercent); before != goDefaultGCPercent {
		debug.SetGCPercent(before) // the operator chose one with GOGC
	} else {
		g.Go("collector", func(ctx context.Context) error {
			collect(ctx, started, c.store.Recorded())
			return nil
		})
	}
	g.Go("complaints", c.logProblems)
	g.Go("source metrics", c.measureSources)
	g.Go("pages", func(ctx context.Context) error { return serveHTTP(ctx, listeners.pages, c.pages()) })
	g.Go("local API", func(ctx context.Context) error { return serveHTTP(ctx, listeners.local, c.localAPI()) })
	if err := c.sources.wait(g.ctx, sourcePatience, c.stillWaiting); err != nil {
		g.Stop()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	c.discovery.prepare()
	c.ready.Store(true)
	g.Go("translation", c.discovery.run)
	g.Go("first translation", func(ctx context.Context) error {
		c.discovery.ahead()
		close(started)
		<-ctx.Done()
		return nil
	})
	g.Go("what workloads use", c.discovery.uses.run)
	g.Go("discovery", func(ctx context.Context) error { return serveGRPC(ctx, c.grpc.plain, listeners.plain) })
	for _, l := range append(listeners.away, listeners.tls) {
		g.Go("discovery over TLS", func(ctx context.Context) error { return serveGRPC(ctx, c.grpc.tls, l) })
	}
	for _, l := range listeners.away {
		c.log.Info("other machines are served", "tls", l.Addr())
	}
	c.log.Info("control plane is ready", "dir", o.Dir, "discovery", listeners.plain.Addr(), "tls", listeners.tls.Addr(), "pages", listeners.pages.Addr())
	go func() {
		<-g.ctx.Done()
		c.server.Close() // streams never end by themselves
	}()
	return g.Wait(ctx)
}

func newControl(o ControlOptions) (*control, error) {
	if o.ConfigDir == "" {
		o.ConfigDir = filepath.Join(o.Dir, configDir)
	}
	c := &control{o: o, metrics: telemetry.NewRegistry()}
	c.told.store, c.told.workloads = make(chan struct{}), make(chan struct{})
	var err error
	if c.scopes, err = o.Log.scopes(os.Stderr); err != nil {
		return nil, err
	}
	c.log = c.scopes.Logger("control")
	state := filepath.Join(o.Dir, stateDir)
	if c.store, err = store.Open(store.Options{Dir: o.ConfigDir, State: state}); err != nil {
		return nil, fmt.Errorf("control plane directory %s: %w", o.Dir, err)
	}
	if err := c.build(state); err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	return c, nil
}

// buildSources makes what reads from elsewhere and tells others.
func (c *control) buildSources() error {
	c.merge = source.NewMerge(c.store.Name(), workload.Name)
	c.elsewhere = mcp.NewServer(c.scopes.Logger("mcp"))
	c.named = &configSources{log: c.scopes.Logger("sources"), self: &ownIdentity{authority: c.authority}}
	if c.o.Consul.Address != "" {
		o := c.o.Consul
		o.Log = c.scopes.Logger("consul")
		src, err := consul.New(o)
		if err != nil {
			return err
		}
		c.named.fixed = []wantedSource{{id: "900 " + src.Name(), name: src.Name(), away: true, open: func() (source.Source, error) { return consul.New(o) }}}
	}
	c.sources = newSources(c.named.log, filepath.Join(c.o.Dir, stateDir, "sources"), c.sink)
	c.sources.want(c.named.fixed)
	return nil
}

func (c *control) build(state string) error {
	var err error
	if c.workloads, err = workload.Open(workload.Options{File: filepath.Join(state, "workloads.json"),
		Prefix: workloadPrefix(c.o.Port), Process: processName, InUse: addressInUse}); err != nil {
		return err
	}
	if err := c.openAuthority(filepath.Join(state, "ca")); err != nil {
		return err
	}
	if err := c.buildSources(); err != nil {
		return err
	}
	defaults := mesh.Default()
	defaults.TrustDomain = c.authority.TrustDomain()
	c.world = world.New(world.Options{Mesh: defaults, Cluster: clusterName, Sources: []string{c.store.Name(), workload.Name},
		OnPanic: func(p derive.Panic) {
			c.log.Error("a derivation panicked; what was derived before stays", "panic", p)
		}})
	c.joins = &registrations{registry: c.workloads, tokens: c.tokens, authority: c.authority, cluster: clusterName,
		discovery: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.o.Port+2)), terminationDrain: c.terminationDrain,
		log: c.scopes.Logger("workloads")}
	metrics := newControlMetrics(c.metrics)
	c.discovery = newDiscovery(c.world, c.joins, func(e *translationError) { e.report(metrics, c.log) })
	c.discovery.http10 = c.o.HTTP10
	if c.discovery.uses, err = openUses(filepath.Join(state, "on-demand.json"), c.log); err != nil {
		return err
	}
	c.who = &ca.Authenticator{Tokens: c.tokens, Bundle: func() *identity.Bundle { return c.authority.Bundle() }}
	c.discovery.arrived = c.changed.takeOldest
	c.server = server.New(server.Config{Provider: providers{c.discovery, c.elsewhere}, Authenticate: authenticate, Inspect: c.inspect, Identity: planeIdentity(), Metrics: metrics,
		Limits: c.o.Discovery, Log: c.scopes.Logger("xds")})
	c.discovery.begin, c.discovery.settle = c.server.Ledger().Begin, c.server.Ledger().Settle
	certificates := ca.NewService(ca.ServiceConfig{Authority: c.authority, Authenticator: c.who, Count: metrics.counted, Log: c.scopes.Logger("ca")})
	hosts, err := c.o.servingHosts()
	if err != nil {
		return err
	}
	c.grpc = newGRPCServers(c.authority.Serving(hosts), c.who, c.server, certificates)
	return nil
}

// terminationDrain is how long MeshConfig gives proxies to end.
func (c *control) terminationDrain() time.Duration {
	m := c.world.Snapshot().Mesh()
	if m == nil {
		return mesh.Default().GetDefaultConfig().GetTerminationDrainDuration().AsDuration()
	}
	return m.Config.GetDefaultConfig().GetTerminationDrainDuration().AsDuration()
}

// workloadPrefix gives each control plane of a machine its own part of the
// loopback network, by its port, so that two meshes don't meet.
func workloadPrefix(port int) netip.Prefix {
	const first, count = 64, 63
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(first + port%count), 0, 0}), 16)
}

// clusterName is Istio's name of the only cluster there is.
const clusterName = "Kubernetes"

func (c *control) openAuthority(dir string) error {
	o := ca.Options{TrustDomain: c.o.TrustDomain, DefaultTTL: c.o.CertTTL, MaxTTL: c.o.CertTTL}
	var err error
	if c.o.CACerts != "" {
		c.authority, err = ca.Plug(c.o.CACerts, o)
	} else {
		c.authority, err = ca.Open(dir, o)
	}
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	if c.tokens, err = ca.OpenTokens(dir, c.authority.TrustDomain(), nil); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	return nil
}

// sink hands a source's batches on. told is called after the first one.
func (c *control) sink(name string, told func()) source.Sink {
	return source.SinkFunc(func(b source.Batch) {
		arrived := time.Now()
		batch := world.Batch{Source: name, Initial: b.Initial, Revision: b.Revision, Changes: make([]world.ObjectChange, len(b.Changes))}
		for i, change := range b.Changes {
			batch.Changes[i] = world.ObjectChange{Key: change.Key, Object: change.Object}
		}
		c.applying.Lock()
		defer c.applying.Unlock()
		counts := c.merge.Apply(name, b)
		if name != workload.Name {
			c.workloads.Observe(source.Batch{Changes: counts})
		}
		c.changed.begin(c.world.Snapshot().Version(), arrived)
		c.world.Apply(batch)
		c.elsewhere.Apply(counts, c.world.Snapshot().Version(), time.Now())
		if name == c.store.Name() {
			c.revision.Store(b.Revision)
			c.followMeshConfig(b)
		}
		c.changed.note(counts, c.world.Snapshot().Version(), arrived)
		if b.Initial {
			told()
		}
	})
}

// followMeshConfig has the sources run that MeshConfig names. Only what was
// written here counts: another control plane's sources are its own business.
func (c *control) followMeshConfig(b source.Batch) {
	key := config.Key{Kind: config.MeshConfig, Namespace: config.MeshConfigNamespace, Name: config.MeshConfigName}
	for _, change := range b.Changes {
		if change.Key == key {
			c.sources.want(append(c.named.wanted(change.Object), c.named.fixed...))
		}
	}
}

// sourcePatience is how long sources may keep proxies waiting before the log
// says so, again and again.
const sourcePatience = 5 * time.Second

func (c *control) stillWaiting(names []string) {
	var reasons []string
	for _, condition := range c.sources.conditions() {
		if condition.State == source.Waiting && condition.Reason != "" {
			reasons = append(reasons, condition.Source+": "+condition.Reason)
		}
	}
	c.log.Warn("proxies wait until every source has told what it has", "missing", names, "reasons", reasons)
}

// firstSnapshot waits until every source has told what it has, so that no
// proxy is served a part of the mesh.
func (c *control) firstSnapshot(ctx context.Context) error {
	for _, told := range []chan struct{}{c.told.store, c.told.workloads} {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-told:
		}
	}
	return nil
}

// problemInterval is how soon a complaint about configuration is in the log.
const problemInterval = 250 * time.Millisecond

// logProblems logs each complaint about what is on disk once, and when it is
// over.
func (c *control) logProblems(ctx context.Context) error {
	tick := time.NewTicker(problemInterval)
	defer tick.Stop()
	logged := map[string]bool{}
	for {
		now := map[string]bool{}
		for _, p := range c.Problems().AtLeast(config.Error) {
			if p.Code == config.CodeSourceUnavailable.ID {
				continue // sources say so themselves, once
			}
			text := p.String()
			if now[text] = true; !logged[text] {
				c.log.Error("configuration is not used; what was live stays live", "problem", text)
			}
		}
		for text := range logged {
			if !now[text] {
				c.log.Info("a problem is mended", "problem", text)
			}
		}
		logged = now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// listenSocket makes the local API's socket, for its owner only. A socket left
// behind by a control plane that was killed is replaced: the directory's lock
// says that nobody uses it.
func listenSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("local API: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("local API: %w (a socket's path has 107 bytes at most; choose a shorter --dir)", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("local API: %w", err)
	}
	return l, nil
}

// localAPI is what the commands of this machine's user talk to.
func (c *control) localAPI() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api.NewHandler(c.store, c))
	newProxyPages(c.server.Ledger(), c.world, c.store.Name()).mount(mux)
	newDebugPages(c).mountLedger(mux)
	mux.HandleFunc("GET "+cli.PathSources, c.sourcesPage)
	mux.HandleFunc("GET "+cli.PathUses, c.discovery.uses.suggest)
	c.joins.mount(mux)
	return mux
}

// pages are health, metrics and debug pages, for anybody on this machine.
func (c *control) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !c.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "waiting for sources of configuration; see /debug/sourcez")
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", c.metrics.Handler())
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, Build()) })
	mountDebug(mux, c)
	mux.Handle("GET /{$}", index("Lateen's control plane", []page{
		{"/debug/", "debug pages, under Istio's names, for callers on this machine and in the control plane's namespace"},
		{"/metrics", "metrics, for Prometheus"},
		{"/ready", "whether configuration has come"},
		{"/version", "the version of this binary"},
	}))
	return mux
}

// Objects implements api.Live: what all sources hold, with the precedence that
// the world gives them.
func (c *control) Objects() ([]*config.Object, uint64) {
	revision := c.revision.Load()
	return c.merge.Objects(), revision
}

// Problems implements api.Live.
func (c *control) Problems() config.Problems {
	return slices.Concat(c.store.Problems(), c.workloads.Problems(), c.sources.problems(), c.merge.Rivals(workload.Name))
}

var _ api.Live = (*control)(nil)
