package dataplane

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"lateen.dev/lateen/proxy"
	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/compile"
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
	// DrainTime is how long a listener that /drain_listeners?graceful drains goes on accepting; 45 s by default.
	DrainTime time.Duration
}

// RunBootstrap runs a proxy from an Envoy bootstrap file until ctx ends.
func RunBootstrap(ctx context.Context, o BootstrapOptions) error {
	b, err := bootstrap.Load(o.File)
	if err != nil {
		return err
	}
	if b.ADS != "" {
		return fmt.Errorf("bootstrap %s: dynamic_resources: discovery from a bootstrap's cluster is not supported yet; static resources are", o.File)
	}
	p := &Proxy{config: Config{Name: b.Node.GetId(), Version: o.Version, Scopes: o.Scopes}, log: o.Scopes.Logger("proxy"),
		metrics: telemetry.NewRegistry(), quit: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.nodeID, p.nodeCluster = b.Node.GetId(), b.Node.GetCluster()
	if p.bootstrap, p.node, err = bootstrap.Describe(b.Node, b.Raw); err != nil {
		return err
	}
	if err := p.loadStatic(b, o); err != nil {
		return err
	}
	var admin net.Listener
	if b.Admin.IsValid() {
		if admin, err = listenAdmin(b.Admin); err != nil {
			return err
		}
		p.wg.Go(func() { p.ended("admin", p.serveAdmin(p.ctx, admin)) })
	}
	p.wg.Go(func() { p.store.Run(p.ctx) })
	p.runEngine()
	p.log.Info("proxy is ready", "bootstrap", o.File)
	select {
	case <-ctx.Done():
	case <-p.Quitting():
	}
	err = p.Drain(context.WithoutCancel(ctx), o.Drain)
	p.Close()
	return err
}

// loadStatic builds the engine and gives it the bootstrap's resources.
func (p *Proxy) loadStatic(b *bootstrap.Bootstrap, o BootstrapOptions) error {
	p.current = &plan.Current{}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	p.engine, err = proxy.New(proxy.Options{Current: p.current, Logger: p.config.Scopes.Logger("engine"), NodeID: b.Node.GetId(),
		InstanceName: b.Node.GetId(), Labels: telemetry.Peer{Workload: b.Node.GetCluster()},
		Standard: telemetry.NewStandard(p.metrics, p.config.Version), DrainTime: o.DrainTime})
	if err != nil {
		return err
	}
	p.store = state.New(state.Config{Current: p.current, Engine: p.engine, Log: p.config.Scopes.Logger("state"),
		Compiler: &compile.Compiler{Names: plan.NewNames(), Hostname: hostname, NodeID: b.Node.GetId(), NodeCluster: b.Node.GetCluster(),
			ReadFile: os.ReadFile, Getenv: os.LookupEnv}})
	if err := p.store.Load(b.Static); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}
