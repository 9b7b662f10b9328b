package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/xds"
)

// deltaClient speaks delta discovery as a proxy does.
type deltaClient struct {
	t *testing.T
	s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (c *deltaClient) ask(r *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	if err := c.s.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

// next is the next response, which is acknowledged, or refused with a reason.
func (c *deltaClient) next(refusal string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r, err := c.s.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if refusal != "" {
		answer.ErrorDetail = &status.Status{Code: 13, Message: refusal}
	}
	c.ask(answer)
	return r
}

// filtersByName lists the filters of a listener whose configurations come by themselves.
func filtersByName(t *testing.T, l *listenerv3.Listener) (names []string) {
	t.Helper()
	add := func(name string, source *corev3.ExtensionConfigSource) {
		if source != nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, fc := range l.GetFilterChains() {
		for _, f := range fc.GetFilters() {
			add(f.GetName(), f.GetConfigDiscovery())
			h := &hcmv3.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(h) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(h); err != nil {
				t.Fatal(err)
			}
			for _, hf := range h.GetHttpFilters() {
				add(hf.GetName(), hf.GetConfigDiscovery())
			}
		}
	}
	return names
}

// A changed AuthorizationPolicy is sent as the configurations of its filters, of either kind of proxy: a few hundred bytes
// instead of the inbound listener. The ledger counts them like everything else, refusals too.
func TestPolicyChangeSendsItsFilters(t *testing.T) {
	for name, own := range map[string]bool{"envoy": false, "lateen": true} {
		t.Run(name, func(t *testing.T) {
			d := startDebuggedWith(t, debugMesh+otherRoutes)
			node := nodeOf("reviews-v1.default", "default", "reviews")
			node.Metadata.Fields["LABELS"] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"app": structpb.NewStringValue("reviews")}})
			node.UserAgentName, node.UserAgentVersionType = "envoy", &corev3.Node_UserAgentVersion{UserAgentVersion: "1.40.0"}
			if own {
				node.Metadata.Fields["LATEEN_VERSION"], node.Metadata.Fields["LATEEN_ECDS"] = structpb.NewStringValue("test"), structpb.NewStringValue("true")
			}
			s, err := d.client(t).DeltaAggregatedResources(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c := &deltaClient{t: t, s: s}
			c.ask(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: xds.ListenerType})
			listeners := c.next("")
			size, names := 0, []string(nil)
			for _, r := range listeners.GetResources() {
				if r.GetName() == "virtualInbound" {
					l := &listenerv3.Listener{}
					if err := r.GetResource().UnmarshalTo(l); err != nil {
						t.Fatal(err)
					}
					size, names = proto.Size(l), filtersByName(t, l)
				}
			}
			slices.Sort(names)
			if !slices.Equal(names, []string{"rbac|http|allow|allow", "rbac|tcp|allow|allow"}) {
				t.Fatalf("virtualInbound has filters by name %q", names)
			}
			c.ask(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: xds.ExtensionConfigType, ResourceNamesSubscribe: names})
			if r := c.next(""); r.GetTypeUrl() != xds.ExtensionConfigType || len(r.GetResources()) != 2 {
				t.Fatalf("asked for filters: %v", r)
			}

			d.policy(t, "rules: [{to: [{operation: {methods: [GET]}}]}]")
			r := c.next("")
			if r.GetTypeUrl() != xds.ExtensionConfigType || len(r.GetRemovedResources()) != 0 || proto.Size(r)*4 > size {
				t.Errorf("the change is %d bytes of %s, of which %d resources; the listener is %d bytes", proto.Size(r), xds.ShortType(r.GetTypeUrl()), len(r.GetResources()), size)
			}
			t.Logf("a changed policy is %d bytes, the listener %d", proto.Size(r), size)
			// Had more been sent, it would be there before the answer to what is asked now.
			d.policy(t, "rules: [{to: [{operation: {methods: [PUT]}}]}]")
			if r = c.next("rbac|http|allow|allow: too strange"); r.GetTypeUrl() != xds.ExtensionConfigType {
				t.Errorf("after the change came %s", xds.ShortType(r.GetTypeUrl()))
			}
			until(t, "the refusal is known", func() bool {
				var got []distributed
				d.get(t, "config_distribution?resource=AuthorizationPolicy/default/mine", &got)
				return len(got) == 1 && len(got[0].Refused) > 0 && got[0].Refused[0] == "ECDS rbac|http|allow|allow" && strings.Contains(got[0].Reason, "too strange")
			})
			_, dump := d.get(t, "config_dump?proxyID=reviews-v1.default", nil)
			if !strings.Contains(dump, "EcdsConfigDump") || !strings.Contains(dump, "policy[mine]") {
				t.Errorf("config_dump lacks the filters: %.300s", dump)
			}
		})
	}
}

// policy changes the policy "mine" in the configuration's directory.
func (d *debugged) policy(t *testing.T, rules string) {
	t.Helper()
	text := "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: mine, namespace: default}\nspec: {selector: {matchLabels: {app: reviews}}, " + rules + "}\n"
	path := filepath.Join(d.o.Dir, "config", "mesh.yaml")
	if err := os.WriteFile(path, []byte(debugMesh+otherRoutes[:strings.LastIndex(otherRoutes, "apiVersion")]+text), 0o644); err != nil {
		t.Fatal(err)
	}
}
