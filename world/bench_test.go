package world_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/world"
)

// meshOf writes a mesh of n ServiceEntries in 50 namespaces with m endpoints each, every tenth with a TCP port, every
// twentieth with a VirtualService and a DestinationRule, and an AuthorizationPolicy for each namespace: the work on which
// control planes are compared.
func meshOf(t testing.TB, n, m int) []*config.Object {
	const namespaces = 50
	var b strings.Builder
	var out []*config.Object
	ip := func(base, i int) string {
		v := base + i
		return fmt.Sprintf("%d.%d.%d.%d", v>>24, v>>16&255, v>>8&255, v&255)
	}
	for i := range n {
		if i%500 == 499 {
			out = append(out, objects(t, b.String())...)
			b.Reset()
		}
		name, ns := fmt.Sprintf("svc-%d", i), fmt.Sprintf("ns-%d", i%namespaces)
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: %s, namespace: %s}\nspec:\n"+
			"  hosts: [%s.%s.svc.cluster.local]\n  addresses: [%s]\n  ports:\n"+
			"  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}\n", name, ns, name, ns, ip(172<<24|20<<16|1, i))
		if i%10 == 0 {
			b.WriteString("  - {number: 9000, name: tcp, protocol: TCP, targetPort: 9000}\n")
		}
		b.WriteString("  resolution: STATIC\n  location: MESH_INTERNAL\n  endpoints:\n")
		for j := range m {
			b.WriteString(benchEndpoint(name, ip(10<<24|1, i*m+j), j))
		}
		if i%20 == 0 {
			fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: vs-%d, namespace: %s}\n"+
				"spec: {hosts: [%s], http: [{timeout: 5s, route: [{destination: {host: %s, subset: v1}, weight: 90}, "+
				"{destination: {host: %s, subset: v2}, weight: 10}]}]}\n", i, ns, name, name, name)
			fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: dr-%d, namespace: %s}\n"+
				"spec: {host: %s, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n", i, ns, name)
		}
	}
	for k := range namespaces {
		fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: allow, namespace: ns-%d}\n"+
			"spec: {rules: [{from: [{source: {namespaces: [ns-%d]}}]}]}\n", k, k)
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: ns-%d}\n"+
			"spec: {egress: [{hosts: [\"./*\", \"istio-system/*\", \"ns-0/*\"]}]}\n", k)
	}
	return append(out, objects(t, b.String())...)
}

func benchEndpoint(app, ip string, j int) string {
	return fmt.Sprintf("  - {address: %s, labels: {app: %s, version: v%d, security.istio.io/tlsMode: istio}, serviceAccount: %s, locality: r/z%d}\n",
		ip, app, j%2+1, app, j%3)
}

func batchOf(list []*config.Object) world.Batch {
	b := world.Batch{Initial: true}
	for _, o := range list {
		b.Changes = append(b.Changes, world.ObjectChange{Key: o.Key, Object: o})
	}
	return b
}

// ask looks at what a translation of every namespace would look at.
func ask(s *world.Snapshot) {
	for k := range 50 {
		ns := fmt.Sprintf("ns-%d", k)
		s.VisibleServices(ns)
		s.Scope(ns, s.Sidecar(ns, nil))
		s.Scope(ns, nil)
	}
}

func BenchmarkInitial(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		batch := batchOf(meshOf(b, n, 10))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				w := world.New(world.Options{})
				w.Apply(batch)
				b.StopTimer()
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				runtime.KeepAlive(w)
				w = nil
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(before.HeapAlloc-after.HeapAlloc)/1e6, "MB-held")
				b.StartTimer()
			}
		})
	}
}

// BenchmarkChange must cost about the same whatever the number of services.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		w := world.New(world.Options{})
		w.Apply(batchOf(meshOf(b, n, 10)))
		ask(w.Snapshot())
		alternate := func(name string, one, two []*config.Object) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					o := one[0]
					if i%2 == 0 {
						o = two[0]
					}
					w.Apply(world.Batch{Changes: []world.ObjectChange{{Key: o.Key, Object: o}}})
				}
			})
		}
		entry := func(last string) []*config.Object {
			var eps strings.Builder
			for j := range 9 {
				eps.WriteString(benchEndpoint("svc-change", fmt.Sprintf("10.250.0.%d", j), j))
			}
			return objects(b, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: svc-change, namespace: ns-0}\nspec:\n"+
				"  hosts: [svc-change.ns-0.svc.cluster.local]\n  addresses: [172.19.0.1]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n"+
				"  resolution: STATIC\n  endpoints:\n"+eps.String()+benchEndpoint("svc-change", last, 9))
		}
		alternate("endpoint", entry("10.250.0.10"), entry("10.250.0.11"))
		route := func(marker string) []*config.Object {
			return objects(b, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: vs-change, namespace: ns-0}\nspec:\n"+
				"  hosts: [svc-change.ns-0.svc.cluster.local]\n  http: [{headers: {request: {set: {x: "+marker+"}}}, route: [{destination: {host: svc-change}}]}]\n")
		}
		alternate("route", route("a"), route("b"))
		service := func(port int) []*config.Object {
			return objects(b, fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns-1}\nspec: {ports: [{name: http, port: %d}]}\n", port))
		}
		alternate("service", service(80), service(81))
	}
}
