package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// engine is a plan.Engine that checks what it is told.
type engine struct {
	t      testing.TB
	reject map[string]string
	plans  []*plan.Plan
}

func (e *engine) Prepare(prev, next *plan.Plan) {
	for _, c := range next.Clusters() {
		if c.Runtime == nil {
			c.Runtime = fmt.Sprint(c.Name, next.Version)
		}
	}
	if next.Version != prev.Version+1 {
		e.t.Errorf("plan %d follows plan %d", next.Version, prev.Version)
	}
}

func (e *engine) Activate(_, next *plan.Plan) []plan.Rejection {
	e.plans = append(e.plans, next)
	var out []plan.Rejection
	for _, l := range next.Listeners {
		if why := e.reject[l.Name]; why != "" {
			out = append(out, plan.Rejection{Kind: plan.KindListener, Name: l.Name, Reason: why})
		}
	}
	return out
}

// subscriptions records what is asked for.
type subscriptions map[string]bool

func (s subscriptions) Subscribe(typeURL string, names ...string) {
	for _, n := range names {
		s[xds.ShortType(typeURL)+" "+n] = true
	}
}

func (s subscriptions) Unsubscribe(typeURL string, names ...string) {
	for _, n := range names {
		delete(s, xds.ShortType(typeURL)+" "+n)
	}
}

func (s subscriptions) String() string {
	var all []string
	for n := range s {
		all = append(all, n)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// harness is a store with its neighbours.
type harness struct {
	t       testing.TB
	store   *Store
	engine  *engine
	current *plan.Current
	subs    subscriptions
}

func newHarness(t testing.TB) *harness {
	h := &harness{t: t, engine: &engine{t: t, reject: map[string]string{}}, current: &plan.Current{}, subs: subscriptions{}}
	h.store = New(Config{
		Current: h.current, Engine: h.engine, Await: []plan.Kind{plan.KindCluster, plan.KindListener}, LocalSecrets: []string{"default"},
		Compiler: &compile.Compiler{Names: plan.NewNames()},
	})
	h.store.SetSubscriber(h.subs)
	return h
}

// update sends messages of one type and returns the refusals as text.
func (h *harness) update(typeURL string, removed []string, msgs ...proto.Message) string {
	h.t.Helper()
	u := xds.Update{TypeURL: typeURL, Version: "v", Removed: removed}
	for _, m := range msgs {
		var name string
		switch m := m.(type) {
		case interface{ GetName() string }:
			name = m.GetName()
		case interface{ GetClusterName() string }:
			name = m.GetClusterName()
		}
		r, err := xds.NewResource(name, m)
		if err != nil {
			h.t.Fatal(err)
		}
		u.Added = append(u.Added, r)
	}
	var out []string
	for _, r := range h.store.Update(context.Background(), u) {
		out = append(out, r.Error())
	}
	return strings.Join(out, "; ")
}

// live says what is in force: L listener, C cluster/endpoints, R routes, S secrets.
func (h *harness) live() string {
	p := h.current.Load()
	var out []string
	for _, l := range p.Listeners {
		out = append(out, "L:"+l.Name)
	}
	for _, c := range p.Clusters() {
		out = append(out, fmt.Sprintf("C:%s/%d", c.Name, c.Endpoints.Len()))
	}
	for _, r := range p.RouteConfigs() {
		out = append(out, "R:"+r.Name)
	}
	for _, s := range p.Secrets() {
		out = append(out, "S:"+s.Name)
	}
	return strings.Join(out, " ")
}

func (h *harness) want(what string) {
	h.t.Helper()
	if got := h.live(); got != what {
		h.t.Errorf("in force: %q, want %q", got, what)
	}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ads(timeout time.Duration) *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, InitialFetchTimeout: durationpb.New(timeout)}
}

func tcpAddress(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func eds(name string, timeout time.Duration) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(timeout)},
	}
}

func assignment(name string, ips ...string) *endpointv3.ClusterLoadAssignment {
	l := &endpointv3.LocalityLbEndpoints{}
	for _, ip := range ips {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: tcpAddress(ip, 80)},
		}})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}

// rds is a listener with routes by RDS.
func rds(t *testing.T, name, routes string, port uint32, timeout time.Duration) *listenerv3.Listener {
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routes, ConfigSource: ads(timeout)}},
		HttpFilters:    []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})}}},
	}
	return &listenerv3.Listener{Name: name, Address: tcpAddress("127.0.0.1", port), FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, m)}}},
	}}}
}

func routes(name string, clusters ...string) *routev3.RouteConfiguration {
	vh := &routev3.VirtualHost{Name: "v", Domains: []string{"*"}}
	for _, c := range clusters {
		vh.Routes = append(vh.Routes, &routev3.Route{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/" + c}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: c}}},
		})
	}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{vh}}
}

// A cluster waits for its endpoints, a listener for its routes; then changes come one by one, and what is not referred
// to any more is given up.
func TestMakeBeforeBreak(t *testing.T) {
	h := newHarness(t)
	h.update(xds.ClusterType, nil, eds("a", 0))
	h.want("")
	if got := h.subs.String(); got != "EDS a" {
		t.Errorf("subscribed to %s", got)
	}
	h.update(xds.EndpointType, nil, assignment("a", "10.0.0.1"))
	h.want("C:a/1")
	h.update(xds.ListenerType, nil, rds(t, "l", "80", 80, 0))
	h.want("C:a/1")
	if ok, why := h.store.Ready(); ok || why != `listener "l" waits for route configuration "80"` {
		t.Errorf("ready %v: %s", ok, why)
	}
	h.update(xds.RouteType, nil, routes("80", "a"))
	h.want("L:l C:a/1 R:80")
	if ok, why := h.store.Ready(); !ok {
		t.Errorf("not ready: %s", why)
	}
	// A changed listener with other routes: the old one stays until they are there.
	h.update(xds.ListenerType, nil, rds(t, "l", "81", 81, 0))
	if p := h.current.Load().Listener("l").Addresses[0].IP.Port(); p != 80 {
		t.Errorf("the new listener is live before its routes: port %d", p)
	}
	h.update(xds.RouteType, nil, routes("81", "a"))
	h.want("L:l C:a/1 R:81")
	if got := h.subs.String(); got != "EDS a, RDS 81" {
		t.Errorf("subscribed to %s", got)
	}
	h.update(xds.ListenerType, []string{"l"})
	h.update(xds.ClusterType, []string{"a"})
	h.want("")
	if got := h.subs.String(); got != "" {
		t.Errorf("still subscribed to %s", got)
	}
}

func TestUnchangedIsTheSamePointer(t *testing.T) {
	h := newHarness(t)
	h.update(xds.ClusterType, nil, eds("a", 0), eds("b", 0))
	h.update(xds.EndpointType, nil, assignment("a", "10.0.0.1"), assignment("b", "10.0.0.1"))
	before := h.current.Load()
	a, b := before.ClusterNamed([]byte("a")), before.ClusterNamed([]byte("b"))
	h.update(xds.EndpointType, nil, assignment("a", "10.0.0.1", "10.0.0.2"))
	after := h.current.Load()
	if after.ClusterNamed([]byte("b")) != b {
		t.Error("cluster b did not change, but its pointer did")
	}
	a2 := after.ClusterNamed([]byte("a"))
	if a2 == a || a2.Runtime != a.Runtime || a2.Version != a.Version || a2.Endpoints.Len() != 2 || a.Endpoints.Len() != 1 {
		t.Error("new endpoints must make a copy of the cluster with the same runtime")
	}
	h.update(xds.ClusterType, nil, eds("a", 0))
	if h.current.Load() != after {
		t.Error("the same again made a new plan")
	}
	changed := eds("a", 0)
	changed.AltStatName = "other"
	h.update(xds.ClusterType, nil, changed)
	if a3 := h.current.Load().ClusterNamed([]byte("a")); a3.Runtime == a.Runtime || a3.Endpoints.Len() != 2 {
		t.Error("a changed cluster has a runtime of its own, and the endpoints that were known")
	}
}

func TestRefusalKeepsTheLastGoodVersion(t *testing.T) {
	h := newHarness(t)
	h.update(xds.ClusterType, nil, eds("a", 0))
	h.update(xds.EndpointType, nil, assignment("a", "10.0.0.1"))
	bad := eds("a", 0)
	bad.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	got := h.update(xds.ClusterType, nil, bad, eds("b", 0))
	if got != "a: lb_policy: CLUSTER_PROVIDED belongs to type ORIGINAL_DST" {
		t.Errorf("refusals: %s", got)
	}
	h.want("C:a/1")
	h.update(xds.EndpointType, nil, assignment("b", "10.0.0.1"))
	h.want("C:a/1 C:b/1")
	r := h.store.Resources(plan.KindCluster)
	if len(r) != 2 || r[0].Failure == nil || r[0].Live == nil || !strings.Contains(r[0].Failure.Details, "lb_policy") || r[1].Failure != nil {
		t.Errorf("resources %+v", r)
	}
	if got := h.update(xds.ClusterType, nil, eds("a", 0)); got != "" {
		t.Errorf("refusals: %s", got)
	}
	if r := h.store.Resources(plan.KindCluster); r[0].Failure != nil {
		t.Error("the failure outlived a good version")
	}
}

func TestFetchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ctx, cancel := context.WithCancel(t.Context())
		go h.store.Run(ctx)
		h.update(xds.ClusterType, nil, eds("a", 5*time.Second), eds("forever", 0))
		time.Sleep(4 * time.Second)
		h.want("")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		h.want("C:a/0")
		// Endpoints that come late count all the same, and a name that doesn't exist is not waited for.
		h.update(xds.EndpointType, []string{"forever"}, assignment("a", "10.0.0.1"))
		h.want("C:a/1 C:forever/0")
		cancel()
		synctest.Wait()
	})
}

func TestSecrets(t *testing.T) {
	h := newHarness(t)
	c := eds("a", 0)
	ctx := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "default", SdsConfig: ads(0)}},
		ValidationContextType:          &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "roots", SdsConfig: ads(0)}},
	}}
	c.TransportSocket = &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t, ctx)}}
	h.update(xds.ClusterType, nil, c)
	h.update(xds.EndpointType, nil, assignment("a", "10.0.0.1"))
	if got := h.subs.String(); got != "EDS a, SDS roots" {
		t.Errorf("subscribed to %s: the local secret is not asked for", got)
	}
	h.want("")
	h.store.SetSecrets(&plan.Secret{Name: "default", Version: 1})
	h.want("S:default")
	h.update(xds.SecretType, nil, &tlsv3.Secret{Name: "roots", Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{}}})
	h.want("C:a/1 S:default S:roots")
	ref := h.current.Load().ClusterNamed([]byte("a")).TLS.Certificates[0].SDS
	h.store.SetSecrets(&plan.Secret{Name: "default", Version: 2})
	if s := h.current.Load().Secret(ref); s == nil || s.Version != 2 {
		t.Errorf("rotated secret %+v", s)
	}
}

func TestUnknownStaticSecret(t *testing.T) {
	h := newHarness(t)
	c := eds("a", 0)
	ctx := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "missing"}},
	}}
	c.TransportSocket = &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t, ctx)}}
	if got := h.update(xds.ClusterType, nil, c); !strings.Contains(got, "not among the static secrets") {
		t.Errorf("refusals: %s", got)
	}
}

func TestListenerThatCannotBeOpened(t *testing.T) {
	h := newHarness(t)
	h.engine.reject["l"] = "address in use"
	h.update(xds.ListenerType, nil, rds(t, "l", "80", 80, 0), rds(t, "m", "80", 81, 0))
	if got := h.update(xds.RouteType, nil, routes("80")); got != "" {
		t.Errorf("routes were refused for a listener's sake: %s", got)
	}
	if r := h.store.Resources(plan.KindListener); r[0].Failure == nil || r[0].Failure.Details != "address in use" || r[1].Failure != nil {
		t.Errorf("resources %+v", r)
	}
	if got := h.update(xds.ListenerType, nil, rds(t, "l", "80", 82, 0)); got != "l: address in use" {
		t.Errorf("refusals: %s", got)
	}
}

func TestStaticResources(t *testing.T) {
	current := &plan.Current{}
	s := New(Config{Current: current, Compiler: &compile.Compiler{Names: plan.NewNames()}})
	static := func(typeURL string, m interface {
		proto.Message
		GetName() string
	}) xds.Update {
		r, err := xds.NewResource(m.GetName(), m)
		if err != nil {
			t.Fatal(err)
		}
		return xds.Update{TypeURL: typeURL, Added: []*xds.Resource{r}}
	}
	c := &clusterv3.Cluster{Name: "c", LoadAssignment: assignment("c", "10.0.0.1")}
	if err := s.Load([]xds.Update{static(xds.ClusterType, c)}); err != nil {
		t.Fatal(err)
	}
	if ok, why := s.Ready(); !ok {
		t.Errorf("a static proxy is ready at once: %s", why)
	}
	refused := s.Update(context.Background(), static(xds.ClusterType, c))
	if len(refused) != 1 || !strings.Contains(refused[0].Error(), "static") {
		t.Errorf("refusals %v", refused)
	}
	if err := s.Load([]xds.Update{static(xds.ClusterType, c)}); err == nil || err.Error() != `static cluster "c" is there twice` {
		t.Errorf("got %v", err)
	}
	if err := s.Load([]xds.Update{static(xds.ListenerType, &listenerv3.Listener{Name: "l"})}); err == nil || !strings.Contains(err.Error(), `static listener "l": address`) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownTypesAreRefused(t *testing.T) {
	h := newHarness(t)
	if got := h.update(xds.NameTableType, nil, &routev3.RouteConfiguration{Name: "x"}); !strings.Contains(got, "not one that this proxy takes") {
		t.Errorf("refusals: %s", got)
	}
}

// A proxy that sees thousands of clusters come and go doesn't remember them all.
func TestNamesAreForgotten(t *testing.T) {
	h := newHarness(t)
	for i := range 1300 {
		name := fmt.Sprint("c", i)
		h.update(xds.ClusterType, []string{fmt.Sprint("c", i-1)}, &clusterv3.Cluster{Name: name, LoadAssignment: assignment(name, "10.0.0.1")})
	}
	if n := h.store.cfg.Compiler.Names.Len(); n > 1100 {
		t.Errorf("%d names are held", n)
	}
	h.want("C:c1299/1")
}
