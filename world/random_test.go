package world_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
)

// TestAnyHistoryLeadsToTheSameWorld changes objects at random and compares each Snapshot with one that is made from scratch
// of the same objects. Between batches the Snapshots are asked everything, so that answers which are remembered must be
// forgotten in time; and what a Change doesn't name must be the same value as before.
func TestAnyHistoryLeadsToTheSameWorld(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 99))
		w := world.New(world.Options{})
		live := make(map[config.Key]*config.Object)
		before := w.Snapshot()
		sub := w.Subscribe()
		sub.Take()
		for step := range 50 {
			var b world.Batch
			for range 1 + r.IntN(3) {
				o := randomObject(t, r)
				if r.IntN(3) == 0 {
					delete(live, o.Key)
					b.Changes = append(b.Changes, world.ObjectChange{Key: o.Key})
				} else {
					live[o.Key] = o
					b.Changes = append(b.Changes, world.ObjectChange{Key: o.Key, Object: o})
				}
			}
			w.Apply(b)
			now, change := sub.Take()
			fresh := world.New(world.Options{})
			var all world.Batch
			for _, o := range live {
				all.Changes = append(all.Changes, world.ObjectChange{Key: o.Key, Object: o})
			}
			fresh.Apply(all)
			got, want := everything(now), everything(fresh.Snapshot())
			if got != want {
				t.Fatalf("seed %d step %d: after %v\n%s", seed, step, b.Changes, firstDifference(got, want))
			}
			checkChange(t, before, now, change)
			before = now
		}
		sub.Close()
	}
}

var (
	namespaces = []string{"one", "two", "istio-system"}
	apps       = []string{"a", "b", "c"}
)

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

func randomObject(t *testing.T, r *rand.Rand) *config.Object {
	ns, app, other := pick(r, namespaces), pick(r, apps), pick(r, apps)
	export := pick(r, []string{``, `exportTo: ["."], `, `exportTo: [two], `, `exportTo: ["*"], `})
	created := pick(r, []string{"", `, creationTimestamp: "2026-01-01T00:00:00Z"`})
	host := pick(r, []string{"a", "b", "x.example.com", "a.one.svc.cluster.local", "*.svc.cluster.local", "*.example.com"})
	head := func(api, kind, name string) string {
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s%s}\n", api, kind, name, ns, created)
	}
	var yaml string
	switch r.IntN(9) {
	case 0:
		yaml = head("v1", "Service", app) + pick(r, []string{
			fmt.Sprintf("spec: {selector: {app: %s}, ports: [{name: http, port: %d}]}", other, 80+r.IntN(2)),
			fmt.Sprintf("spec: {type: ExternalName, externalName: %s.one.svc.cluster.local, ports: [{name: http, port: 80}]}", other),
			"spec: {clusterIP: None, selector: {app: a}, ports: [{name: tcp, port: 81}]}",
		})
	case 1:
		yaml = head("networking.istio.io/v1", "ServiceEntry", app) + fmt.Sprintf(
			"spec: {hosts: [%s.one.svc.cluster.local, x.example.com], %sports: [{number: %d, name: http, protocol: HTTP}], resolution: STATIC, %s}",
			other, export, 80+r.IntN(2), pick(r, []string{
				fmt.Sprintf("endpoints: [{address: 10.0.0.%d}]", r.IntN(3)),
				fmt.Sprintf("workloadSelector: {labels: {app: %s}}", other)}))
	case 2:
		yaml = head("networking.istio.io/v1", "WorkloadEntry", app) + fmt.Sprintf(
			"spec: {address: 10.0.0.%d, labels: {app: %s}, serviceAccount: %s}", r.IntN(4), other, app)
	case 3:
		yaml = head("networking.istio.io/v1", "VirtualService", app) + fmt.Sprintf(
			"spec: {hosts: [%s], %sgateways: [%s], http: [{route: [{destination: {host: %s}}]}%s]}", quote(host), export,
			pick(r, []string{"mesh", "gw", "mesh, gw"}), other,
			pick(r, []string{"", ", {match: [{uri: {prefix: /}}], delegate: {name: d, namespace: one}}"}))
	case 4:
		yaml = strings.Replace(head("networking.istio.io/v1", "VirtualService", "d"), "namespace: "+ns, "namespace: one", 1) +
			fmt.Sprintf("spec: {%shttp: [{route: [{destination: {host: %s}}]}]}", export, other)
	case 5:
		yaml = head("networking.istio.io/v1", "DestinationRule", app) + fmt.Sprintf(
			"spec: {host: %s, %ssubsets: [{name: %s, labels: {v: %s}}]}", quote(host), export, other, app)
	case 6:
		yaml = head("networking.istio.io/v1", "Sidecar", app) + fmt.Sprintf("spec: {%segress: [{hosts: [%s]}]}",
			pick(r, []string{"", "workloadSelector: {labels: {app: a}}, "}),
			pick(r, []string{`"./*"`, `"one/*"`, `"*/*"`, `"two/a.two.svc.cluster.local", "*/x.example.com"`}))
	case 7:
		yaml = head("security.istio.io/v1", "PeerAuthentication", app) + "spec: {mtls: {mode: " + pick(r, []string{"STRICT", "DISABLE"}) + "}}"
	default:
		yaml = head("networking.istio.io/v1", "Gateway", "gw") + fmt.Sprintf(
			"spec: {selector: {istio: %s}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}", app)
	}
	return objects(t, yaml)[0]
}

func quote(s string) string { return `"` + s + `"` }

// everything asks a Snapshot all that it can answer. Addresses that were allocated are left out: where two names want the
// same one, history decides.
func everything(s *world.Snapshot) string {
	var b strings.Builder
	var list []model.ServiceKey
	for k := range s.Services() {
		list = append(list, k)
	}
	slices.SortFunc(list, model.ServiceKey.Compare)
	for _, k := range list {
		svc := *s.Service(k)
		svc.AutoAddresses = nil
		b.WriteString(describeService(&svc))
		if svc.Resolution != model.Alias {
			b.WriteString(describeEndpoints(s, k, nil))
		}
		fmt.Fprintln(&b, "by host", len(s.ServicesByHost(k.Hostname)), s.ServicesByHost(k.Hostname)[0].Namespace)
	}
	for i := range 4 {
		p := &model.Proxy{Namespace: "one", IPs: addresses(fmt.Sprintf("10.0.0.%d", i)), Labels: map[string]string{"app": "a"}}
		for _, in := range s.InstancesOf(p) {
			fmt.Fprintln(&b, "instance", i, in.Service.Key(), len(in.Ports))
		}
	}
	for _, ns := range namespaces {
		fmt.Fprintln(&b, "namespace", ns, len(s.ServicesIn(ns)))
		for _, labels := range []map[string]string{{"app": "a"}, {"app": "b"}} {
			b.WriteString(describeScope(s.Scope(ns, s.Sidecar(ns, labels))))
		}
		for _, svc := range s.VisibleServices(ns) {
			fmt.Fprintln(&b, svc.Key())
			if d := s.DestinationRule(ns, svc, nil); d != nil {
				fmt.Fprintln(&b, "rule", d.From, len(d.Spec.GetSubsets()))
			}
			if v := s.VirtualServiceFor(ns, "mesh", svc.Hostname); v != nil {
				b.WriteString(describeRoute(v))
			}
		}
		for _, gateway := range []string{"mesh", "one/gw", "two/gw"} {
			for _, v := range s.VirtualServices(ns, gateway) {
				fmt.Fprintln(&b, gateway, v.Config, len(v.HTTP))
			}
		}
		fmt.Fprintln(&b, s.PeerAuth(ns, nil))
	}
	for _, g := range s.Gateways() {
		fmt.Fprintln(&b, g.Name(), g.Selector)
	}
	return b.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			from := max(0, i-3)
			return "got:\n" + strings.Join(g[from:min(len(g), i+3)], "\n") + "\nwant:\n" + strings.Join(w[from:min(len(w), i+3)], "\n")
		}
	}
	return "got ends where want has:\n" + strings.Join(w[len(g):], "\n")
}

// checkChange fails if something differs that the change does not name.
func checkChange(t *testing.T, before, now *world.Snapshot, c world.Change) {
	t.Helper()
	all := maps.Collect(before.Services())
	maps.Copy(all, maps.Collect(now.Services()))
	for k := range all {
		effect := c.Services[k]
		if before.Service(k) != now.Service(k) && effect&world.DefinitionChanged == 0 {
			t.Fatalf("service %s changed, the change says %b", k, effect)
		}
		if before.Endpoints(k) != now.Endpoints(k) && effect&world.EndpointsChanged == 0 {
			t.Fatalf("endpoints of %s changed, the change says %b", k, effect)
		}
		if !slices.Equal(before.Endpoints(k).Identities(), now.Endpoints(k).Identities()) && effect&world.IdentitiesChanged == 0 {
			t.Fatalf("identities of %s changed, the change says %b", k, effect)
		}
	}
	for _, ns := range namespaces {
		for _, v := range slices.Concat(before.VirtualServices(ns, "mesh"), now.VirtualServices(ns, "mesh")) {
			if _, named := c.VirtualServices[v.Config]; !named && before.VirtualService(v.Config) != now.VirtualService(v.Config) {
				t.Fatalf("%s changed, the change does not say so", v.Config)
			}
		}
	}
	if c.From != before.Version() || c.To != now.Version() {
		t.Fatalf("change %d–%d between versions %d and %d", c.From, c.To, before.Version(), now.Version())
	}
}
