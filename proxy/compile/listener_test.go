package compile

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
)

const sidecarListener = `
name: virtualInbound
address: {socket_address: {address: 0.0.0.0, port_value: 15006}}
traffic_direction: INBOUND
listener_filters:
- {name: o, typed_config: {@OriginalDst}}
- {name: t, typed_config: {@TLSInspector}, filter_disabled: {destination_port_range: {start: 3306, end: 3307}}}
- name: h
  typed_config: {@HTTPInspector}
  filter_disabled: {or_match: {rules: [{destination_port_range: {start: 25, end: 26}}, {not_match: {destination_port_range: {start: 1, end: 60000}}}]}}
listener_filters_timeout: 0s
continue_on_listener_filters_timeout: true
filter_chains:
- name: mtls
  filter_chain_match: {destination_port: 9080, transport_protocol: tls, application_protocols: [istio, istio-http/1.1]}
  transport_socket:
    name: tls
    typed_config:
      @DownTLS
      require_client_certificate: true
      common_tls_context:
        alpn_protocols: [h2, http/1.1]
        tls_params: {tls_minimum_protocol_version: TLSv1_3, ecdh_curves: [X25519MLKEM768, X25519, P-256]}
        tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}, initial_fetch_timeout: 0s}}]
        combined_validation_context:
          default_validation_context: {match_subject_alt_names: [{prefix: "spiffe://cluster.local/"}]}
          validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}
  filters:
  - name: istio.metadata_exchange
    typed_config: {@Struct, type_url: type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange, value: {protocol: istio-peer-exchange, enable_discovery: true}}
  - name: hcm
    typed_config:
      @HCM
      stat_prefix: inbound_0.0.0.0_9080;
      rds: {route_config_name: "9080", config_source: {ads: {}, initial_fetch_timeout: 5s}}
      forward_client_cert_details: APPEND_FORWARD
      set_current_client_cert_details: {subject: true, uri: true, dns: true}
      upgrade_configs: [{upgrade_type: websocket}]
      stream_idle_timeout: 0s
      http_filters:
      - {name: istio.metadata_exchange, typed_config: {@Struct, type_url: type.googleapis.com/io.istio.http.peer_metadata.Config, value: {downstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}], downstream_propagation: [{istio_headers: {}}]}}}
      - {name: envoy.filters.http.rbac, typed_config: {@RBAC, rules: {action: DENY, policies: {p: {permissions: [{url_path: {path: {prefix: /admin}}}], principals: [{not_id: {authenticated: {principal_name: {exact: "spiffe://cluster.local/ns/a/sa/b"}}}}]}}}}}
      - {name: envoy.filters.http.fault, typed_config: {@Fault}}
      - {name: optional, is_optional: true, typed_config: {@Lua}}
      - {name: istio.stats, typed_config: {@Struct, type_url: type.googleapis.com/stats.PluginConfig, value: {disable_host_header_fallback: true, tcp_reporting_duration: 2s}}}
      - {name: envoy.filters.http.router, typed_config: {@Router}}
      access_log:
      - {name: f, typed_config: {@FileLog, path: /dev/stdout, log_format: {json_format: {code: "%RESPONSE_CODE%"}}}, filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 400}}}}}
- name: raw
  filter_chain_match: {prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}
  filters:
  - {name: tcp, typed_config: {@TCP, stat_prefix: x, weighted_clusters: {clusters: [{name: a, weight: 90}, {name: b, weight: 10}]}, idle_timeout: 0s}}
default_filter_chain:
  filters:
  - {name: tcp, typed_config: {@TCP, stat_prefix: x, cluster: InboundPassthroughCluster}}
`

func TestSidecarListener(t *testing.T) {
	l, needs, err := listenerOf(t, sidecarListener)
	if err != nil {
		t.Fatal(err)
	}
	if l.Direction != plan.Inbound || !l.BindToPort || l.FilterTimeout != 0 || !l.ContinueOnTimeout || l.Addresses[0].String() != "0.0.0.0:15006" {
		t.Errorf("listener %+v", l)
	}
	if f := l.ListenerFilters; len(f) != 3 || f[1].Kind != plan.TLSInspector || !f[1].Disabled.Has(3306) || f[1].Disabled.Has(3307) ||
		!f[2].Disabled.Has(25) || !f[2].Disabled.Has(60001) || f[2].Disabled.Has(80) {
		t.Errorf("listener filters %+v", f)
	}
	mtls := l.Chains.Find(&plan.ConnFacts{Destination: netip.MustParseAddrPort("10.1.1.1:9080"), Transport: "tls", ALPN: []string{"istio-http/1.1"}})
	if mtls == nil || mtls.Name != "mtls" {
		t.Fatalf("chain %+v", mtls)
	}
	if tls := mtls.TLS; !tls.RequireClientCertificate || tls.MinVersion != 0x304 || len(tls.Curves) != 3 || tls.Certificates[0].SDSName != "default" ||
		tls.Validation.SDSName != "ROOTCA" || len(tls.Validation.SANs) != 1 || tls.Validation.SDS.IsZero() {
		t.Errorf("TLS %+v", tls)
	}
	wantNeeds(t, needs)
	checkManager(t, mtls.Terminal().(*plan.HTTPConnectionManager))
	raw := l.Chains.Find(&plan.ConnFacts{Destination: netip.MustParseAddrPort("10.1.1.1:1"), Transport: "raw_buffer"})
	if raw.Name != "raw" || len(raw.Terminal().(*plan.TCPProxy).Clusters) != 2 {
		t.Errorf("chain %+v", raw)
	}
}

func wantNeeds(t *testing.T, needs Needs) {
	t.Helper()
	if len(needs.Secrets) != 2 || needs.Secrets[0] != (Need{Name: "default"}) || needs.Secrets[1] != (Need{Name: "ROOTCA", Timeout: 15 * time.Second}) {
		t.Errorf("secrets %+v", needs.Secrets)
	}
	if len(needs.RouteConfigs) != 1 || needs.RouteConfigs[0] != (Need{Name: "9080", Timeout: 5 * time.Second}) {
		t.Errorf("routes %+v", needs.RouteConfigs)
	}
	if got := strings.Join(needs.Clusters, ","); got != "a,b,InboundPassthroughCluster" {
		t.Errorf("clusters %s", got)
	}
}

func checkManager(t *testing.T, m *plan.HTTPConnectionManager) {
	t.Helper()
	if m.RDSName != "9080" || m.Inline != nil || m.Identity.XFCC != plan.XFCCAppendForward || !m.Identity.SetCurrent.URI ||
		!m.Identity.GenerateRequestID || m.Timeouts.StreamIdle != 0 || m.Timeouts.Idle != time.Hour || m.Limits.MaxHeadBytes != 60<<10 {
		t.Errorf("manager %+v", m)
	}
	if len(m.Upgrades) != 1 || m.Upgrades[0].Type != "websocket" || !m.Upgrades[0].Enabled {
		t.Errorf("upgrades %+v", m.Upgrades)
	}
	var kinds []string
	for _, f := range m.Filters {
		kinds = append(kinds, f.Name)
	}
	if got := strings.Join(kinds, ","); got != "istio.metadata_exchange,envoy.filters.http.rbac,envoy.filters.http.fault,istio.stats,envoy.filters.http.router" {
		t.Errorf("filters %s", got)
	}
	rbac := m.Filters[1].Config.(*plan.RBAC)
	if rbac.Rules.Action != plan.RBACDeny || rbac.Rules.Policies[0].Principals[0].Kind != plan.RBACNot {
		t.Errorf("rbac %+v", rbac.Rules)
	}
	stats := m.Filters[3].Config.(*plan.Stats)
	if !stats.DisableHostHeaderFallback || stats.TCPReportingDuration != 2*time.Second {
		t.Errorf("stats %+v", stats)
	}
	if a := m.AccessLogs[0]; a.Path != "/dev/stdout" || a.Formatter == nil || a.Filter.Op != plan.CompareGreaterOrEqual || a.Filter.Value != 400 {
		t.Errorf("access log %+v", a)
	}
}

func TestRefusedListeners(t *testing.T) {
	const head = "name: x\naddress: {socket_address: {address: 0.0.0.0, port_value: 80}}\n"
	const tcp = "{name: tcp, typed_config: {@TCP, stat_prefix: x, cluster: c}}"
	hcm := func(more, filters string) string {
		return head + "filter_chains: [{filters: [{name: h, typed_config: {@HCM, stat_prefix: x, " + more + "http_filters: [" + filters + "]}}]}]"
	}
	const routes = "route_config: {name: r}, "
	const router = "{name: router, typed_config: {@Router}}"
	for name, tc := range map[string][2]string{
		"no name":             {"address: {socket_address: {address: 0.0.0.0, port_value: 80}}", "name is empty"},
		"no address":          {"name: x", "address is missing"},
		"no chain":            {head, "filter_chains: there is none"},
		"not an IP":           {"name: x\naddress: {socket_address: {address: localhost, port_value: 80}}", "not an IP address"},
		"udp":                 {head + "udp_listener_config: {}", "udp_listener_config is not supported"},
		"port":                {"name: x\naddress: {socket_address: {address: 1.1.1.1, port_value: 80000}}", "above 65535"},
		"not terminal":        {head + "filter_chains: [{filters: [{name: r, typed_config: {@NetRBAC, stat_prefix: x}}]}]", "doesn't end a chain"},
		"terminal first":      {head + "filter_chains: [{filters: [" + tcp + ", " + tcp + "]}]", "terminal but not the last"},
		"same chains":         {head + "filter_chains: [{name: a, filters: [" + tcp + "]}, {name: b, filters: [" + tcp + "]}]", "same matching rules"},
		"unknown filter":      {hcm(routes, "{name: lua, typed_config: {@Lua}}, "+router), "envoy.extensions.filters.http.lua.v3.Lua is not an HTTP filter"},
		"no router":           {hcm(routes, "{name: cors, typed_config: {@Cors}}"), "the last must be the router"},
		"router first":        {hcm(routes, router+", "+router), "the router must be the last"},
		"no routes":           {hcm("", router), "neither route_config nor rds"},
		"unsupported field":   {hcm(routes+"typed_header_validation_config: {name: x}, ", router), "typed_header_validation_config is not supported"},
		"no weights":          {head + "filter_chains: [{filters: [{name: t, typed_config: {@TCP, stat_prefix: x, weighted_clusters: {clusters: [{name: a}]}}}]}]", "sum of the weights"},
		"bad format":          {hcm(routes+"access_log: [{typed_config: {@FileLog, path: /x, log_format: {text_format_source: {inline_string: '%NOPE%'}}}}], ", router), "%NOPE%"},
		"certificate missing": {head + "filter_chains: [{filters: [" + tcp + "], transport_socket: {name: t, typed_config: {@DownTLS}}}]", "a server needs a certificate"},
		"nobody to trust": {head + "filter_chains: [{filters: [" + tcp + "], transport_socket: {name: t, typed_config: {@DownTLS, require_client_certificate: true, common_tls_context: {tls_certificate_sds_secret_configs: [{name: d}]}}}}]",
			"would accept every certificate"},
	} {
		_, _, err := listenerOf(t, tc[0])
		refused(t, name, err, tc[1])
	}
}
