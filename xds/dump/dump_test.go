package dump

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

func state(t *testing.T) *xds.State {
	t.Helper()
	set := func(name string, m proto.Message) *xds.Set {
		r, err := xds.NewResource(name, m)
		if err != nil {
			t.Fatal(err)
		}
		return xds.NewSet(r.TypeURL, []*xds.Resource{r})
	}
	key := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "PRIVATE"}}
	return xds.NewState(1, time.Time{},
		set("c", &clusterv3.Cluster{Name: "c"}), set("e", &endpointv3.ClusterLoadAssignment{ClusterName: "e"}),
		set("l", &listenerv3.Listener{Name: "l"}), set("r", &routev3.RouteConfiguration{Name: "r"}),
		set("s", &tlsv3.Secret{Name: "s", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{PrivateKey: key}}}))
}

// The dump has Envoy's parts in Envoy's order, and no private key.
func TestConfigJSON(t *testing.T) {
	for _, endpoints := range []bool{false, true} {
		text, err := ConfigJSON(state(t), endpoints)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Configs []map[string]json.RawMessage `json:"configs"`
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, c := range got.Configs {
			parts = append(parts, strings.Trim(strings.TrimPrefix(string(c["@type"]), `"type.googleapis.com/envoy.admin.v3.`), `"`))
		}
		want := "BootstrapConfigDump ClustersConfigDump ListenersConfigDump ScopedRoutesConfigDump RoutesConfigDump SecretsConfigDump"
		if endpoints {
			want = strings.Replace(want, "ListenersConfigDump", "EndpointsConfigDump ListenersConfigDump", 1)
		}
		if got := strings.Join(parts, " "); got != want {
			t.Errorf("parts %s, want %s", got, want)
		}
		for _, wanted := range []string{`"dynamic_active_clusters"`, `"dynamic_listeners"`, `"dynamic_route_configs"`, `"dynamic_active_secrets"`, "[redacted]"} {
			if !strings.Contains(string(text), wanted) {
				t.Errorf("no %s in %s", wanted, text)
			}
		}
		if strings.Contains(string(text), "PRIVATE") {
			t.Error("the private key came out")
		}
	}
}

func TestSetJSON(t *testing.T) {
	s := state(t)
	if got, err := SetJSON(s.Set(xds.EndpointType)); err != nil || string(got) != `[{"cluster_name":"e"}]` {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := SetJSON(nil); err != nil || string(got) != `[]` {
		t.Errorf("the empty set is %s, %v", got, err)
	}
	if _, err := SetJSON(s.Set(xds.SecretType)); err == nil {
		t.Error("secrets were shown")
	}
}

func TestSync(t *testing.T) {
	at := time.Unix(1, 0)
	c := &server.ClientStatus{Client: server.Client{Node: &xds.Node{ID: "n", Metadata: xds.Metadata{Namespace: "default", ClusterID: "c"}}}, Types: []server.TypeStatus{
		{TypeURL: xds.ClusterType, Sent: true, WantedRevision: 2, AckedRevision: 2, Acked: "v", Since: at},
		{TypeURL: xds.RouteType, Sent: true, WantedRevision: 2, AckedRevision: 1, Since: at},
		{TypeURL: xds.ListenerType, Sent: true, WantedRevision: 2, AckedRevision: 2, Since: at,
			Refused: []server.Refused{{Name: "l", Version: "x"}}, LastNack: &server.Nack{Reason: "no", Time: at}},
	}}
	got := map[string]string{}
	for _, x := range Sync(c).GetGenericXdsConfigs() {
		got[xds.ShortType(x.GetTypeUrl())] = x.GetConfigStatus().String() + x.GetErrorState().GetDetails()
	}
	for name, want := range map[string]string{"CDS": "SYNCED", "RDS": "STALE", "LDS": "ERRORno", "EDS": "NOT_SENT", "ECDS": "NOT_SENT"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}
