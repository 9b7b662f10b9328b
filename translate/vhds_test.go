package translate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// What a proxy gets apart is, put together, what it would get as whole route configurations.
func TestVirtualHostsApart(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := world.New(world.Options{})
		present := map[config.Key]bool{}
		for range 60 {
			mutate(t, r, w, present)
		}
		tr := translate.New(w.Snapshot())
		for _, p := range []*model.Proxy{
			sidecarProxy("s0", "ns0", "10.0.0.1"), sidecarProxy("s1", "ns1", "10.0.1.1"),
			{ID: "gw", Flavor: model.LateenProxy, Type: model.GatewayProxy, Namespace: "ns0", Labels: map[string]string{"istio": "ingressgateway"}},
		} {
			whole, apart := tr.State(p), tr.State(withVHDS(p))
			if n := whole.Set(xds.VirtualHostType).Len(); n != 0 {
				t.Errorf("%s takes whole tables and has %d virtual hosts besides", p.ID, n)
			}
			hosts := 0
			for table := range apart.Set(xds.RouteType).All() {
				got, _ := message(t, table).(*routev3.RouteConfiguration)
				if got.GetVhds() == nil || len(got.GetVirtualHosts()) > 0 {
					t.Fatalf("table %s has %d hosts and vhds %v", table.Name, len(got.GetVirtualHosts()), got.GetVhds())
				}
				got.Vhds = nil
				for h := range apart.Set(xds.VirtualHostType).Members(table.Name) {
					vh, _ := message(t, h).(*routev3.VirtualHost)
					if h.Name != table.Name+"/"+vh.GetName() {
						t.Errorf("%s names %s", h.Name, vh.GetName())
					}
					got.VirtualHosts = append(got.VirtualHosts, vh)
					hosts++
				}
				want, _ := message(t, whole.Set(xds.RouteType).Get(table.Name)).(*routev3.RouteConfiguration)
				for _, rc := range []*routev3.RouteConfiguration{got, want} {
					slices.SortFunc(rc.GetVirtualHosts(), func(a, b *routev3.VirtualHost) int { return strings.Compare(a.GetName(), b.GetName()) })
				}
				if !proto.Equal(got, want) {
					t.Errorf("seed %d, %s: table %s is %v\nwant %v", seed, p.ID, table.Name, got, want)
				}
			}
			if n := apart.Set(xds.VirtualHostType).Len(); n != hosts || apart.Set(xds.RouteType).Len() != whole.Set(xds.RouteType).Len() {
				t.Errorf("%s: %d virtual hosts, %d of them in tables; %d tables, want %d", p.ID, n, hosts,
					apart.Set(xds.RouteType).Len(), whole.Set(xds.RouteType).Len())
			}
		}
	}
}

// A mesh that is large enough to be translated by several goroutines.
func TestLargeMesh(t *testing.T) {
	tr := translate.New(newWorld(t, bigMesh(260)).Snapshot())
	state := tr.State(withVHDS(sidecarProxy("a", "ns-1", "10.200.0.1")))
	for typ, want := range map[string]int{xds.EndpointType: 338, xds.VirtualHostType: 261, xds.ClusterType: 341} {
		if n := state.Set(typ).Len(); n != want {
			t.Errorf("%d resources of type %s, want %d", n, xds.ShortType(typ), want)
		}
	}
}

// A change of one route is one virtual host.
func TestRouteChangeIsOneVirtualHost(t *testing.T) {
	route := func(header string) string {
		return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: [h3.example.com]
  http: [{headers: {request: {set: {x: "%s"}}}, route: [{destination: {host: h3.example.com}}]}]
---
`, header)
	}
	yaml := route("a")
	for i := range 10 {
		yaml += fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s%d, namespace: default}
spec: {hosts: [h%d.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC}
---
`, i, i)
	}
	f := newFollow(newWorld(t, yaml))
	p := withVHDS(sidecarProxy("a", "default", "10.0.0.1"))
	before := f.tr.State(p)
	apply(t, f.w, route("b"))
	f.catchUp()
	after := f.tr.State(p)
	for _, typ := range types {
		d := after.Set(typ).DiffFrom(before.Set(typ))
		var changed []string
		for _, r := range d.Changed {
			changed = append(changed, r.Name)
		}
		switch {
		case typ == xds.VirtualHostType && slices.Equal(changed, []string{"80/h3.example.com:80"}) && len(d.Removed) == 0:
		case typ != xds.VirtualHostType && len(changed)+len(d.Removed) == 0:
		default:
			t.Errorf("%s: %q changed, %q removed", xds.ShortType(typ), changed, d.Removed)
		}
	}
}
