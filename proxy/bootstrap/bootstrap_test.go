package bootstrap

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"lateen.dev/lateen/proxy/plan"
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
	if b.Node.GetId() != "a" || b.Admin.String() != "127.0.0.1:9901" || b.Discovery != (Discovery{}) {
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
  ads_config:
    api_type: DELTA_GRPC
    grpc_services: [{envoy_grpc: {cluster_name: backend, authority: a, retry_policy: {retry_back_off: {base_interval: 1s}}}, initial_metadata: [{key: K, value: v}]}]
  cds_config: {ads: {}, initial_fetch_timeout: 0s}
  lds_config: {path_config_source: {path: /etc/lds.yaml, watched_directory: {path: /etc}}}
stats_flush_interval: 1s
layered_runtime: {layers: [{name: l, static_layer: {a.b: 1, overload: {x: 1}}}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Discovery{
		ADS:      plan.DiscoveryService{Cluster: "backend", Authority: "a", Delta: true, Metadata: "k: v\n", BackoffMin: time.Second, BackoffMax: 10 * time.Second},
		Clusters: &plan.Source{}, Listeners: &plan.Source{Path: "/etc/lds.yaml", Watched: "/etc"},
	}
	if !reflect.DeepEqual(b.Discovery, want) {
		t.Errorf("%+v", b.Discovery)
	}
	if !slices.Equal(b.Ignored, []string{"layered_runtime: l: a.b", "stats_flush_interval"}) {
		t.Errorf("ignored: %v", b.Ignored)
	}
}

func TestDiscoveryRefused(t *testing.T) {
	const service = "api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: backend}}]"
	for text, want := range map[string]string{
		"dynamic_resources: {ads_config: {api_type: REST}}":                                                                      "api_type: REST is not supported",
		"dynamic_resources: {ads_config: {api_type: GRPC}}":                                                                      "one is needed, here are 0",
		"dynamic_resources: {ads_config: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: x}}]}}":                    `"x" is not among static_resources.clusters`,
		"dynamic_resources: {ads_config: {api_type: GRPC, transport_api_version: V2, grpc_services: []}}":                        "transport_api_version: V2",
		"dynamic_resources: {ads_config: {api_type: GRPC, grpc_services: [{google_grpc: {target_uri: x, stat_prefix: x}}]}}":     "google_grpc is not supported",
		"dynamic_resources: {ads_config: {" + service + "}, cds_resources_locator: x}":                                           "cds_resources_locator",
		"dynamic_resources: {cds_config: {api_config_source: {api_type: AGGREGATED_GRPC, grpc_services: []}}}":                   "one is needed",
		"dynamic_resources: {cds_config: {api_config_source: {" + strings.Replace(service, "GRPC", "AGGREGATED_GRPC", 1) + "}}}": "write ads",
		"layered_runtime: {layers: [{name: r, rtds_layer: {name: x, rtds_config: {ads: {}}}}]}":                                  "r: rtds_layer is not supported",
		"hds_config: {" + service + "}":                                       "hds_config is not supported",
		"default_config_source: {ads: {}}":                                    "default_config_source is not supported",
		"dynamic_resources: {lds_config: {path_config_source: {path: \"\"}}}": "path is empty",
		"dynamic_resources: {lds_config: {api_config_source: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: nope}}]}}}": `"nope" is not among`,
	} {
		if _, err := Parse("x.yaml", []byte(sample+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestResources(t *testing.T) {
	list, version, err := Resources("f", xds.ClusterType, []byte(`version_info: "7"
resources:
- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}
`))
	if err != nil || version != "7" || len(list) != 1 || list[0].Name != "a" {
		t.Errorf("%v %q %v", list, version, err)
	}
	for text, want := range map[string]string{
		"resources: [{}]": "is expected",
		`resources: [{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster}]`:                 "has no name",
		`resources: [{"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment}]`:  "is expected",
		"resources:\n- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster,\n   nome: a}": "f:3: ",
	} {
		if _, _, err := Resources("f", xds.ClusterType, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
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

// TestBothWaysOfReadingYAML reads the sample as it is, and behind a marker line, with which the library reads it.
func TestBothWaysOfReadingYAML(t *testing.T) {
	quick, err := toJSON([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"---\n" + sample, "---\n" + sample + "---\na: b\n", "---\n" + sample + "...\n"} {
		other, err := toJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if want := "\n" + string(quick); string(other) != want {
			t.Errorf("got\n%s\nwant\n%s", other, want)
		}
	}
	if one, err := toJSON([]byte("a: b\n---\nc: d\n")); err != nil || string(one) != `{"a":"b"}` {
		t.Errorf("the first of two documents: %s, %v", one, err)
	}
	if one, err := toJSON([]byte("a: [1, x, 1.5, true, null, '2', 2026-11-23]\n")); err != nil || string(one) != `{"a":[1,"x",1.5,true,null,"2","2026-11-23"]}` {
		t.Errorf("scalars: %s, %v", one, err)
	}
}
