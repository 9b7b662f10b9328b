package translate_test

import (
	"fmt"
	"slices"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/xds"
)

// withDemand is the same proxy, asking for what it uses.
func withDemand(p *model.Proxy) *model.Proxy {
	out := withVHDS(p)
	out.Metadata[translate.MetaOnDemand] = "true"
	out.Annotations = map[string]string{translate.OnDemandAnnotation: "true"}
	return out
}

const shops = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: default}
spec:
  hosts: [web.default.svc.cluster.local]
  addresses: [10.9.0.1]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: default}
spec:
  hosts: [db.default.svc.cluster.local]
  addresses: [10.9.0.2]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: STATIC
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec: {hosts: ["*.example.com"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}
---
`

func names(s *xds.Set) (out []string) {
	for r := range s.All() {
		out = append(out, r.Name)
	}
	return out
}

// What everybody needs is told, the rest is there for those who ask.
func TestOnDemand(t *testing.T) {
	f := newFollow(newWorld(t, shops))
	p := withDemand(sidecarProxy("a", "default", "10.0.0.1"))
	state := f.tr.State(p)
	if got := names(state.Set(xds.ClusterType)); !slices.Equal(got, []string{"BlackHoleCluster", "InboundPassthroughCluster", "PassthroughCluster"}) {
		t.Errorf("clusters told: %q", got)
	}
	if got := names(state.Set(xds.ListenerType)); !slices.Equal(got, []string{"0.0.0.0_80", "virtualInbound", "virtualOutbound"}) {
		t.Errorf("listeners told: %q", got)
	}
	if n := state.Set(xds.VirtualHostType).Len(); n != 0 {
		t.Errorf("%d virtual hosts told", n)
	}
	for _, c := range []struct{ typ, name string }{
		{xds.ClusterType, "outbound|80||web.default.svc.cluster.local"}, {xds.ListenerType, "10.9.0.2_5432"},
		{xds.EndpointType, "outbound|5432||db.default.svc.cluster.local"},
	} {
		if r := state.Set(c.typ).Get(c.name); r == nil || r.Name != c.name {
			t.Errorf("%s %s is not there for who asks", xds.ShortType(c.typ), c.name)
		}
	}
	for host, want := range map[string]string{"web": "web.default.svc.cluster.local:80", "web.default": "web.default.svc.cluster.local:80",
		"10.9.0.1": "web.default.svc.cluster.local:80", "x.example.com": "*.example.com:80", "db": "", "*": "", "unknown": ""} {
		name := "80/" + host
		r := state.Set(xds.VirtualHostType).Get(name)
		if r == nil || want == "" {
			if r != nil || want != "" {
				t.Errorf("%s: %v, want %q", name, r, want)
			}
			continue
		}
		vh, _ := message(t, r).(*routev3.VirtualHost)
		if r.Name != name || vh.GetName() != want || !slices.Equal(vh.GetDomains(), []string{host}) || len(vh.GetRoutes()) == 0 {
			t.Errorf("%s is %s %v", r.Name, vh.GetName(), vh.GetDomains())
		}
		if again := state.Set(xds.VirtualHostType).Get(name); again != r {
			t.Errorf("%s is another one each time", name)
		}
	}
	table, _ := message(t, state.Set(xds.RouteType).Get("80")).(*routev3.RouteConfiguration)
	if got := table.GetVirtualHosts(); len(got) != 1 || got[0].GetName() != "allow_any" || table.GetVhds() == nil {
		t.Errorf("table 80 has %v", got)
	}
	l, _ := message(t, state.Set(xds.ListenerType).Get("virtualOutbound")).(*listenerv3.Listener)
	if l.GetMetadata().GetFilterMetadata()["lateen"].GetFields()["on_demand"].GetStringValue() != "true" {
		t.Error("virtualOutbound does not say that there is more")
	}
}

// A change reaches those who asked for what changed, and the set stays the same for a change of something else.
func TestOnDemandFollowsChanges(t *testing.T) {
	f := newFollow(newWorld(t, shops))
	p := withDemand(sidecarProxy("a", "default", "10.0.0.1"))
	before := f.tr.State(p).Set(xds.VirtualHostType)
	web, wild := before.Get("80/web"), before.Get("80/x.example.com")
	if before.Get("80/new.example.com") == nil || before.Get("80/late") != nil {
		t.Fatal("80/new.example.com or 80/late")
	}
	apply(t, f.w, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: default}
spec: {hosts: [%s], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: late, namespace: default}
spec: {hosts: [late.default.svc.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC}
`, "new", "new.example.com"))
	f.catchUp()
	after := f.tr.State(p).Set(xds.VirtualHostType)
	if after.Get("80/web") != web || after.Get("80/x.example.com") != wild {
		t.Error("what did not change is another resource")
	}
	for name, want := range map[string]string{"80/new.example.com": "new.example.com:80", "80/late": "late.default.svc.cluster.local:80"} {
		if vh, _ := message(t, after.Get(name)).(*routev3.VirtualHost); vh.GetName() != want {
			t.Errorf("%s is %s", name, vh.GetName())
		}
	}
	apply(t, f.w, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db2, namespace: default}
spec: {hosts: [db2.example.org], addresses: [10.9.0.3], ports: [{number: 5432, name: tcp, protocol: TCP}], resolution: STATIC}
`)
	f.catchUp()
	if f.tr.State(p).Set(xds.VirtualHostType) != after {
		t.Error("a TCP service changes the virtual hosts")
	}
}

// A Sidecar resource, the annotation and the mesh's setting decide, in this order.
func TestOnDemandSwitch(t *testing.T) {
	mesh := func(v string) string {
		return fmt.Sprintf(`apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec: {defaultConfig: {proxyMetadata: {LATEEN_ON_DEMAND: "%s"}}}
---
`, v)
	}
	const sidecar = `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {egress: [{hosts: ["./*"]}]}
`
	for _, c := range []struct {
		yaml, annotation string
		want             bool
	}{
		{"", "", false}, {"", "true", true}, {mesh("true"), "", true}, {mesh("true"), "false", false}, {mesh("false"), "true", true},
		{mesh("true") + sidecar, "true", false},
	} {
		p := withDemand(sidecarProxy("a", "default", "10.0.0.1"))
		p.Annotations = map[string]string{}
		if c.annotation != "" {
			p.Annotations[translate.OnDemandAnnotation] = c.annotation
		}
		state := newFollow(newWorld(t, shops+c.yaml)).tr.State(p)
		if got := state.Set(xds.ClusterType).OnDemand(); got != c.want {
			t.Errorf("%q, annotation %q: %t", c.yaml, c.annotation, got)
		}
	}
}
