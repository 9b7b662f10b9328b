package dataplane

import (
	"context"
	"fmt"
	"os"
	"time"

	"lateen.dev/lateen/lib/rest"
	"lateen.dev/lateen/proxy"
	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/discovery"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
	"lateen.dev/lateen/telemetry"
)

// BootstrapOptions are what a proxy with a bootstrap file is started with.
type BootstrapOptions struct {
	File    string
	Version string
	Scopes  *telemetry.Scopes
	// Drain is how the proxy ends when it is stopped.
	Drain DrainTimes
	// DrainTime is how long a listener that /drain_listeners?graceful drains goes on accepting, and how long idle
	// connections may stay in a process that another one has taken over from; 45 s by default.
	DrainTime time.Duration
	Restart   RestartOptions
}

// RunBootstrap runs a proxy from an Envoy bootstrap file until ctx ends, or another process has taken over and this one's
// connections have ended.
func RunBootstrap(ctx context.Context, o BootstrapOptions) error {
	arrived := rest.Hurry()
	defer arrived()
	b, err := bootstrap.Load(o.File)
	if err != nil {
		return err
	}
	p := &Proxy{config: Config{Name: b.Node.GetId(), Version: o.Version, Scopes: o.Scopes}, log: o.Scopes.Logger("proxy"),
		metrics: telemetry.NewRegistry(), quit: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.nodeID, p.nodeCluster = b.Node.GetId(), b.Node.GetCluster()
	if p.bootstrap, p.node, err = bootstrap.Describe(b.Node, b.Raw); err != nil {
		return err
	}
	for _, field := range b.Ignored {
		p.log.Info("a field of the bootstrap makes no difference to this proxy", "field", field)
	}
	for _, what := range compile.Ignored(b.Raw.GetStaticResources()) {
		p.log.Info("a field of the bootstrap's resources makes no difference to this proxy", "field", what)
	}
	if err := p.watchOverload(&b.Overload); err != nil {
		return fmt.Errorf("bootstrap %s: %w", o.File, err)
	}
	r, err := openRestart(ctx, o.Restart)
	if err != nil {
		return err
	}
	p.restart = r
	defer r.close()
	if err := p.loadStatic(b, o, r); err != nil {
		return fmt.Errorf("bootstrap %s: %w", o.File, err)
	}
	if b.Admin.IsValid() {
		if r.admin, err = r.listenAdmin(b.Admin); err != nil {
			return err
		}
	}
	return p.serveBootstrap(ctx, o, r)
}

// serveBootstrap runs what has been loaded to its end.
func (p *Proxy) serveBootstrap(ctx context.Context, o BootstrapOptions, r *restart) error {
	p.wg.Go(func() { p.store.Run(p.ctx) })
	p.wg.Go(func() { p.discovery.Run(p.ctx) })
	p.runEngine()
	if !p.takeOver(ctx, r) {
		p.Close()
		return nil
	}
	adminCtx, endAdmin := context.WithCancel(p.ctx)
	defer endAdmin()
	if r.admin != nil {
		p.wg.Go(func() {
			if err := p.serveAdmin(adminCtx, r.admin); adminCtx.Err() == nil {
				p.ended("admin", err)
			}
		})
	}
	relieved := p.keep(r, endAdmin)
	p.wg.Go(func() {
		if p.awaitStore(p.ctx) == nil {
			p.log.Info("proxy is ready", "bootstrap", o.File, "restart_epoch", r.epoch())
		}
	})
	var err error
	select {
	case <-ctx.Done():
		err = p.Drain(context.WithoutCancel(ctx), o.Drain)
	case <-p.Quitting():
		err = p.Drain(context.WithoutCancel(ctx), o.Drain)
	case <-relieved:
		err = p.Fade(ctx, o.Drain.Limit)
	}
	p.Close()
	return err
}

// takeOver begins to accept. A process that takes over from another one does so when it has all that it serves with: until
// then the other one serves. It gives false if the process was asked to end before.
func (p *Proxy) takeOver(ctx context.Context, r *restart) bool {
	if r.epoch() > 0 {
		if ready, missing := p.store.Ready(); !ready {
			p.log.Info("the process before this one serves until the configuration is there", "missing", missing)
		}
		if p.awaitStore(ctx) != nil {
			return false
		}
	}
	p.engine.Begin()
	if err := r.relieve(); err != nil {
		p.log.Error("taking over", "error", err)
	}
	return true
}

// loadStatic builds the engine and gives it the bootstrap's resources.
func (p *Proxy) loadStatic(b *bootstrap.Bootstrap, o BootstrapOptions, r *restart) error {
	p.current = &plan.Current{}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	p.engine, err = proxy.New(proxy.Options{Current: p.current, Logger: p.config.Scopes.Logger("engine"), NodeID: b.Node.GetId(),
		InstanceName: b.Node.GetId(), Labels: telemetry.Peer{Workload: b.Node.GetCluster()},
		Standard: telemetry.NewStandard(p.metrics, p.config.Version), DrainTime: o.DrainTime,
		Inherit: r.take, Hold: true, Overload: &p.overload.State, MaxConnections: b.Overload.MaxConnections})
	if err != nil {
		return err
	}
	var await []plan.Kind
	if b.Discovery.Clusters != nil {
		await = append(await, plan.KindCluster)
	}
	if b.Discovery.Listeners != nil {
		await = append(await, plan.KindListener)
	}
	p.store = state.New(state.Config{Current: p.current, Engine: p.engine, Log: p.config.Scopes.Logger("state"), Await: await,
		Compiler: &compile.Compiler{Names: plan.NewNames(), Hostname: hostname, NodeID: b.Node.GetId(), NodeCluster: b.Node.GetCluster(),
			ReadFile: os.ReadFile, Getenv: os.LookupEnv}})
	p.discovery = discovery.New(discovery.Config{Bootstrap: b, Handler: p.store, Dial: p.engine.Dial, Log: p.config.Scopes.Logger("xds")})
	p.store.SetSources(p.discovery.ADS(), func(from plan.Source) state.Subscriber { return p.discovery.From(from) })
	return p.store.Load(b.Static)
}
