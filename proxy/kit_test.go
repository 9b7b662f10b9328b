package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/lb"
	"lateen.dev/lateen/telemetry"
)

// bed is a proxy with one listener in front of test servers.
type bed struct {
	t       testing.TB
	names   *plan.Names
	current *plan.Current
	parts   plan.Parts
	proxy   *Proxy
	addr    string
	metrics *telemetry.Registry
	logs    *memoryLog
	inbound bool
}

// memoryLog keeps access log lines.
type memoryLog struct{ lines chan string }

func (m *memoryLog) Write(line []byte) { m.lines <- string(line) }
func (m *memoryLog) Close() error      { return nil }

// manager is the connection manager that tests change as they need.
func manager(t testing.TB, routes ...*plan.Route) *plan.HTTPConnectionManager {
	t.Helper()
	hosts, err := plan.NewHostTable([]*plan.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: routes}})
	if err != nil {
		t.Fatal(err)
	}
	return &plan.HTTPConnectionManager{
		StatPrefix: "test", ServerName: "lateen", Inline: &plan.RouteConfig{Name: "inline", Hosts: hosts},
		Identity: plan.RequestIdentity{GenerateRequestID: true},
		Timeouts: plan.HTTPTimeouts{Idle: time.Hour, StreamIdle: 5 * time.Minute, StreamFlush: 5 * time.Minute, DelayedClose: time.Second},
		Filters:  []plan.HTTPFilter{{Name: "router", Config: &plan.Router{}}},
		HTTP1:    plan.HTTP1Options{AcceptHTTP10: true},
	}
}

func newBed(t testing.TB) *bed { return newBedWith(t, func(*Options) {}) }

func newBedWith(t testing.TB, change func(*Options)) *bed {
	b := &bed{t: t, names: plan.NewNames(), current: &plan.Current{}, metrics: telemetry.NewRegistry(), logs: &memoryLog{make(chan string, 100)}}
	o := Options{
		Current: b.current, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), NodeID: "sidecar~1", InstanceName: "test-1",
		Labels: telemetry.Peer{Workload: "me", Namespace: "default"}, Standard: telemetry.NewStandard(b.metrics, "test"),
		OpenLog: func(string) (LogSink, error) { return b.logs, nil },
	}
	change(&o)
	var err error
	b.proxy, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.proxy.Run(ctx)
	}()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		sctx, scancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer scancel()
		if err := b.proxy.Shutdown(sctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		cancel()
		<-done
	})
	return b
}

// cluster adds a static cluster of the addresses.
func (b *bed) cluster(name string, addrs ...string) *plan.Cluster {
	var eps []plan.Endpoint
	for _, a := range addrs {
		eps = append(eps, plan.Endpoint{Address: plan.Address{IP: netip.MustParseAddrPort(a)}, Weight: 1, TransportSocket: -1})
	}
	most := plan.CircuitBreaker{MaxConnections: 1 << 30, MaxPendingRequests: 1 << 30, MaxRequests: 1 << 30, MaxRetries: 1 << 30}
	c := &plan.Cluster{
		Name: name, Ref: b.names.Cluster(name), ConnectTimeout: time.Second, LB: lb.Config{PanicPercent: 50}, Limits: [2]plan.CircuitBreaker{most, most},
		Services:  []plan.Service{{Host: name + ".default.svc.cluster.local", Name: name, Namespace: "default"}},
		Endpoints: &plan.Endpoints{Name: name, Priorities: []plan.Priority{{Localities: []plan.LocalityEndpoints{{Weight: 1, Endpoints: eps}}}}},
	}
	b.parts.Clusters = append(b.parts.Clusters, c)
	return c
}

// route sends everything below prefix to a cluster.
func (b *bed) route(prefix, cluster string) *plan.Route {
	return &plan.Route{
		Name: "to-" + cluster, Match: plan.RouteMatch{Path: prefix},
		Forward: &plan.RouteAction{Clusters: []plan.WeightedCluster{{Name: cluster, Cluster: b.names.Cluster(cluster), Weight: 1}}, TotalWeight: 1},
	}
}

// listen puts a connection manager behind a listener on a free port and activates everything.
func (b *bed) listen(m *plan.HTTPConnectionManager) {
	b.listenChain(&plan.FilterChain{Name: "http", Filters: []plan.NetworkFilter{{Name: "hcm", Config: m}}})
}

func (b *bed) listenChain(c *plan.FilterChain) {
	b.t.Helper()
	chains, err := plan.NewChainMatcher(nil, c)
	if err != nil {
		b.t.Fatal(err)
	}
	direction := plan.Outbound
	if b.inbound {
		direction = plan.Inbound
	}
	b.parts.Listeners = []*plan.Listener{{
		Name: "test", BindToPort: true, Addresses: []plan.Address{{IP: netip.MustParseAddrPort("127.0.0.1:0")}}, Chains: chains, Direction: direction,
	}}
	b.apply()
	b.addr = b.proxy.Listening("test")[0].String()
}

// apply puts the parts in force.
func (b *bed) apply() {
	b.t.Helper()
	prev := b.current.Load()
	b.parts.Version++
	next := plan.New(b.names, b.parts)
	b.proxy.Prepare(prev, next)
	b.current.Publish(next)
	if rejected := b.proxy.Activate(prev, next); len(rejected) > 0 {
		b.t.Fatalf("rejected: %v", rejected)
	}
}

// server starts a test server and returns its address.
func server(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(ln) //nolint:errcheck // ends with Close
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

// raw writes a request as it stands and reads responses until the connection ends or n have come.
func (b *bed) raw(request string, n int) string {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(nc, request); err != nil {
		b.t.Fatal(err)
	}
	br := bufio.NewReader(nc)
	var out strings.Builder
	method := request[:strings.IndexByte(request, ' ')]
	for range n {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			b.t.Fatalf("response: %v; so far %s", err, out.String())
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			b.t.Fatalf("body: %v", err)
		}
		fmt.Fprintf(&out, "%d %s", resp.StatusCode, body)
		if resp.Close {
			out.WriteString(" close")
		}
		for _, k := range []string{"Location", "Server", "X-Seen"} {
			if v := resp.Header.Get(k); v != "" {
				fmt.Fprintf(&out, " [%s: %s]", k, v)
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

// get makes a request with a client that keeps connections.
func (b *bed) get(path string) (int, string) {
	b.t.Helper()
	resp, err := http.Get("http://" + b.addr + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// recorder is a ResponseWriter that keeps the body.
type recorder struct {
	header http.Header
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(int)             {}
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func logFormat(t testing.TB) telemetry.Formatter {
	t.Helper()
	f, err := telemetry.CompileText("%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% %ROUTE_NAME%\n", "host", false)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// serveTCP gives each connection to serve, and closes it afterwards. It returns the server's address.
func serveTCP(t testing.TB, serve func(nc net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc)
			}()
		}
	}()
	return ln.Addr().String()
}

// fixed answers every request on its connections with the same bytes, without allocating.
func fixed(t testing.TB, answer string) string {
	t.Helper()
	return serveTCP(t, func(nc net.Conn) {
		buf := make([]byte, 16<<10)
		out := []byte(answer)
		for {
			if _, err := nc.Read(buf); err != nil {
				return
			}
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
	})
}
