package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample is a sidecar in small: a listener that accepts and hands over, one per port, routes with weights.
const sample = `
node: {id: "sidecar~10.0.0.1~a.b~c", cluster: a.b}
static_resources:
  secrets:
  - {name: ticket, generic_secret: {secret: {inline_string: very-secret}}}
  clusters:
  - name: reviews
    circuit_breakers: {thresholds: [{max_connections: 7}]}
    load_assignment:
      cluster_name: reviews
      endpoints:
      - locality: {region: r1, zone: z1}
        lb_endpoints:
        - {endpoint: {address: {socket_address: {address: 10.1.0.1, port_value: 9080}}}, health_status: DRAINING}
        - endpoint: {address: {socket_address: {address: 10.1.0.2, port_value: 9080}}}
          metadata: {filter_metadata: {istio: {workload: "reviews-v1;default;reviews;;c1"}}}
  - {name: "100%d", type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}
  listeners:
  - name: virtualOutbound
    address: {socket_address: {address: 127.0.0.1, port_value: 15001}}
    traffic_direction: OUTBOUND
    use_original_dst: true
    filter_chains:
    - filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: 100%d}}]
  - name: 0.0.0.0_9080
    address: {socket_address: {address: 0.0.0.0, port_value: 9080}}
    traffic_direction: OUTBOUND
    bind_to_port: false
    listener_filters: [{name: h, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}}]
    filter_chains:
    - name: http
      filter_chain_match: {application_protocols: [http/1.1, h2c]}
      filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          http_filters: [{name: envoy.filters.http.fault, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}, {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config:
            name: "9080"
            virtual_hosts:
            - name: reviews
              domains: ["reviews:9080"]
              routes:
              - match: {prefix: /, headers: [{name: end-user, string_match: {exact: jason}}]}
                metadata: {filter_metadata: {lateen: {origin: "reviews.yaml:7", rule: "http[0]"}}}
                typed_per_filter_config: {envoy.filters.http.fault: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 500, percentage: {numerator: 100}}}}
                route: {cluster: gone}
              - match: {prefix: /}
                metadata: {filter_metadata: {lateen: {origin: "reviews.yaml:12", rule: "http[1]"}}}
                route: {cluster: reviews, prefix_rewrite: /v2/, timeout: 3s, request_mirror_policies: [{cluster: shadow}]}
    default_filter_chain:
      filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: reviews}}]
`

// levels are the log scopes.
type levels map[string]string

func (l levels) Levels() map[string]string { return l }

func (l levels) SetLevel(scope, level string) error {
	if scope == "" {
		for s := range l {
			l[s] = level
		}
		return nil
	}
	if _, ok := l[scope]; !ok {
		return fmt.Errorf("log scope %q does not exist", scope)
	}
	l[scope] = level
	return nil
}

func options(t *testing.T) Options {
	t.Helper()
	b, err := bootstrap.Parse("sample.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := anypb.New(b.Raw)
	if err != nil {
		t.Fatal(err)
	}
	current := &plan.Current{}
	store := state.New(state.Config{Current: current, Compiler: &compile.Compiler{Names: plan.NewNames()}})
	if err := store.Load(b.Static); err != nil {
		t.Fatal(err)
	}
	return Options{
		Store: store, Current: current, Bootstrap: raw, Levels: levels{"xds": "info", "dns": "info"},
		Stats: func(emit func(string, int64)) { emit("cluster.reviews.upstream_rq_total", 3); emit("zero", 0) },
		Info:  Info{Version: "test", Start: time.Unix(1000, 0), Node: json.RawMessage(`{"id":"x"}`)},
		Now:   func() time.Time { return time.Unix(1060, 0) },
	}
}

// ask sends a request to the handler and returns code and body.
func ask(t *testing.T, h http.Handler, method, target string, change ...func(*http.Request)) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:15000"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestPages(t *testing.T) {
	h := Handler(options(t))
	for _, tc := range []struct {
		method, target string
		code           int
		want           []string
	}{
		{"GET", "/", 200, []string{"/config_dump: ", "/explain: "}},
		{"GET", "/ready", 200, []string{"LIVE"}},
		{"GET", "/server_info", 200, []string{`"state": "LIVE"`, `"uptime_current_epoch": "60s"`, `"id": "x"`}},
		{"GET", "/stats", 200, []string{"cluster.reviews.upstream_rq_total: 3\n", "zero: 0\n", "server.live: 1\n"}},
		{"GET", "/stats?usedonly&filter=^cluster\\.", 200, []string{"cluster.reviews.upstream_rq_total: 3\n"}},
		{"GET", "/stats?filter=(", 400, []string{"filter"}},
		{"GET", "/stats?format=json", 200, []string{`"name": "zero"`}},
		{"GET", "/stats?format=prometheus", 404, nil},
		{"GET", "/listeners", 200, []string{"0.0.0.0_9080::0.0.0.0:9080\n", "virtualOutbound::127.0.0.1:15001\n"}},
		{"GET", "/listeners?format=json", 200, []string{`"port_value": 15001`}},
		{"GET", "/clusters", 200, []string{
			"reviews::default_priority::max_connections::7\n", "reviews::added_via_api::false\n", "reviews::10.1.0.1:9080::health_flags::/eds_status_draining\n",
			"reviews::10.1.0.2:9080::health_flags::healthy\n", "reviews::10.1.0.2:9080::zone::z1\n", "100%d::observability_name::100%d\n",
		}},
		{"GET", "/clusters?format=json", 200, []string{`"eds_health_status": "DRAINING"`, `"address": "10.1.0.2"`, `"max_connections": 7`}},
		{"GET", "/memory", 200, []string{`"allocated": "`}},
		{"GET", "/certs", 200, []string{`"certificates": []`}},
		{"GET", "/logging", 200, []string{"  dns: info\n  xds: info\n"}},
		{"GET", "/logging?level=debug", 405, nil},
		{"POST", "/logging?xds=debug", 200, []string{"  dns: info\n  xds: debug\n"}},
		{"POST", "/logging?paths=xds:trace,dns:off", 200, []string{"  dns: off\n  xds: trace\n"}},
		{"POST", "/logging?nope=debug", 400, []string{"does not exist"}},
		{"GET", "/quitquitquit", 404, nil},
		{"GET", "/nowhere", 404, nil},
	} {
		code, body := ask(t, h, tc.method, tc.target)
		if code != tc.code {
			t.Errorf("%s %s: %d %s", tc.method, tc.target, code, body)
		}
		for _, w := range tc.want {
			if !strings.Contains(body, w) {
				t.Errorf("%s %s lacks %q:\n%s", tc.method, tc.target, w, body)
			}
		}
	}
}

func TestConfigDump(t *testing.T) {
	h := Handler(options(t))
	_, all := ask(t, h, "GET", "/config_dump")
	var dump struct {
		Configs []map[string]any `json:"configs"`
	}
	if err := json.Unmarshal([]byte(all), &dump); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, c := range dump.Configs {
		types = append(types, strings.TrimPrefix(c["@type"].(string), "type.googleapis.com/envoy.admin.v3."))
	}
	want := "BootstrapConfigDump ClustersConfigDump ListenersConfigDump ScopedRoutesConfigDump RoutesConfigDump SecretsConfigDump EcdsConfigDump"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("sections %s", got)
	}
	if strings.Contains(all, "very-secret") || strings.Contains(all, "dmVyeS1zZWNyZXQ") {
		t.Error("the secret is shown")
	}
	for _, w := range []string{`"static_clusters"`, `"static_listeners"`, `"static_route_configs"`, `"route_config"`, redacted} {
		if !strings.Contains(all, w) {
			t.Errorf("the dump lacks %s", w)
		}
	}
	if strings.Contains(all, "EndpointsConfigDump") {
		t.Error("endpoints are there unasked")
	}
	if _, eds := ask(t, h, "GET", "/config_dump?include_eds"); !strings.Contains(eds, `"static_endpoint_configs"`) {
		t.Error("no endpoints")
	}
	_, some := ask(t, h, "GET", "/config_dump?resource=static_clusters&name_regex=^rev")
	if !strings.Contains(some, "ClustersConfigDump.StaticCluster") || strings.Contains(some, "100%d") {
		t.Errorf("filtered dump:\n%s", some)
	}
	if code, _ := ask(t, h, "GET", "/config_dump?resource=nonsense"); code != 404 {
		t.Errorf("code %d", code)
	}
}

func explain(t *testing.T, h http.Handler, args ...string) *Explanation {
	t.Helper()
	v := url.Values{}
	for i := 0; i < len(args); i += 2 {
		v.Add(args[i], args[i+1])
	}
	code, body := ask(t, h, "GET", "/explain?"+v.Encode())
	if code != 200 {
		t.Fatalf("%v: %d %s", args, code, body)
	}
	var e Explanation
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatal(err)
	}
	return &e
}

func TestExplain(t *testing.T) {
	o := options(t)
	o.Resolve = func(_ context.Context, host string) []netip.Addr {
		if host == "reviews" {
			return []netip.Addr{netip.MustParseAddr("10.96.0.7")}
		}
		return nil
	}
	h := Handler(o)
	e := explain(t, h, "url", "http://reviews:9080/a?b", "random", "1")
	if e.Listener.Name != "0.0.0.0_9080" || e.Listener.HandedOverBy != "virtualOutbound" || e.Destination != "10.96.0.7:9080" {
		t.Errorf("listener %+v", e.Listener)
	}
	if e.Chain.Name != "http" || e.Outcome != "forwarded" || e.Path != "/v2/a?b" || e.Timeout != "3s" || len(e.Mirrors) != 1 {
		t.Errorf("%+v", e)
	}
	last := e.Route.Routes[len(e.Route.Routes)-1]
	if e.Route.VirtualHost != "reviews" || !last.Matched || last.File != "reviews.yaml" || last.Line != 12 || last.Rule != "http[1]" {
		t.Errorf("route %+v", e.Route)
	}
	if e.Cluster.Name != "reviews" || len(e.Endpoints) != 2 || e.Endpoints[1].Workload != "reviews-v1.default" || e.Endpoints[0].Health != "DRAINING" {
		t.Errorf("cluster %+v %+v", e.Cluster, e.Endpoints)
	}
	e = explain(t, h, "url", "http://reviews:9080/", "header", "end-user: jason")
	if e.Cluster.Exists || !strings.Contains(e.Outcome, "503 (flag NC)") || e.Filters[0].Override != "abort with 500 for 100 of 100" {
		t.Errorf("%+v %+v", e.Outcome, e.Filters)
	}
	e = explain(t, h, "url", "http://other:9080/")
	if e.Outcome != "answered 404: no route (flag NR)" || !strings.Contains(e.Route.HostReason, "no virtual host") {
		t.Errorf("%+v", e)
	}
	e = explain(t, h, "url", "tcp://10.96.0.7:9080")
	if !e.Chain.Default || e.Outcome != "forwarded as TCP" || !strings.Contains(e.Chain.Considered[0].Reason, "application protocol") {
		t.Errorf("%+v %+v", e, e.Chain)
	}
	e = explain(t, h, "url", "http://10.1.1.1:443/")
	if e.Listener.Name != "virtualOutbound" || e.Cluster.Type != "ORIGINAL_DST" || e.Endpoints[0].Address != "10.1.1.1:443" {
		t.Errorf("%+v %+v", e.Listener, e.Cluster)
	}
	for _, bad := range []string{"url=nonsense", "url=http://a&header=x", "url=http://a&source=x", "url=http://a&destination=x", "url=http://a:99999/"} {
		if code, _ := ask(t, h, "GET", "/explain?"+bad); code != 400 {
			t.Errorf("%s: %d", bad, code)
		}
	}
}

// The admin side must not be driven by web pages in a browser on the same machine.
func TestProfile(t *testing.T) {
	h := Handler(Options{})
	get := func(ctx context.Context, query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/debug/pprof/profile"+query, http.NoBody))
		return w
	}
	for _, bad := range []string{"?seconds=0", "?seconds=601", "?seconds=x"} {
		if w := get(t.Context(), bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	const gzipMagic = "\x1f\x8b"
	if w := get(gone, ""); w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), gzipMagic) {
		t.Errorf("status %d, %d bytes, which aren't a profile", w.Code, w.Body.Len())
	}
}

func TestForeignRequestsAreRefused(t *testing.T) {
	o := options(t)
	quit := 0
	o.Quit = func() { quit++ }
	h := Handler(o)
	for name, change := range map[string]func(*http.Request){
		"origin":    func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"rebinding": func(r *http.Request) { r.Host = "evil.example:15000" },
		"site":      func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		if code, _ := ask(t, h, "POST", "/quitquitquit", change); code != 403 {
			t.Errorf("%s: %d", name, code)
		}
	}
	if code, _ := ask(t, h, "GET", "/quitquitquit"); code != 405 || quit != 0 {
		t.Errorf("GET ends the process: %d", code)
	}
	if code, _ := ask(t, h, "POST", "/quitquitquit"); code != 200 || quit != 1 {
		t.Errorf("%d", code)
	}
}

func TestServe(t *testing.T) {
	if _, err := Listen(t.Context(), plan.Address{IP: netip.MustParseAddrPort("0.0.0.0:0")}); err == nil || !strings.Contains(err.Error(), "not loopback") {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := Listen(t.Context(), plan.Address{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, Handler(options(t))) }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	res, err := (&http.Client{Transport: tr}).Get("http://admin/ready")
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
	res.Body.Close()
	tr.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
