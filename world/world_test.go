package world_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
)

const services = `
apiVersion: v1
kind: Service
metadata: {name: a, namespace: one}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: one}
spec: {selector: {app: b}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a-1, namespace: one}
spec: {address: 10.0.0.1, labels: {app: a}, serviceAccount: a}
`

const (
	hostA = "a.one.svc.cluster.local"
	hostB = "b.one.svc.cluster.local"
)

func TestChangeSaysWhatChanged(t *testing.T) {
	w := build(t, services)
	sub := w.Subscribe()
	defer sub.Close()
	first, c := sub.Take()
	if !c.Mesh || c.From != 0 || c.To != first.Version() {
		t.Fatalf("the first change is %+v", c)
	}
	for _, step := range []struct {
		name, yaml string
		want       world.Change
		only       bool // endpoints only
	}{
		{"a second endpoint with the same identity", `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a-2, namespace: one}
spec: {address: 10.0.0.2, labels: {app: a}, serviceAccount: a}`,
			world.Change{Services: map[model.ServiceKey]world.Effect{key("one", hostA): world.EndpointsChanged}}, true},
		{"an endpoint with another identity", `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a-2, namespace: one}
spec: {address: 10.0.0.2, labels: {app: a}, serviceAccount: other}`,
			world.Change{Services: map[model.ServiceKey]world.Effect{
				key("one", hostA): world.EndpointsChanged | world.IdentitiesChanged}}, false},
		{"nothing", services, world.Change{}, true},
		{"a port", strings.Replace(services, "ports: [{name: http, port: 80}]", "ports: [{name: http, port: 81}]", 1),
			world.Change{Services: map[model.ServiceKey]world.Effect{
				key("one", hostA): world.DefinitionChanged | world.EndpointsChanged}}, false},
		{"a route", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: one}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}`,
			world.Change{VirtualServices: keys("VirtualService/one/v")}, false},
		{"a rule", `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: one}
spec: {host: a}`,
			world.Change{DestinationRules: keys("DestinationRule/one/d")}, false},
		{"a rule merged with it", `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: e, namespace: one}
spec: {host: a}`,
			world.Change{DestinationRules: keys("DestinationRule/one/d", "DestinationRule/one/e")}, false},
		{"a policy", `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: one}
spec: {mtls: {mode: STRICT}}`,
			world.Change{Policies: keys("PeerAuthentication/one/default")}, false},
	} {
		before := w.Snapshot()
		put(t, w, step.yaml)
		select {
		case <-sub.Ready():
		default:
			t.Fatalf("%s: the subscriber was not woken", step.name)
		}
		now, c := sub.Take()
		step.want.From, step.want.To = before.Version(), now.Version()
		if got, want := describe(c), describe(step.want); got != want {
			t.Errorf("%s: change is\n%s want\n%s", step.name, got, want)
		}
		if c.EndpointsOnly() != step.only {
			t.Errorf("%s: EndpointsOnly is %v", step.name, c.EndpointsOnly())
		}
		if (now.Version() == before.Version()) != c.Empty() {
			t.Errorf("%s: version %d after %d", step.name, now.Version(), before.Version())
		}
	}
}

func keys(names ...string) map[model.ConfigKey]struct{} {
	out := make(map[model.ConfigKey]struct{})
	for _, n := range names {
		k, err := config.ParseKey(n)
		if err != nil {
			panic(err)
		}
		out[k] = struct{}{}
	}
	return out
}

func describe(c world.Change) string {
	return fmt.Sprintln(c.From, c.To, c.Mesh, c.Services, c.VirtualServices, c.DestinationRules, c.Gateways, c.Sidecars, c.Policies)
}

func TestChangesAddUpUntilTaken(t *testing.T) {
	w := build(t, services)
	sub := w.Subscribe()
	defer sub.Close()
	start, _ := sub.Take()
	drop(w, config.Key{Kind: config.WorkloadEntry, Namespace: "one", Name: "a-1"})
	drop(w, config.Key{Kind: config.Service, Namespace: "one", Name: "b"})
	now, c := sub.Take()
	if now != w.Snapshot() || c.From != start.Version() || c.To != now.Version() {
		t.Errorf("took %d–%d", c.From, c.To)
	}
	want := map[model.ServiceKey]world.Effect{
		key("one", hostA): world.EndpointsChanged | world.IdentitiesChanged, key("one", hostB): world.DefinitionChanged,
	}
	if fmt.Sprint(c.Services) != fmt.Sprint(want) {
		t.Errorf("services %v, want %v", c.Services, want)
	}
	if _, c := sub.Take(); !c.Empty() {
		t.Errorf("took %+v again", c)
	}
}

func TestWhatDidNotChangeIsShared(t *testing.T) {
	w := build(t, services)
	before := w.Snapshot()
	scope := before.Scope("one", nil)
	put(t, w, `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a-2, namespace: one}
spec: {address: 10.0.0.2, labels: {app: a}}`)
	after := w.Snapshot()
	if after.Service(key("one", hostA)) != before.Service(key("one", hostA)) {
		t.Error("the service is another value, though only its endpoints changed")
	}
	if after.Scope("one", nil) != scope {
		t.Error("the scope is another value, though only endpoints changed")
	}
	if n := len(before.Endpoints(key("one", hostA)).Endpoints); n != 1 {
		t.Errorf("the old Snapshot has %d endpoints now", n)
	}
	if n := len(after.Endpoints(key("one", hostA)).Endpoints); n != 2 {
		t.Errorf("the new Snapshot has %d endpoints", n)
	}
}

func TestAllocatedAddressesStay(t *testing.T) {
	w := build(t, services)
	was := service(t, w.Snapshot(), "one", hostA).AutoAddresses
	if len(was) != 2 || !was[0].Is4() || !was[1].Is6() {
		t.Fatalf("allocated %v", was)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		n := r.IntN(30)
		put(t, w, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: s%d, namespace: one}
spec: {ports: [{name: http, port: %d}]}`, n, 80+r.IntN(3)))
		drop(w, config.Key{Kind: config.Service, Namespace: "one", Name: fmt.Sprintf("s%d", r.IntN(30))})
		if now := service(t, w.Snapshot(), "one", hostA).AutoAddresses; !slices.Equal(now, was) {
			t.Fatalf("the address moved from %v to %v", was, now)
		}
	}
	again := build(t, services)
	if now := service(t, again.Snapshot(), "one", hostA).AutoAddresses; !slices.Equal(now, was) {
		t.Errorf("after a restart the address is %v, was %v", now, was)
	}
}

func TestNoTwoServicesShareAnAddress(t *testing.T) {
	var yaml strings.Builder
	const n = 2000
	for i := range n {
		fmt.Fprintf(&yaml, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d, namespace: n%d}\nspec: {ports: [{port: 80}]}\n", i, i%7)
	}
	seen := make(map[string]model.ServiceKey)
	for k, s := range build(t, yaml.String()).Snapshot().Services() {
		for _, a := range s.AutoAddresses {
			if other, taken := seen[a.String()]; taken {
				t.Fatalf("%s and %s both have %s", k, other, a)
			}
			seen[a.String()] = k
		}
	}
	if len(seen) != 2*n {
		t.Errorf("%d addresses for %d services", len(seen), n)
	}
}

func TestSourcesTakePrecedence(t *testing.T) {
	w := world.New(world.Options{Sources: []string{"files", "workload"}})
	port := func(n int) *config.Object {
		return objects(t, strings.Replace(services, "port: 80", fmt.Sprintf("port: %d", n), 1))[0]
	}
	apply := func(source string, initial bool, revision uint64, changes ...world.ObjectChange) {
		w.Apply(world.Batch{Source: source, Initial: initial, Revision: revision, Changes: changes})
	}
	expect := func(what string, want uint32) {
		t.Helper()
		svc := w.Snapshot().Service(key("one", hostA))
		switch {
		case svc == nil && want == 0:
		case svc == nil || svc.Ports[0].Number != want:
			t.Errorf("%s: service is %+v, want port %d", what, svc, want)
		}
	}
	with := func(o *config.Object) world.ObjectChange { return world.ObjectChange{Key: o.Key, Object: o} }
	apply("workload", true, 5, with(port(2)))
	expect("one source", 2)
	apply("unlisted", true, 1, with(port(3)))
	expect("a source of no rank", 2)
	apply("files", true, 7, with(port(1)))
	expect("a source of the first rank", 1)
	if r := w.Snapshot().Revision("files"); r != 7 {
		t.Errorf("revision of files is %d", r)
	}
	apply("files", false, 8, world.ObjectChange{Key: port(1).Key})
	expect("which deletes it", 2)
	apply("workload", true, 6)
	expect("and the second starts again without it", 3)
	apply("unlisted", false, 2, world.ObjectChange{Key: port(1).Key})
	expect("and the last deletes it", 0)
}

// A change may cost what it changed: the number of things computed must not depend on the size of the mesh.
func TestCostOfAChangeDoesNotGrowWithTheMesh(t *testing.T) {
	computed := func(n int, yaml string) uint64 {
		w := world.New(world.Options{})
		w.Apply(batchOf(meshOf(t, n, 2)))
		ask(w.Snapshot())
		total := func() (sum uint64) {
			for _, c := range w.Collections() {
				sum += c.Computed
			}
			return sum
		}
		before := total()
		put(t, w, yaml)
		return total() - before
	}
	for name, yaml := range map[string]string{
		"endpoint": "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: svc-7, namespace: ns-7}\n" +
			"spec: {hosts: [svc-7.ns-7.svc.cluster.local], addresses: [172.20.0.8], ports: [{number: 80, name: http, protocol: HTTP}], " +
			"resolution: STATIC, endpoints: [{address: 10.9.9.9}]}",
		"workload": "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w, namespace: ns-7, labels: {app: x}}\n" +
			"spec: {address: 10.9.9.9}",
		"route": "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: vs-0, namespace: ns-0}\n" +
			"spec: {hosts: [svc-0], http: [{route: [{destination: {host: svc-0}}]}]}",
		"rule":    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: dr-0, namespace: ns-0}\nspec: {host: svc-0}",
		"service": "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns-1}\nspec: {ports: [{name: http, port: 80}]}",
	} {
		small, large := computed(60, yaml), computed(240, yaml)
		if small == 0 || small > 10 || large != small {
			t.Errorf("%s: %d computed in a mesh of 60 services, %d in one of 240", name, small, large)
		}
	}
}
