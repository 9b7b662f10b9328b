package translate_test

import (
	"fmt"
	"net/netip"
	"testing"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/xds"
)

// Workloads of one namespace, whose inbound sides are written by the Stencils of the first, have what each alone has.
func TestInboundByStencil(t *testing.T) {
	snap := newWorld(t, bigMesh(260)+`---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: ns-0}
spec: {action: ALLOW, rules: [{from: [{source: {namespaces: [ns-1]}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ports, namespace: ns-0}
spec: {selector: {matchLabels: {app: sidecar}}, portLevelMtls: {9000: {mode: DISABLE}, 9100: {mode: STRICT}}}
`).Snapshot()
	for _, flavor := range []model.Flavor{model.StockEnvoy, model.IstioEnvoy, model.LateenProxy} {
		together := translate.New(snap)
		for i := 0; i < 250; i += 50 {
			p := &model.Proxy{
				ID: fmt.Sprint("p", i), Namespace: "ns-0", Labels: map[string]string{"app": "sidecar"}, Flavor: flavor, Version: "1.40.0",
				IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i), 1})},
			}
			state, alone := together.State(p), translate.New(snap).State(p)
			for _, typeURL := range []string{xds.ListenerType, xds.ClusterType} {
				if d := state.Set(typeURL).DiffFrom(alone.Set(typeURL)); len(d.Changed)+len(d.Removed) > 0 {
					t.Errorf("proxy %d, flavor %v, %s: %d differ, %q are gone", i, flavor, xds.ShortType(typeURL), len(d.Changed), d.Removed)
				}
			}
			if l := state.Set(xds.ListenerType).Get("virtualInbound"); l == nil || alone.Set(xds.ClusterType).Get("inbound|8080||") == nil {
				t.Fatalf("proxy %d serves nothing", i)
			}
		}
	}
}
