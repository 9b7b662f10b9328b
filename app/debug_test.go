package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/source/workload"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

const debugMesh = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  addresses: [172.20.0.1]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.0.0.1, labels: {app: reviews}, serviceAccount: reviews}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  http: [{timeout: 1s, route: [{destination: {host: reviews.default.svc.cluster.local}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: default}
spec: {selector: {matchLabels: {app: ratings}}, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: here, namespace: default}
spec: {mtls: {mode: PERMISSIVE}}
`

// debugged is a control plane with one proxy connected.
type debugged struct {
	*control
	address string
}

func startDebugged(t *testing.T) *debugged {
	t.Helper()
	d := startDebuggedWith(t, debugMesh)
	d.connect(t, xds.ListenerType, "virtualOutbound: not today")
	return d
}

// startDebuggedWith is a control plane with that configuration.
func startDebuggedWith(t *testing.T, mesh string) *debugged {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config", "mesh.yaml"), []byte(mesh), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := newControl(ControlOptions{Dir: dir, Port: 15010})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t.Context())
	g.Go("configuration", func(ctx context.Context) error {
		return c.store.Run(ctx, c.sink(c.store.Name(), func() { close(c.told.store) }))
	})
	g.Go("workloads", func(ctx context.Context) error {
		return c.workloads.Run(ctx, c.sink(workload.Name, func() { close(c.told.workloads) }))
	})
	t.Cleanup(func() {
		c.server.Close()
		g.Stop()
		if err := c.store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.firstSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.discovery.prepare()
	g.Go("translation", c.discovery.run)
	g.Go("discovery", func(ctx context.Context) error { return serveGRPC(ctx, c.grpc.plain, l) })
	return &debugged{control: c, address: l.Addr().String()}
}

// client is a connection to its discovery.
func (d *debugged) client(t *testing.T) discoveryv3.AggregatedDiscoveryServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+d.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
}

// connect has one proxy that acknowledges its clusters, routes and listeners but
// for what it refuses of one type.
func (d *debugged) connect(t *testing.T, refused, reason string) {
	t.Helper()
	s, err := d.client(t).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(typeURL string, names ...string) {
		r := &discoveryv3.DiscoveryRequest{Node: nodeOf("reviews-v1.default", "default", "reviews"), TypeUrl: typeURL, ResourceNames: names}
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		r.ResponseNonce, r.VersionInfo = answer.GetNonce(), answer.GetVersionInfo()
		if typeURL == refused {
			r.ErrorDetail = status.New(codes.InvalidArgument, reason).Proto()
		}
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	exchange(xds.ClusterType)
	exchange(xds.RouteType, "9080")
	exchange(xds.ListenerType)
	deadline, tick := time.Now().Add(20*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !slices.ContainsFunc(d.server.Ledger().Clients(), func(c server.ClientStatus) bool {
		return len(c.Types) == 3 && slices.ContainsFunc(c.Types, func(s server.TypeStatus) bool { return s.TypeURL == refused && len(s.Refused) > 0 })
	}) {
		if time.Now().After(deadline) {
			t.Fatalf("the ledger says %+v", d.server.Ledger().Clients())
		}
		<-tick.C
	}
}

// get asks for a page as a caller on this machine would.
func (d *debugged) get(t *testing.T, page string, into any) (int, string) {
	t.Helper()
	q := httptest.NewRequest(http.MethodGet, "/debug/"+page, nil)
	q.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	d.pages().ServeHTTP(w, q)
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v: %s", page, err, w.Body)
		}
	}
	return w.Code, w.Body.String()
}

// TestDebugPages reads each page in the shape in which istioctl or Kiali would:
// a path to a value, by the names that they look for.
func TestDebugPages(t *testing.T) {
	d := startDebugged(t)
	const node = "sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local"
	for page, paths := range map[string]map[string]any{
		"syncz":       {"0.proxy": node, "0.cluster_sent": nil, "0.cluster_acked": nil, "0.listener_sent": nil, "0.route_acked": nil},
		"adsz":        {"totalClients": 1.0, "clients.0.connectionId": nil, "clients.0.connectedAt": nil, "clients.0.address": nil, "clients.0.metadata.NAMESPACE": "default"},
		"connections": {"totalClients": 1.0, "clients.0.connectionId": nil},
		"registryz": {"0.hostname": "reviews.default.svc.cluster.local", "0.Attributes.Namespace": "default", "0.Attributes.ServiceRegistry": "External",
			"0.ports.0.port": 9080.0, "0.ports.0.protocol": "HTTP", "0.clusterVIPs.Addresses.Kubernetes.0": "172.20.0.1", "0.Resolution": 0.0},
		"endpointz": {"0.svc": "reviews.default.svc.cluster.local:http", "0.ep.0.endpoint.Address": "10.0.0.1", "0.ep.0.endpoint.EndpointPort": 9080.0,
			"0.ep.0.service.hostname": nil, "0.ep.0.endpoint.ServiceAccount": "spiffe://cluster.local/ns/default/sa/reviews"},
		"endpointShardz": {"reviews|default|Shards|External/Kubernetes": nil},
		"configz":        {"0.kind": nil, "0.apiVersion": nil, "0.metadata.name": nil, "0.spec": nil},
		"instancesz":     {node: nil},
		"authorizationz": {"authorization_policies.root_namespace": "istio-system", "authorization_policies.namespace_to_policies.default.0.name": "allow",
			"authorization_policies.namespace_to_policies.default.0.spec": nil},
		"telemetryz":  {"telemetries.root_namespace": "istio-system", "telemetries.namespace_to_telemetries": nil},
		"mesh":        {"root_namespace": "istio-system"},
		"push_status": {"pilot_xds_lds_reject|virtualOutbound|message": "virtualOutbound: not today", "pilot_xds_lds_reject|virtualOutbound|proxy": node},
		"clusterz":    {"0.id": "Kubernetes", "0.syncStatus": "synced"},
		"resourcesz":  {"0.group": nil, "0.version": nil, "0.kind": nil},
		"list":        {"0": "adsz"},
		"config_dump?proxyID=reviews-v1.default": {"configs.1.dynamic_active_clusters.0.cluster.name": nil, "configs.2.dynamic_listeners.0.active_state.listener.name": nil,
			"configs.4.dynamic_route_configs.0.route_config.name": nil},
		"edsz?proxyID=reviews-v1.default": {"0.cluster_name": nil},
		"sidecarz?proxyID=reviews-v1":     {"namespace": "default", "services.0": "reviews.default.svc.cluster.local"},
		"config_distribution?resource=VirtualService/default/reviews": {"0.proxy": node, "0.needs": true, "0.route_acked": nil, "0.cluster_acked": nil,
			"0.since": nil},
		"config_distribution?resource=PeerAuthentication/default/here": {"0.needs": true, "0.refused.0": "LDS virtualOutbound",
			"0.reason": "virtualOutbound: not today"},
		"config_distribution?resource=AuthorizationPolicy/default/allow": {"0.needs": false, "0.since": nil, "0.listener_acked": nil},
	} {
		var got any
		if code, body := d.get(t, page, &got); code != http.StatusOK {
			t.Errorf("%s: %d %s", page, code, body)
			continue
		}
		for path, want := range paths {
			value, ok := lookUp(got, path)
			switch {
			case !ok:
				t.Errorf("%s has no %s: %.600v", page, path, got)
			case want != nil && value != want:
				t.Errorf("%s: %s is %v, want %v", page, path, value, want)
			}
		}
	}
	for page, want := range map[string]int{"config_dump": http.StatusBadRequest, "ndsz?proxyID=none": http.StatusNotFound, "adsz?proxyID=none": http.StatusNotFound,
		"config_distribution": http.StatusUnprocessableEntity, "config_distribution?resource=VirtualService/default/none": http.StatusNotFound} {
		if code, body := d.get(t, page, nil); code != want || !strings.Contains(body, `"message"`) {
			t.Errorf("%s: %d %s", page, code, body)
		}
	}
	// No page fails, and the index names each.
	_, index := d.get(t, "", nil)
	for _, p := range newDebugPages(d.control).list() {
		if code, body := d.get(t, p.name+"?proxyID=reviews-v1.default&resource=VirtualService/default/reviews", nil); code != http.StatusOK || body == "" {
			t.Errorf("%s: %d %s", p.name, code, body)
		}
		if !strings.Contains(index, "/debug/"+p.name+" ") {
			t.Errorf("the index lacks %s", p.name)
		}
	}
}

// A refusal is blamed on the objects that what was refused was made of, with the
// words that go with it.
func TestRefusalIsBlamedOnWhatMadeIt(t *testing.T) {
	d := startDebuggedWith(t, debugMesh+otherRoutes)
	d.connect(t, xds.RouteType, "route 9080 is bad")
	for object, blamed := range map[string]bool{
		"VirtualService/default/reviews":    true,
		"ServiceEntry/default/reviews":      true,
		"DestinationRule/default/reviews":   true,
		"VirtualService/default/review":     false,
		"DestinationRule/default/ratings":   false,
		"ServiceEntry/default/ratings":      false,
		"AuthorizationPolicy/default/mine":  false,
		"AuthorizationPolicy/default/allow": false, // not the proxy's
	} {
		var got []distributed
		d.get(t, "config_distribution?resource="+object, &got)
		if len(got) != 1 || (len(got[0].Refused) > 0) != blamed || blamed && (got[0].Reason != "route 9080 is bad" || got[0].Refused[0] != "RDS 9080") {
			t.Errorf("%s: %+v", object, got)
		}
	}
}

// otherRoutes are objects of which most have no part in the route to reviews.
const otherRoutes = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: review, namespace: default}
spec:
  hosts: [ratings.default.svc.cluster.local]
  http: [{route: [{destination: {host: ratings.default.svc.cluster.local}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings.default.svc.cluster.local]
  addresses: [172.20.0.2]
  ports: [{number: 7070, name: http, protocol: HTTP}]
  resolution: STATIC
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: default}
spec: {host: ratings, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: user}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: mine, namespace: default}
spec: {selector: {matchLabels: {app: reviews}}, rules: [{}]}
`

// The local API tells what a proxy lacks, what it shall have, and who has an object.
func TestLedgerOverTheLocalAPI(t *testing.T) {
	d := startDebugged(t)
	api := d.localAPI()
	get := func(path string, into any) int {
		t.Helper()
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if into != nil {
			if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
				t.Fatalf("%s: %v: %s", path, err, w.Body)
			}
		}
		return w.Code
	}
	const proxy = cli.PathProxies + "/reviews-v1.default"
	var diff cli.DifferenceResponse
	get(proxy+"/difference", &diff)
	i := slices.IndexFunc(diff.Differences, func(one cli.Difference) bool { return one.Name == "virtualOutbound" })
	if i < 0 || diff.Differences[i].State != cli.DifferenceRefused || diff.Differences[i].Has != "" || diff.Differences[i].Reason == "" ||
		!strings.Contains(string(diff.Differences[i].WantedContent), `"name":"virtualOutbound"`) {
		t.Errorf("difference: %+v", diff)
	}
	var dump map[string]any
	get(proxy+"/wanted", &dump)
	if _, ok := lookUp(dump, "configs.1.dynamic_active_clusters.0.cluster.name"); !ok {
		t.Errorf("wanted: %v", dump)
	}
	var who cli.WhoHasResponse
	get(cli.PathWhoHas+"?resource=PeerAuthentication/default/here", &who)
	if len(who.Proxies) != 1 || who.Proxies[0].Proxy != "reviews-v1.default" || !who.Proxies[0].Needs || who.Proxies[0].Since != nil ||
		!slices.Equal(who.Proxies[0].Refused, []string{"LDS virtualOutbound"}) || who.Changed == nil || who.Origin == "" {
		t.Errorf("who has it: %+v", who)
	}
	who = cli.WhoHasResponse{}
	get(cli.PathWhoHas+"?resource=AuthorizationPolicy/default/allow", &who)
	if len(who.Proxies) != 1 || who.Proxies[0].Needs || who.Proxies[0].Since == nil || len(who.Proxies[0].Refused) != 0 {
		t.Errorf("who has the policy: %+v", who)
	}
	for _, path := range []string{cli.PathProxies + "/none/difference", cli.PathProxies + "/none/wanted", cli.PathWhoHas + "?resource=VirtualService/default/none"} {
		if code := get(path, nil); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// What came first counts, and what changed nothing doesn't.
func TestArrivals(t *testing.T) {
	var c changes
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	c.begin(1, at(1))
	c.note(nil, 1, at(1)) // no new Snapshot
	c.begin(1, at(2))
	c.note(nil, 2, at(2))
	c.begin(2, at(3))
	c.note(nil, 3, at(3))
	c.begin(3, at(4)) // not applied yet
	if got := c.takeOldest(3); !got.Equal(at(2)) {
		t.Errorf("of Snapshots 2 and 3 the first came at %v", got)
	}
	if got := c.takeOldest(3); !got.IsZero() {
		t.Errorf("taken already, but %v", got)
	}
	c.note(nil, 4, at(4))
	if got := c.takeOldest(4); !got.Equal(at(4)) {
		t.Errorf("Snapshot 4 came at %v", got)
	}
}

// lookUp follows a path of names and indices, separated by dots, or by bars
// where names have dots.
func lookUp(v any, path string) (any, bool) {
	if m, ok := v.(map[string]any); ok {
		if one, ok := m[path]; ok {
			return one, true
		}
	}
	separator := "."
	if strings.Contains(path, "|") {
		separator = "|"
	}
	for name := range strings.SplitSeq(path, separator) {
		switch x := v.(type) {
		case map[string]any:
			one, ok := x[name]
			if !ok && name == "reviews" { // a host
				one, ok = x["reviews.default.svc.cluster.local"]
			}
			if !ok {
				return nil, false
			}
			v = one
		case []any:
			if i := number(name); i < len(x) {
				v = x[i]
				continue
			}
			return nil, false
		default:
			return nil, false
		}
	}
	return v, true
}

func number(s string) (n int) {
	_ = json.Unmarshal([]byte(s), &n)
	return n
}

// The same pages, and where proxies stand, over xDS.
func TestDebugTypes(t *testing.T) {
	d := startDebugged(t)
	p := &ports{plain: d.address}
	tool := caller{port: d.address, node: nodeOf("istioctl.istio-system", "", "")}
	answer, err := p.ask(t, tool, debugType, "adsz")
	if err != nil || len(answer.GetResources()) != 1 || answer.GetResources()[0].GetTypeUrl() != debugType ||
		!strings.Contains(string(answer.GetResources()[0].GetValue()), `"totalClients":1`) {
		t.Errorf("adsz: %v, %v", answer, err)
	}
	answer, err = p.ask(t, tool, debugType, "config_dump?proxyID=reviews-v1.default")
	if err != nil || !strings.Contains(string(answer.GetResources()[0].GetValue()), `"dynamic_active_clusters"`) {
		t.Errorf("config_dump page: %v, %v", answer, err)
	}
	answer, err = p.ask(t, tool, debugSyncType)
	if err != nil {
		t.Fatal(err)
	}
	client := &statusv3.ClientConfig{}
	if err := answer.GetResources()[0].UnmarshalTo(client); err != nil || client.GetNode().GetId() == "" || len(client.GetGenericXdsConfigs()) == 0 {
		t.Errorf("syncz: %v, %v", client, err)
	}
	if answer, err = p.ask(t, tool, debugDumpType, "reviews-v1.default"); err != nil || len(answer.GetResources()) != 6 {
		t.Errorf("config dump: %d parts, %v", len(answer.GetResources()), err)
	}
	if answer, err = p.ask(t, tool, connectionType); err != nil || len(answer.GetResources()) != 1 {
		t.Errorf("connections: %v, %v", answer, err)
	}
	for _, names := range [][]string{nil, {"a", "b"}} {
		if _, err := p.ask(t, tool, debugType, names...); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%d names: %v", len(names), err)
		}
	}
	if _, err := p.ask(t, tool, debugType, "no-such-page"); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown page: %v", err)
	}
}

// Who may look: this machine, the control plane's namespace, and proxies at
// proxies of their own namespace.
func TestDebugIsForOperators(t *testing.T) {
	d := startDebugged(t)
	pages := newDebugPages(d.control)
	const own = "reviews-v1.default"
	for _, c := range []struct {
		id, page, proxy string
		want            codes.Code
	}{
		{"spiffe://cluster.local/ns/istio-system/sa/operator", "syncz", "", codes.OK},
		{"spiffe://cluster.local/ns/default/sa/reviews", "config_dump", own, codes.OK},
		{"spiffe://cluster.local/ns/default/sa/reviews", "ndsz", own, codes.OK},
		{"spiffe://cluster.local/ns/default/sa/reviews", "syncz", "", codes.PermissionDenied},
		{"spiffe://cluster.local/ns/default/sa/reviews", "config_dump", "", codes.PermissionDenied},
		{"spiffe://cluster.local/ns/prod/sa/reviews", "config_dump", own, codes.PermissionDenied},
		{"", "syncz", "", codes.Unauthenticated},
	} {
		err := pages.allow(server.Client{Peer: server.Peer{ID: c.id, Source: "certificate"}}, c.page, c.proxy)
		if status.Code(err) != c.want {
			t.Errorf("%s at %s of %q: %v, want %v", c.id, c.page, c.proxy, err, c.want)
		}
	}
	state := func(namespace string) *tls.ConnectionState {
		cert := certificate(t, d.authority, identity.ID{TrustDomain: "cluster.local", Namespace: namespace, ServiceAccount: "x"})
		var chain []*x509.Certificate
		for _, der := range cert.Certificate {
			one, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, one)
		}
		return &tls.ConnectionState{PeerCertificates: chain}
	}
	for _, c := range []struct {
		from string
		tls  *tls.ConnectionState
		want int
	}{
		{"127.0.0.1:1", nil, http.StatusOK},
		{"[::1]:1", nil, http.StatusOK},
		{"192.0.2.1:1", nil, http.StatusUnauthorized},
		{"192.0.2.1:1", &tls.ConnectionState{}, http.StatusUnauthorized},
		{"192.0.2.1:1", state("istio-system"), http.StatusOK},
		{"192.0.2.1:1", state("default"), http.StatusForbidden},
	} {
		q := httptest.NewRequest(http.MethodGet, "/debug/syncz", nil)
		q.RemoteAddr, q.TLS = c.from, c.tls
		w := httptest.NewRecorder()
		d.pages().ServeHTTP(w, q)
		if w.Code != c.want {
			t.Errorf("from %s: %d %s, want %d", c.from, w.Code, w.Body, c.want)
		}
	}
}
