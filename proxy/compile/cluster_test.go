package compile

import (
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/lb"
)

func TestIstioCluster(t *testing.T) {
	c, needs, err := clusterOf(t, `
name: outbound|9080|v1|reviews.default.svc.cluster.local
alt_stat_name: outbound|9080|v1|reviews;
type: EDS
eds_cluster_config: {eds_config: {ads: {}, initial_fetch_timeout: 0s}, service_name: reviews-v1}
connect_timeout: 10s
lb_policy: LEAST_REQUEST
common_lb_config: {healthy_panic_threshold: {value: 0}, locality_weighted_lb_config: {}}
circuit_breakers: {thresholds: [{max_connections: 4294967295, max_retries: 7, retry_budget: {budget_percent: {value: 30}}}]}
outlier_detection: {consecutive_5xx: 7, interval: 1s, enforcing_consecutive_5xx: 100}
transport_socket_matches:
- name: tlsMode-istio
  match: {tlsMode: istio}
  transport_socket:
    name: tls
    typed_config:
      @UpTLS
      sni: outbound_.9080_.v1_.reviews.default.svc.cluster.local
      common_tls_context:
        alpn_protocols: [istio-peer-exchange, istio]
        tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]
        combined_validation_context:
          default_validation_context: {match_subject_alt_names: [{exact: "spiffe://cluster.local/ns/default/sa/reviews"}]}
          validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}
- {name: tlsMode-disabled, match: {}, transport_socket: {name: raw, typed_config: {@Raw}}}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    @HTTPOptions
    use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {max_concurrent_streams: 5}}
    common_http_protocol_options: {idle_timeout: 7s, max_requests_per_connection: 9}
metadata: {filter_metadata: {istio: {services: [{host: reviews.default.svc.cluster.local, name: reviews, namespace: default}], config: /apis/dr}}}
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Discovery != plan.EDS || c.EDSName != "reviews-v1" || c.Endpoints != nil || c.LB.Kind != lb.LeastRequest || c.LB.PanicPercent != 0 || !c.LB.LocalityWeighted {
		t.Errorf("cluster %+v", c)
	}
	if len(needs.Endpoints) != 1 || needs.Endpoints[0] != (Need{Name: "reviews-v1"}) || len(needs.Secrets) != 2 {
		t.Errorf("needs %+v", needs)
	}
	if c.Limits[0].MaxRetries != 7 || c.Limits[0].MaxRequests != 1024 || c.Limits[0].RetryBudget.Percent != 30 || c.Limits[1].MaxRetries != 3 {
		t.Errorf("limits %+v", c.Limits)
	}
	if c.Outlier == nil || c.Outlier.Consecutive5xx != 7 || c.Outlier.Interval != time.Second || c.Outlier.MaxEjectionPercent != 10 {
		t.Errorf("outlier %+v", c.Outlier)
	}
	if p := c.Protocol; p.Version != plan.SameDownstream || p.IdleTimeout != 7*time.Second || p.HTTP2.MaxConcurrentStreams != 5 || c.MaxRequestsPerConnection != 9 {
		t.Errorf("protocol %+v", p)
	}
	if len(c.Services) != 1 || c.Services[0].Name != "reviews" || c.Origin.Config != "/apis/dr" {
		t.Errorf("metadata %+v %+v", c.Services, c.Origin)
	}
	checkSockets(t, c)
}

// The endpoint's metadata choose between mutual TLS and plain text.
func checkSockets(t *testing.T, c *plan.Cluster) {
	t.Helper()
	e, err := endpointsOf(t, `
cluster_name: reviews-v1
endpoints:
- locality: {region: r}
  load_balancing_weight: 2
  lb_endpoints:
  - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 9080}}}
    metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio}, istio: {workload: "reviews-v1;default;reviews;;c1"}}}
  - {endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 9080}}}, health_status: DRAINING, load_balancing_weight: 5}
- {priority: 2, lb_endpoints: [{endpoint: {address: {pipe: {path: /x}}}}]}
`)
	if err != nil {
		t.Fatal(err)
	}
	mine := ForCluster(c, e)
	a, b := &mine.Priorities[0].Localities[0].Endpoints[0], &mine.Priorities[0].Localities[0].Endpoints[1]
	if tls := c.TLSFor(a); tls == nil || tls.SNI == "" || tls.Validation.SANs[0].Match.Value != "spiffe://cluster.local/ns/default/sa/reviews" {
		t.Errorf("TLS to the mesh %+v", tls)
	}
	if c.TLSFor(b) != nil || b.Health.Usable() || b.Weight != 5 {
		t.Errorf("second endpoint %+v", b)
	}
	if a.Workload != (plan.Workload{Name: "reviews-v1", Namespace: "default", CanonicalName: "reviews", CanonicalRevision: "latest", Cluster: "c1", MTLS: true}) {
		t.Errorf("workload %+v", a.Workload)
	}
	if mine.Len() != 3 || len(mine.Priorities) != 3 || e.Priorities[0].Localities[0].Endpoints[0].TransportSocket != -1 {
		t.Errorf("endpoints %+v", e)
	}
}

func TestClusterVersions(t *testing.T) {
	text := func(port string) string {
		return "name: x\nload_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: " + port + "}}}}]}]}"
	}
	a, _, err := clusterOf(t, text("80"))
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := clusterOf(t, text("81"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Version != b.Version || a.Endpoints.Version == b.Endpoints.Version {
		t.Error("endpoints must have a version of their own")
	}
	if a.ConnectTimeout != 5*time.Second || a.Protocol.Version != plan.HTTP1 || a.LB.Kind != lb.RoundRobin || a.LB.PanicPercent != 50 {
		t.Errorf("defaults %+v", a)
	}
}

func TestClusterKinds(t *testing.T) {
	const one = "load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: example.com, port_value: 80}}}}]}]}"
	for text, check := range map[string]func(*plan.Cluster) bool{
		"{name: x, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {use_http_header: true, upstream_port_override: 9}}": func(c *plan.Cluster) bool {
			return c.Discovery == plan.OriginalDestination && c.OriginalDst.Port == 9 && c.OriginalDst.Header.String() == "x-envoy-original-dst-host"
		},
		"{name: x, type: STRICT_DNS, respect_dns_ttl: true, dns_lookup_family: V4_ONLY, " + one + "}": func(c *plan.Cluster) bool {
			return c.Discovery == plan.StrictDNS && c.DNS.RespectTTL && c.DNS.Family == plan.V4Only && c.Endpoints.Priorities[0].Localities[0].Endpoints[0].Address.Host == "example.com"
		},
		"{name: x, type: EDS}": func(c *plan.Cluster) bool { return c.EDSName == "x" },
		"{name: x, type: EDS, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 10}}": func(c *plan.Cluster) bool {
			return c.LB.Kind == lb.RingHash && c.LB.MinRingSize == 10
		},
		"{name: x, type: EDS, load_balancing_policy: {policies: [{typed_extension_config: {name: m, typed_config: {@Maglev, table_size: 7}}}]}}": func(c *plan.Cluster) bool {
			return c.LB.Kind == lb.Maglev && c.LB.TableSize == 7
		},
		"{name: x, type: EDS, http2_protocol_options: {}}": func(c *plan.Cluster) bool { return c.Protocol.Version == plan.HTTP2 },
		`{name: x, type: EDS, load_balancing_policy: {policies: [{typed_extension_config: {name: l, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest, slow_start_config: {slow_start_window: 60s}}}}]}}`: func(c *plan.Cluster) bool {
			return c.LB.Kind == lb.LeastRequest && *c.SlowStart == (plan.SlowStart{Window: time.Minute, Aggression: 1, MinWeightPercent: 10})
		},
		"{name: x, type: EDS, health_checks: [{timeout: 1s, interval: 2s, unhealthy_threshold: 3, healthy_threshold: 1, http_health_check: {path: /h}}]}": func(c *plan.Cluster) bool {
			return c.HealthChecks[0].Path == "/h" && c.HealthChecks[0].Method == "GET"
		},
	} {
		c, _, err := clusterOf(t, text)
		if err != nil || !check(c) {
			t.Errorf("%s: %v, %+v", text, err, c)
		}
	}
}

func TestRefusedClusters(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                          "name is empty",
		"{name: x, type: STRICT_DNS}": "needs one",
		"{name: x, type: EDS, load_assignment: {cluster_name: x}}":                                           "can't have one",
		"{name: x, type: EDS, lrs_server: {self: {}}}":                                                       "lrs_server is not supported",
		"{name: x, type: EDS, lb_policy: CLUSTER_PROVIDED}":                                                  "CLUSTER_PROVIDED belongs to",
		"{name: x, cluster_type: {name: y}}":                                                                 "cluster_type is not supported",
		"{name: x, type: EDS, common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150}}}": "hash_balance_factor",
		"{name: x, type: EDS, health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}, {timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]}": "here are 2",
		"{name: x, type: EDS, eds_cluster_config: {eds_config: {path_config_source: {}}}}":                                                                               "path is empty",
		"{name: x, type: EDS, eds_cluster_config: {eds_config: {api_config_source: {api_type: REST, cluster_names: [a]}}}}":                                              "cluster_names is not supported",
		"{name: x, type: EDS, eds_cluster_config: {eds_config: {api_config_source: {api_type: REST}}}}":                                                                  "api_type: REST is not supported",
		"{name: x, type: EDS, eds_cluster_config: {eds_config: {api_config_source: {api_type: GRPC, grpc_services: [{google_grpc: {target_uri: x, stat_prefix: y}}]}}}}": "google_grpc is not supported",
		"{name: x, type: EDS, connect_timeout: -1s}":                                                                                                                     "connect_timeout",
		"{name: x, type: EDS, transport_socket: {name: t, typed_config: {@DownTLS}}}":                                                                                    "not a transport socket that this proxy has for clusters",
		"{name: x, type: EDS, load_balancing_policy: {policies: [{typed_extension_config: {name: m, typed_config: {@Maglev, table_size: 8}}}]}}":                         "not a prime",
		"{name: x, type: LOGICAL_DNS, load_assignment: {cluster_name: x}}":                                                                                               "exactly one endpoint",
		"{name: x, load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: h, port_value: 1}}}}]}]}}":             "not an IP address",
		"{name: x, type: EDS, ring_hash_lb_config: {minimum_ring_size: 99999999}, lb_policy: RING_HASH}":                                                                 "ring",
	} {
		_, _, err := clusterOf(t, text)
		refused(t, text, err, want)
	}
}

// What the engine doesn't do, and what would be missed without a word, is refused.
func TestSilentLossIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"{name: x, type: EDS, lb_subset_config: {subset_selectors: [{keys: [v]}]}}":                                                        "lb_subset_config",
		"{name: x, type: EDS, common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}, http_protocol_options: {}}": "headers_with_underscores_action",
		"{name: x, type: EDS, http_protocol_options: {header_key_format: {proper_case_words: {}}}}":                                        "proper_case_words",
	} {
		_, _, err := clusterOf(t, text)
		refused(t, text, err, want)
	}
	_, _, err := routesOf(t, "{name: r, internal_only_headers: [x-internal]}")
	refused(t, "internal_only_headers", err, "internal_only_headers")
	_, err = secretOf(t, "{name: x, validation_context: {crl: {inline_string: x}}}")
	refused(t, "crl", err, "crl is not supported")
	_, err = oneRoute(t, "route: {cluster: c}, typed_per_filter_config: {f: {@Fault, response_rate_limit: {fixed_limit: {limit_kbps: 1}}}}")
	refused(t, "rate limit", err, "response_rate_limit")
}

// TestNamesOfServersAreVerified: auto_san_validation of the HTTP options has an effect wherever certificates are verified.
func TestNamesOfServersAreVerified(t *testing.T) {
	for validation, want := range map[string]bool{
		"validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}": true,
		"alpn_protocols: [h2]": false,
	} {
		c, _, err := clusterOf(t, `
name: secure
type: EDS
eds_cluster_config: {eds_config: {ads: {}}}
transport_socket:
  name: tls
  typed_config:
    @UpTLS
    common_tls_context: {`+validation+`}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    @HTTPOptions
    explicit_http_config: {http_protocol_options: {}}
    upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}
`)
		if err != nil {
			t.Fatal(err)
		}
		if c.TLS.AutoSANValidation != want {
			t.Errorf("%s: the server's name is verified: %v", validation, c.TLS.AutoSANValidation)
		}
	}
}
