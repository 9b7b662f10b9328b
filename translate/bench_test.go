package translate_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// bigMesh writes n services with ten endpoints each in 50 namespaces, every tenth with a TCP port besides, every 20th with a
// route and a rule.
func bigMesh(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: svc-%d, namespace: ns-%d}
spec:
  hosts: [%s]
  addresses: [172.20.%d.%d]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}%s]
  endpoints: [`, i, i%50, benchHost(i), i/250, i%250+1, []string{"", ", {number: 9000, name: tcp, protocol: TCP}"}[(i%10+9)/10^1])
		for e := range 10 {
			fmt.Fprintf(&b, "{address: 10.%d.%d.%d, labels: {app: svc-%d, version: v%d, security.istio.io/tlsMode: istio}, serviceAccount: svc-%d, locality: r/z%d}, ",
				i/250, i%250, e+1, i, e%2+1, i, e%3)
		}
		b.WriteString("]\n")
		if i%20 == 0 {
			fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: svc-%[1]d, namespace: ns-%[2]d}
spec: {host: %[3]s, trafficPolicy: {connectionPool: {tcp: {maxConnections: 100}}, outlierDetection: {consecutive5xxErrors: 5, interval: 10s}}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
%[4]s`, i, i%50, benchHost(i), benchRoute(i, "a"))
		}
	}
	return b.String()
}

// benchSidecars restricts each namespace to itself and one more.
func benchSidecars() string {
	var b strings.Builder
	for k := range 50 {
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: ns-%d}\n"+
			"spec: {egress: [{hosts: [\"./*\", \"istio-system/*\", \"ns-0/*\"]}]}\n", k)
	}
	return b.String()
}

func benchHost(i int) string { return fmt.Sprintf("svc-%d.ns-%d.svc.cluster.local", i, i%50) }

func benchRoute(i int, header string) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: svc-%[1]d, namespace: ns-%[2]d}
spec:
  hosts: [%[4]s]
  http:
  - match: [{headers: {x-test: {exact: %[3]s}}}]
    route: [{destination: {host: %[4]s, subset: v2}}]
  - route: [{destination: {host: %[4]s, subset: v1}}]
`, i, i%50, header, benchHost(i))
}

func benchProxies(k int) []*model.Proxy {
	var out []*model.Proxy
	for i := range k {
		out = append(out, &model.Proxy{
			ID: fmt.Sprint(i), Namespace: fmt.Sprintf("ns-%d", i%50), Labels: map[string]string{"app": fmt.Sprint(i)},
			IPs: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})}, Flavor: model.LateenProxy,
		})
	}
	return out
}

// BenchmarkFirst is the first State for each of 500 clients of 1,000 services.
func BenchmarkFirst(b *testing.B) {
	snap := newWorld(b, bigMesh(1000)).Snapshot()
	proxies := benchProxies(500)
	b.ReportAllocs()
	for b.Loop() {
		tr := translate.New(snap)
		for _, p := range proxies {
			tr.State(p)
		}
	}
}

// BenchmarkFirstScoped is the same where each namespace has a Sidecar.
func BenchmarkFirstScoped(b *testing.B) {
	snap := newWorld(b, bigMesh(1000)+benchSidecars()).Snapshot()
	proxies := benchProxies(500)
	b.ReportAllocs()
	for b.Loop() {
		tr := translate.New(snap)
		for _, p := range proxies {
			tr.State(p)
		}
	}
}

// BenchmarkOne is the first State for a single client.
func BenchmarkOne(b *testing.B) {
	snap := newWorld(b, bigMesh(1000)).Snapshot()
	p := benchProxies(1)[0]
	b.ReportAllocs()
	for b.Loop() {
		state := translate.New(snap).State(p)
		b.ReportMetric(float64(state.Set(xds.RouteType).Get("80").Size()), "routebytes")
	}
}

func benchChange(b *testing.B, n, k int, change func(i int) string) {
	f := newFollow(newWorld(b, bigMesh(n)))
	proxies := benchProxies(k)
	for _, p := range proxies {
		f.tr.State(p)
	}
	f.w.Apply(world.Batch{Changes: []world.ObjectChange{changeOf(b, change(0))}}) // from now on it stands at the same line
	f.catchUp()
	for _, p := range proxies {
		f.tr.State(p)
	}
	i := 1
	for b.Loop() {
		b.StopTimer()
		f.w.Apply(world.Batch{Changes: []world.ObjectChange{changeOf(b, change(i))}})
		snap, c := f.sub.Take()
		b.StartTimer()
		f.tr.Advance(snap, c, time.Time{})
		for _, p := range proxies {
			f.tr.State(p)
		}
		i++
	}
}

func changeOf(b *testing.B, yaml string) world.ObjectChange {
	o := objects(b, yaml)[0]
	return world.ObjectChange{Key: o.Key, Object: o}
}

// BenchmarkEndpointChange is one more endpoint, for 500 clients.
func BenchmarkEndpointChange(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchChange(b, n, 500, func(i int) string {
				return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: svc-7, namespace: ns-7}
spec:
  hosts: [svc-7.ns-7.svc.cluster.local]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.200.%d.%d}]
`, i/200%200, i%200+1)
			})
		})
	}
}

// BenchmarkRouteChange is one changed header in a route, for 500 clients.
func BenchmarkRouteChange(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchChange(b, n, 500, func(i int) string { return benchRoute(20, fmt.Sprint("h", i)) })
		})
	}
}
