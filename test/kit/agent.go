package kit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/proxy"
	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/client"
)

// agent is one of our own proxies with its discovery client, composed as the product does it.
type agent struct {
	engine  *proxy.Proxy
	store   *state.Store
	metrics *telemetry.Registry

	cancel context.CancelFunc
	wg     sync.WaitGroup
	// engineDone ends the engine's housekeeping, after everything else.
	engineDone context.CancelFunc
	engineWG   sync.WaitGroup
}

// agentConfig is what an agent is made of.
type agentConfig struct {
	NodeID, Name, Namespace string
	Labels                  map[string]string

	material *identity.Material
	// dial reaches the control plane.
	dial     func(ctx context.Context) (net.Conn, error)
	sockets  map[string][]listen.Socket
	upstream func(cluster string) upstream.Dialer
	resolver upstream.Resolver
	openLog  func(path string) (proxy.LogSink, error)
	log      *slog.Logger
}

// closeGrace is how long connections may take to end.
const closeGrace = 300 * time.Millisecond

// startAgent starts a proxy.
func startAgent(c agentConfig) (*agent, error) {
	a := &agent{metrics: telemetry.NewRegistry()}
	holder := identity.NewHolder()
	holder.Set(c.material)
	current := &plan.Current{}
	var err error
	a.engine, err = proxy.New(proxy.Options{
		Current: current, Logger: c.log, Identity: holder, NodeID: c.NodeID, InstanceName: c.Name, Labels: c.peer(),
		Standard: telemetry.NewStandard(a.metrics, "test"), Sockets: c.sockets, Dial: c.upstream, Resolver: c.resolver,
		OpenLog: c.openLog, Shards: 2, DrainTime: time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	n, err := xds.ParseNodeID(c.NodeID)
	if err != nil {
		return nil, err
	}
	node := (&xds.Node{ID: c.NodeID, Type: n.Type, IPs: n.IPs, Workload: n.Workload, Domain: n.Domain, Cluster: c.Name + "." + c.Namespace,
		UserAgent: "lateen test", Metadata: xds.Metadata{Namespace: c.Namespace, Labels: c.Labels}}).Encode()
	a.store = state.New(state.Config{Current: current, Engine: a.engine, Await: []plan.Kind{plan.KindCluster, plan.KindListener}, LocalSecrets: []string{workloadSecret, rootSecret}, OnDemand: true, Log: c.log,
		Compiler: &compile.Compiler{Names: plan.NewNames(), Hostname: c.Name, NodeID: c.NodeID, NodeCluster: node.GetCluster(), ReadFile: os.ReadFile}})
	discovery := client.New(client.Config{Target: "passthrough:///control", Node: node, Wildcards: []string{xds.ClusterType, xds.ListenerType},
		Handler: a.store, Log: c.log, DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.dial(ctx) })}})
	a.store.SetSubscriber(discovery)
	a.store.SetSecrets(planSecrets(c.material)...)
	a.run(discovery, c.log)
	return a, nil
}

func (a *agent) run(discovery *client.Client, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	a.wg.Go(func() { a.store.Run(ctx) })
	a.wg.Go(func() {
		if err := discovery.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("discovery has ended", "error", err)
		}
	})
	house, done := context.WithCancel(context.Background())
	a.engineDone = done
	a.engineWG.Go(func() { a.engine.Run(house) })
}

func planSecrets(m *identity.Material) []*plan.Secret {
	domain := m.ID.TrustDomain
	return []*plan.Secret{
		{Name: workloadSecret, Version: 1, Certificate: m.TLS},
		{Name: rootSecret, Version: 1, Roots: &plan.TrustedRoots{Pool: m.Bundle.Pool(domain), Certs: m.Bundle.Roots(domain)}},
	}
}

func (c *agentConfig) peer() telemetry.Peer {
	return telemetry.Peer{Workload: c.Name, Namespace: c.Namespace, Principal: c.material.ID.String(), App: c.Labels["app"], Version: c.Labels["version"],
		CanonicalName: cmp.Or(c.Labels["app"], c.Name), CanonicalRevision: cmp.Or(c.Labels["version"], "latest"), Cluster: cluster}
}

// close ends everything and waits for it.
func (a *agent) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	// Connections that are still open are cut off.
	_ = a.engine.Shutdown(ctx)
	a.cancel()
	a.wg.Wait()
	a.engineDone()
	a.engineWG.Wait()
}

// ready says whether everything that configuration names has arrived.
func (a *agent) ready() error {
	if ok, missing := a.store.Ready(); !ok {
		return errors.New("not ready: " + missing)
	}
	return nil
}

// pages are the admin pages that tests read.
func (a *agent) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /stats/prometheus", a.metrics.Handler())
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "LIVE")
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		a.engine.Stats(func(name string, value int64) { fmt.Fprintf(w, "%s: %d\n", name, value) })
	})
	return mux
}
