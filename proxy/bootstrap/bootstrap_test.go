package bootstrap

import (
	"strings"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"lateen.dev/lateen/xds"
)

const sample = `# a static proxy
node: {id: a, cluster: b}
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}
static_resources:
  listeners:
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: plain
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - {name: backend, type: STATIC, connect_timeout: 5s}
`

func TestParse(t *testing.T) {
	b, err := Parse("x.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if b.Node.GetId() != "a" || b.Admin.String() != "127.0.0.1:9901" || b.ADS != "" {
		t.Errorf("%+v", b)
	}
	if len(b.Static) != 2 || b.Static[0].TypeURL != xds.ClusterType || b.Static[1].Added[0].Name != "plain" {
		t.Errorf("static resources %+v", b.Static)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"stat_prefix: plain", "stat_prefx: plain"}:                                                         "x.yaml:14: ",
		{"connect_timeout: 5s", "connect_timeout: soon"}:                                                    "x.yaml:19: ",
		{"name: backend", "name: backend, name: c"}:                                                         "line 19: ",
		{"port_value: 9901", "port_value: x"}:                                                               "x.yaml:4: ",
		{"node: {", "node: {{"}:                                                                             "yaml: line",
		{"name: backend", "alt_stat_name: backend"}:                                                         "no name",
		{"node: {id: a", "dynamic_resources: {lds_config: {ads: {}}}\nnode: {id: a"}:                        "ads_config is missing",
		{"filters.http.router.v3.Router}", "filters.http.nope.v3.Nope}"}:                                    "x.yaml:17: ",
		{"address: 127.0.0.1, port_value: 9901", "address: localhost, port_value: 9901"}:                    "admin.address",
		{"node: {id: a, cluster: b}", "node: &n {id: a, cluster: b}\nx: {<<: *n}"}:                          "merge",
		{"admin:\n  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}", "admin: [1, .nan]"}: "x.yaml:3: ",
	} {
		text := strings.Replace(sample, change[0], change[1], 1)
		if text == sample {
			t.Fatalf("%q is not in the sample", change[0])
		}
		if _, err := Parse("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", change[1], err, want)
		}
	}
	if _, err := Parse("x", nil); err == nil {
		t.Error("an empty file was accepted")
	}
	if _, err := Load("/does/not/exist"); err == nil {
		t.Error("a missing file was accepted")
	}
}

func TestDiscovery(t *testing.T) {
	b, err := Parse("x.yaml", []byte(sample+`dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]}
  cds_config: {ads: {}}
stats_flush_interval: 1s
`))
	if err != nil {
		t.Fatal(err)
	}
	if b.ADS != "xds-grpc" || !b.Delta || !b.WantClusters || b.WantListeners || len(b.Ignored) != 1 || b.Ignored[0] != "stats_flush_interval" {
		t.Errorf("%+v", b)
	}
}

func TestNamelessListenersAreNamed(t *testing.T) {
	b, err := Parse("x.yaml", []byte(strings.Replace(sample, "name: plain", "stat_prefix: plain", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Static[1].Added[0].Name; got != "listener_0" {
		t.Errorf("listener is called %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"node":{"id":"a"}}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Parse("x", b) // it must return
	})
}
