package translate_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

const guarded = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, clusterIP: 10.1.0.1, ports: [{name: http, port: 9080}, {name: tcp, port: 9081}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1}
spec: {address: 10.0.0.11, labels: {app: reviews}, serviceAccount: reviews}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {selector: {app: reviews}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}, {port: {number: 81, name: tcp, protocol: TCP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gw}
spec: {hosts: ["*"], gateways: [gw], http: [{route: [{destination: {host: reviews}}]}], tcp: [{match: [{port: 81}], route: [{destination: {host: reviews, port: {number: 9081}}}]}]}
`

func policyYAML(name, action, path string) string {
	return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s}\nspec: {action: %s, rules: [{to: [{operation: {paths: [%s]}}]}]}\n", name, action, path)
}

// guardedProxies are a stock Envoy, a proxy of our own, and a gateway of either kind.
func guardedProxies() []*model.Proxy {
	var out []*model.Proxy
	for _, p := range []*model.Proxy{
		sidecarProxy("reviews", "default", "10.0.0.11"), {ID: "gw", Type: model.GatewayProxy, Namespace: "default"},
	} {
		p.Labels = map[string]string{"app": "reviews"}
		envoy, own := *p, *p
		envoy.Flavor, envoy.Version = model.StockEnvoy, "1.40.0"
		own.Flavor, own.Metadata = model.LateenProxy, map[string]string{"LATEEN_ECDS": "true"}
		out = append(out, &envoy, &own)
	}
	return out
}

// A change of what policies say is one resource for each of their filters, and nothing else. A change of which filters there
// are gives them new names, so that those of the listeners before stay as they are.
func TestPolicyChangeIsFilterConfigurations(t *testing.T) {
	f := newFollow(newWorld(t, guarded+"---\n"+policyYAML("allow", "ALLOW", "/a")))
	tr := f.tr
	names := func(s *xds.State) string {
		var out []string
		for r := range s.Set(xds.ExtensionConfigType).All() {
			out = append(out, r.Name)
		}
		return strings.Join(out, " ")
	}
	for _, p := range guardedProxies() {
		before := tr.State(p)
		if got := names(before); got != "rbac|http|allow|allow rbac|tcp|allow|allow" {
			t.Errorf("%s: filters %s", p.ID, got)
		}
		f.policy(t, policyYAML("allow", "ALLOW", "/b"))
		after := tr.State(p)
		for _, url := range []string{xds.ListenerType, xds.ClusterType, xds.RouteType, xds.EndpointType} {
			if d := after.Set(url).DiffFrom(before.Set(url)); len(d.Changed)+len(d.Removed) > 0 {
				t.Errorf("%s: a policy's change changes %d of %s", p.ID, len(d.Changed), xds.ShortType(url))
			}
		}
		d := after.Set(xds.ExtensionConfigType).DiffFrom(before.Set(xds.ExtensionConfigType))
		if len(d.Changed) != 1 || d.Changed[0].Name != "rbac|http|allow|allow" || !bytes.Contains(d.Changed[0].Body().GetValue(), []byte("/b")) {
			t.Errorf("%s: changed filters %v", p.ID, d.Changed)
		}
		f.policy(t, policyYAML("deny", "DENY", "/c"))
		if got := names(tr.State(p)); got != "rbac|http|allow|deny+allow rbac|http|deny|deny+allow rbac|tcp|allow|deny+allow rbac|tcp|deny|deny+allow" {
			t.Errorf("%s: filters %s", p.ID, got)
		}
		f.policy(t, policyYAML("allow", "ALLOW", "/a"), config.Key{Kind: config.AuthorizationPolicy, Namespace: "default", Name: "deny"})
	}
}

// What comes apart is, put together, what the proxy would get inside its listeners.
func TestFilterConfigurationsApart(t *testing.T) {
	w := newWorld(t, guarded+"---\n"+policyYAML("allow", "ALLOW", "/a")+"---\n"+policyYAML("deny", "DENY", "/b")+"---\n"+policyYAML("audit", "AUDIT", "/c"))
	tr := translate.New(w.Snapshot())
	for _, p := range guardedProxies() {
		inside := *p
		inside.Metadata = map[string]string{"LATEEN_ECDS": "false"}
		apart, whole := tr.State(p), tr.State(&inside)
		if n := whole.Set(xds.ExtensionConfigType).Len(); n != 0 {
			t.Errorf("%s takes %d filters by themselves, against its will", p.ID, n)
		}
		for r := range whole.Set(xds.ListenerType).All() {
			want := withoutFilterNames(t, whole, r)
			got := withoutFilterNames(t, apart, apart.Set(xds.ListenerType).Get(r.Name))
			if !proto.Equal(got, want) {
				t.Errorf("%s: listener %s is\n%v\nwant\n%v", p.ID, r.Name, got, want)
			}
		}
	}
}

// withoutFilterNames is a listener with all that it names inside, and filters without names.
func withoutFilterNames(t *testing.T, state *xds.State, r *xds.Resource) *listenerv3.Listener {
	t.Helper()
	l := message(t, r).(*listenerv3.Listener)
	for _, fc := range slices.Concat(l.GetFilterChains(), []*listenerv3.FilterChain{l.GetDefaultFilterChain()}) {
		inline(t, state, fc)
		for _, f := range fc.GetFilters() {
			f.Name = ""
			h := &hcmv3.HttpConnectionManager{}
			if f.GetTypedConfig().UnmarshalTo(h) != nil {
				continue
			}
			for _, hf := range h.GetHttpFilters() {
				hf.Name = ""
			}
			packed := &anypb.Any{}
			if err := anypb.MarshalFrom(packed, h, proto.MarshalOptions{Deterministic: true}); err != nil {
				t.Fatal(err)
			}
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
		}
	}
	return l
}

// policy applies YAML, and deletes keys, and tells the translator.
func (f *follow) policy(t *testing.T, text string, gone ...config.Key) {
	t.Helper()
	var b world.Batch
	for _, o := range objects(t, text) {
		b.Changes = append(b.Changes, world.ObjectChange{Key: o.Key, Object: o})
	}
	for _, k := range gone {
		b.Changes = append(b.Changes, world.ObjectChange{Key: k})
	}
	f.w.Apply(b)
	f.catchUp()
}
