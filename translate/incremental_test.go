package translate_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

var types = []string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.RouteType, xds.NameTableType, xds.VirtualHostType, xds.ExtensionConfigType}

// follow keeps a Translator up to date with a World.
type follow struct {
	w   *world.World
	sub *world.Subscription
	tr  *translate.Translator
}

func newFollow(w *world.World) *follow {
	f := &follow{w: w, sub: w.Subscribe()}
	snap, _ := f.sub.Take()
	f.tr = translate.New(snap)
	return f
}

func (f *follow) catchUp() {
	snap, change := f.sub.Take()
	f.tr.Advance(snap, change, time.Time{})
}

// withVHDS is the same proxy, taking virtual hosts one by one.
func withVHDS(p *model.Proxy) *model.Proxy {
	out := *p
	out.Flavor, out.Metadata = model.LateenProxy, map[string]string{"LATEEN_VHDS": "true", "LATEEN_ECDS": "true"}
	return &out
}

func sidecarProxy(app, namespace, ip string) *model.Proxy {
	return &model.Proxy{
		ID: app, Namespace: namespace, Labels: map[string]string{"app": app, "version": "v1"}, Flavor: model.LateenProxy,
		IPs: []netip.Addr{netip.MustParseAddr(ip)}, DNSCapture: true, Cluster: "Kubernetes",
	}
}

// TestIncremental changes a mesh at random and compares, after each change, what a Translator that followed all of them has
// for several proxies with what a new one makes.
func TestIncremental(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			f := newFollow(world.New(world.Options{}))
			proxies := []*model.Proxy{
				sidecarProxy("s0", "ns0", "10.0.0.1"), sidecarProxy("s1", "ns1", "10.0.1.1"), sidecarProxy("s2", "ns2", "10.0.2.1"),
				{ID: "gw", Type: model.GatewayProxy, Namespace: "ns0", Labels: map[string]string{"istio": "ingressgateway"}},
			}
			proxies[1] = withVHDS(proxies[1])
			proxies = append(proxies, withVHDS(proxies[3]))
			present := map[config.Key]bool{}
			for step := range 150 {
				what := mutate(t, r, f.w, present)
				f.catchUp()
				if r.IntN(3) == 0 {
					continue // not every Snapshot is looked at
				}
				fresh := translate.New(f.w.Snapshot())
				for _, p := range proxies {
					got, want := f.tr.State(p), fresh.State(p)
					if got.Revision != f.w.Snapshot().Version() {
						t.Fatalf("step %d: revision %d of version %d", step, got.Revision, f.w.Snapshot().Version())
					}
					compareStates(t, fmt.Sprintf("step %d after %s, proxy %s", step, what, p.ID), got, want)
				}
			}
		})
	}
}

func compareStates(t *testing.T, at string, got, want *xds.State) {
	t.Helper()
	for _, typ := range types {
		d := want.Set(typ).DiffFrom(got.Set(typ))
		if len(d.Changed)+len(d.Removed) == 0 {
			continue
		}
		var changed []string
		for _, r := range d.Changed {
			changed = append(changed, r.Name)
		}
		t.Fatalf("%s: %s stale: missing or old %q, left over %q", at, xds.ShortType(typ), changed, d.Removed)
	}
}

// mutate adds, changes or removes one object.
func mutate(t *testing.T, r *rand.Rand, w *world.World, present map[config.Key]bool) string {
	t.Helper()
	if len(present) > 0 && r.IntN(4) == 0 {
		keys := make([]config.Key, 0, len(present))
		for k := range present {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, config.Key.Compare)
		k := keys[r.IntN(len(keys))]
		delete(present, k)
		w.Apply(world.Batch{Changes: []world.ObjectChange{{Key: k}}})
		return "removal of " + k.String()
	}
	o := objects(t, randomObject(r))[0]
	present[o.Key] = true
	w.Apply(world.Batch{Changes: []world.ObjectChange{{Key: o.Key, Object: o}}})
	return "change of " + o.Key.String()
}

func pick(r *rand.Rand, options ...string) string { return options[r.IntN(len(options))] }

// randomObject writes one object of a small mesh, so that objects often concern each other.
func randomObject(r *rand.Rand) string {
	n := r.IntN(4)
	ns := r.IntN(3)
	meta := fmt.Sprintf("metadata: {name: s%d, namespace: ns%d}\n", n, ns)
	host := fmt.Sprintf("s%d.ns%d.svc.cluster.local", r.IntN(4), r.IntN(3))
	switch r.IntN(9) {
	case 0:
		return "apiVersion: v1\nkind: Service\n" + meta + fmt.Sprintf("spec: {selector: {app: s%d}, clusterIP: %s, ports: [%s]}\n",
			n, pick(r, fmt.Sprintf("10.1.%d.%d", ns, n+1), "None"),
			pick(r, "{name: http, port: 80}", "{name: http, port: 80}, {name: tcp, port: 90}", "{name: any, port: 70}",
				"{name: tcp, port: 80}", "{name: any, port: 80}, {name: tls, port: 90}"))
	case 1, 2:
		return "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n" + meta +
			fmt.Sprintf("spec: {address: 10.0.%d.%d, labels: {app: s%d, version: %s}, serviceAccount: %s}\n",
				ns, 1+r.IntN(3), n, pick(r, "v1", "v2"), pick(r, "a", "a", "b"))
	case 3:
		return "apiVersion: networking.istio.io/v1\nkind: VirtualService\n" + meta + fmt.Sprintf(
			"spec: {hosts: [%[1]s], gateways: [mesh, ns0/s0], tcp: [{route: [{destination: {host: %[1]s}}]}], http: [{match: [{%[2]s}], route: [{destination: {host: %[1]s, subset: v1}}]}, {route: [{destination: {host: %[1]s}}]}]}\n",
			host, pick(r, "uri: {prefix: /a}", "sourceLabels: {app: s1}", "headers: {x: {exact: y}}"))
	case 4:
		return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n" + meta + fmt.Sprintf(
			"spec: {host: %s, trafficPolicy: {%s}, subsets: [{name: v1, labels: {version: v1}}]}\n", host,
			pick(r, "loadBalancer: {simple: RANDOM}", "outlierDetection: {consecutive5xxErrors: 2}",
				"loadBalancer: {consistentHash: {httpHeaderName: x}}", "tls: {mode: ISTIO_MUTUAL}"))
	case 5:
		return "apiVersion: networking.istio.io/v1\nkind: Sidecar\n" + meta + fmt.Sprintf(
			"spec: {%segress: [{hosts: [%s]}]}\n", pick(r, "", fmt.Sprintf("workloadSelector: {labels: {app: s%d}}, ", n)),
			pick(r, `"./*"`, `"*/*"`, `"*/`+host+`"`))
	case 6:
		return "apiVersion: networking.istio.io/v1\nkind: Gateway\n" + meta +
			"spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n"
	case 7:
		return "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n" + meta +
			fmt.Sprintf("spec: {mtls: {mode: %s}}\n", pick(r, "STRICT", "DISABLE", "PERMISSIVE"))
	default:
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n" + meta + fmt.Sprintf(
			"spec: {hosts: [se%d.example.com], resolution: %s, ports: [{number: %s, name: p, protocol: %s}]%s%s}\n", n,
			pick(r, "STATIC", "DNS"), pick(r, "80", "90"), pick(r, "HTTP", "TCP", "TLS", "MySQL"),
			pick(r, fmt.Sprintf(", endpoints: [{address: 192.0.2.%d}]", 1+r.IntN(3)), ""),
			pick(r, "", ", addresses: [10.1.0.1]", ", addresses: [10.1.0.0/24]"))
	}
}

const small = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, clusterIP: 10.1.0.1, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, clusterIP: 10.1.0.2, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-1}
spec: {address: 10.0.0.1, labels: {app: web}, serviceAccount: web}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-2}
spec: {address: 10.0.0.2, labels: {app: web}, serviceAccount: web}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1}
spec: {address: 10.0.0.11, labels: {app: reviews}, serviceAccount: reviews}
`

// TestReplicasShare wants one State for proxies that may see the same, and one copy of what others have in common.
func TestReplicasShare(t *testing.T) {
	tr := translate.New(newWorld(t, small).Snapshot())
	a, b := sidecarProxy("web", "default", "10.0.0.1"), sidecarProxy("web", "default", "10.0.0.2")
	other := sidecarProxy("reviews", "default", "10.0.0.11")
	if tr.View(a) != tr.View(b) {
		t.Error("two replicas have two Views")
	}
	if tr.State(a) != tr.State(b) {
		t.Error("two replicas have two States")
	}
	if tr.View(a) == tr.View(other) {
		t.Error("two workloads have one View")
	}
	for _, typ := range []string{xds.EndpointType, xds.RouteType} {
		if tr.State(a).Set(typ) != tr.State(other).Set(typ) {
			t.Errorf("%s: two sets for one scope", xds.ShortType(typ))
		}
	}
	name := "outbound|9080||reviews.default.svc.cluster.local"
	if tr.State(a).Set(xds.ClusterType).Get(name) != tr.State(other).Set(xds.ClusterType).Get(name) {
		t.Error("one cluster was made twice")
	}
}

// TestEndpointChange wants a new endpoint to touch one resource and nothing else.
func TestEndpointChange(t *testing.T) {
	f := newFollow(newWorld(t, small))
	p := sidecarProxy("web", "default", "10.0.0.1")
	before := f.tr.State(p)
	apply(t, f.w, strings.ReplaceAll(`
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-2}
spec: {address: 10.0.0.12, labels: {app: reviews}, serviceAccount: reviews}
`, "\t", ""))
	f.catchUp()
	after := f.tr.State(p)
	for _, typ := range []string{xds.ClusterType, xds.ListenerType, xds.RouteType, xds.NameTableType} {
		if before.Set(typ) != after.Set(typ) {
			t.Errorf("%s was made anew", xds.ShortType(typ))
		}
	}
	d := after.Set(xds.EndpointType).DiffFrom(before.Set(xds.EndpointType))
	if len(d.Changed) != 1 || len(d.Removed) != 0 || d.Changed[0].Name != "outbound|9080||reviews.default.svc.cluster.local" {
		t.Errorf("endpoints: %d changed, %d removed", len(d.Changed), len(d.Removed))
	}
}

// TestStableOrder wants two Translators of the same mesh to agree on every byte.
func TestStableOrder(t *testing.T) {
	for _, file := range scenarios(t) {
		s := readScenario(t, file)
		compareStates(t, file, stateOf(t, s), stateOf(t, s))
	}
}

// TestForgets wants what is remembered to stay in proportion to the mesh, however often it changes.
func TestForgets(t *testing.T) {
	f := newFollow(newWorld(t, small))
	p := sidecarProxy("web", "default", "10.0.0.1")
	for i := range 4000 {
		apply(t, f.w, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-2}
spec: {address: 10.1.%d.%d, labels: {app: reviews}, serviceAccount: reviews}
`, i/250, i%250+1))
		f.catchUp()
		f.tr.State(p)
	}
	if size := f.tr.Size(); size.Resources > 2500 || size.Views > 2 || size.Groups > 2 {
		t.Errorf("after 4000 changes: %+v", size)
	}
}

// What is made ahead is what the first client gets, and nothing stays of the one that it was made for.
func TestAhead(t *testing.T) {
	snap := newWorld(t, small).Snapshot()
	tr, p := translate.New(snap), sidecarProxy("a", "default", "10.0.0.1")
	tr.Ahead()
	if size := tr.Size(); size.Views+size.Groups != 0 || size.Resources == 0 {
		t.Errorf("made ahead: %+v", size)
	}
	state, fresh := tr.State(p), translate.New(snap).State(p)
	for _, typeURL := range fresh.Types() {
		if d := state.Set(typeURL).DiffFrom(fresh.Set(typeURL)); len(d.Changed)+len(d.Removed) > 0 {
			t.Errorf("%s differs", xds.ShortType(typeURL))
		}
	}
}
