package compile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/telemetry"
)

// oneRoute compiles a configuration of one route, given the fields after its match.
func oneRoute(t *testing.T, text string) (*plan.Route, error) {
	t.Helper()
	rc, _, err := routesOf(t, "name: r\nvirtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, "+text+"}]}]")
	if err != nil {
		return nil, err
	}
	return rc.Hosts.All()[0].Routes[0], nil
}

func order(list []plan.HeaderMutation) string {
	var out []string
	for _, m := range list {
		s := m.Name.String()
		if m.Remove {
			s = "-" + s
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

const levels = `
name: r
%s
request_headers_to_add: [{header: {key: config, value: a}}]
request_headers_to_remove: [x-config]
virtual_hosts:
- name: v
  domains: ["*"]
  request_headers_to_add: [{header: {key: host-level, value: a}}]
  typed_per_filter_config: {envoy.filters.http.fault: {@Fault, max_active_faults: 1}, envoy.filters.http.cors: {@CorsPolicy}}
  routes:
  - match: {prefix: /}
    name: first
    metadata: {filter_metadata: {istio: {config: /apis/x}, lateen: {origin: "a/b.yaml:12", rule: "http[0]"}}}
    request_headers_to_add: [{header: {key: route, value: a}}]
    typed_per_filter_config: {envoy.filters.http.fault: {@Fault, max_active_faults: 2}}
    route:
      weighted_clusters:
        clusters:
        - {name: a, weight: 1, request_headers_to_add: [{header: {key: cluster, value: a}}]}
        - {name: b, weight: 2, typed_per_filter_config: {envoy.filters.http.fault: {@Fault, max_active_faults: 3}}}
`

func TestLevels(t *testing.T) {
	for flag, want := range map[string]string{
		"": "cluster route host-level -x-config config",
		"most_specific_header_mutations_wins: true": "-x-config config host-level route cluster",
	} {
		rc, needs, err := routesOf(t, strings.Replace(levels, "%s", flag, 1))
		if err != nil {
			t.Fatal(err)
		}
		r := rc.Hosts.All()[0].Routes[0]
		if got := order(r.Forward.Clusters[0].Headers.Request); got != want {
			t.Errorf("mutations in the order %s, want %s", got, want)
		}
		if len(needs.Clusters) != 2 || r.Forward.TotalWeight != 3 {
			t.Errorf("clusters %v, weight %d", needs.Clusters, r.Forward.TotalWeight)
		}
		max := func(o plan.FilterOverrides) uint32 {
			return o.Find("envoy.filters.http.fault").Config.(*plan.Fault).MaxActive
		}
		if max(r.FilterOverrides) != 2 || max(r.Forward.Clusters[0].FilterOverrides) != 2 || max(r.Forward.Clusters[1].FilterOverrides) != 3 {
			t.Error("the most specific override did not win")
		}
		if r.FilterOverrides.Find("envoy.filters.http.cors") == nil {
			t.Error("the virtual host's override is gone")
		}
		if r.Origin != (plan.Origin{Config: "/apis/x", File: "a/b.yaml", Line: 12, Rule: "http[0]"}) {
			t.Errorf("origin %+v", r.Origin)
		}
	}
}

func TestForwarding(t *testing.T) {
	r, err := oneRoute(t, `
route: {cluster: c, prefix_rewrite: /new, host_rewrite_literal: h, timeout: 0s, max_grpc_timeout: 0s, priority: HIGH,
  retry_policy: {retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes, nonsense", num_retries: 2, per_try_timeout: 2s,
    retriable_status_codes: [503], host_selection_retry_max_attempts: 5, retry_host_predicate: [{name: p, typed_config: {@PreviousHosts}}]},
  hash_policy: [{cookie: {name: sid, ttl: 60s, path: /}}, {connection_properties: {source_ip: true}, terminal: true}],
  request_mirror_policies: [{cluster: m, runtime_fraction: {default_value: {numerator: 5, denominator: TEN_THOUSAND}}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	a := r.Forward
	if a.Timeout != 0 || !a.UseGRPCTimeout || a.Priority != 1 || !a.Rewrite.HasPrefix || string(a.Rewrite.Host) != "h" {
		t.Errorf("action %+v", a)
	}
	want := plan.RetryConnectFailure | plan.RetryRefusedStream | plan.RetryGRPCUnavailable | plan.RetryGRPCCancelled | plan.RetryRetriableStatusCodes
	if p := a.Retry; p.On != want || p.NumRetries != 2 || !p.AvoidPreviousHosts || p.HostAttempts != 5 || p.PerTryTimeout != 2*time.Second ||
		p.BackoffBase != 25*time.Millisecond || p.BackoffMax != 250*time.Millisecond {
		t.Errorf("retry %+v", p)
	}
	if h := a.Hash; len(h) != 2 || h[0].CookieTTL != time.Minute || !h[0].HasTTL || h[1].Kind != plan.HashSourceIP || !h[1].Terminal {
		t.Errorf("hash %+v", h)
	}
	if m := a.Mirror; len(m) != 1 || m[0].Fraction != (plan.Fraction{Numerator: 5, Denominator: 10000}) {
		t.Errorf("mirror %+v", m)
	}
	if r, err = oneRoute(t, "route: {cluster: c}"); err != nil || r.Forward.Timeout != 15*time.Second || r.Forward.Retry != nil {
		t.Errorf("Envoy's default of 15 s: %+v, %v", r, err)
	}
}

func TestHeaderFormats(t *testing.T) {
	r, err := oneRoute(t, `
response_headers_to_add: [{header: {key: a, value: "100%%"}}, {header: {key: b, value: "to %REQ(:AUTHORITY)%"}, append_action: ADD_IF_ABSENT}, {header: {key: c, value: x}, append: false}],
redirect: {host_redirect: h, response_code: FOUND, regex_rewrite: {pattern: {regex: "^/(a)$"}, substitution: '\1$'}}`)
	if err != nil {
		t.Fatal(err)
	}
	rec := &telemetry.Record{Authority: []byte("reviews")}
	var got []string
	for _, m := range r.Headers.Response {
		got = append(got, fmt.Sprintf("%s %d %s", m.Name.String(), m.Action, m.Value.Append(nil, rec)))
	}
	if s := strings.Join(got, ", "); s != "a 0 100%, b 1 to reviews, c 2 x" {
		t.Errorf("headers %s", s)
	}
	if r.Redirect.Code != 302 || r.Redirect.Regex.ReplaceAllString("/a", r.Redirect.Substitution) != "a$" {
		t.Errorf("redirect %+v", r.Redirect)
	}
}

func TestRefusedRoutes(t *testing.T) {
	for name, tc := range map[string][2]string{
		"no action":          {"name: x", "none of route, redirect and direct_response"},
		"no cluster":         {"route: {}", "none of cluster, cluster_header"},
		"regex":              {"redirect: {regex_rewrite: {pattern: {regex: '('}}}", "regex"},
		"closing our group":  {"redirect: {regex_rewrite: {pattern: {regex: 'a)(b'}}}", "regex"},
		"group":              {"redirect: {regex_rewrite: {pattern: {regex: 'a'}, substitution: '\\1'}}", "refers to group 1, the regex has 0"},
		"two rewrites":       {"route: {cluster: c, prefix_rewrite: /, regex_rewrite: {pattern: {regex: a}}}", "exclude each other"},
		"no weight":          {"route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}", "sum of the weights"},
		"status":             {"direct_response: {status: 1000}", "not between 200 and 599"},
		"body":               {"direct_response: {status: 200, body: {inline_string: '" + strings.Repeat("x", 5000) + "'}}", "5000 bytes, 4096 are allowed"},
		"pseudo header":      {"route: {cluster: c}, request_headers_to_add: [{header: {key: ':path', value: x}}]", "can't be changed"},
		"header name":        {"route: {cluster: c}, request_headers_to_add: [{header: {key: 'a b', value: x}}]", "not a header name"},
		"response splitting": {`route: {cluster: c}, response_headers_to_add: [{header: {key: a, value: "x\r\ny: z"}}]`, "can't have"},
		"operator":           {"route: {cluster: c}, response_headers_to_add: [{header: {key: a, value: '%NOPE%'}}]", "NOPE"},
		"unknown override":   {"route: {cluster: c}, typed_per_filter_config: {lua: {@Lua}}", "not an HTTP filter"},
		"rate limits":        {"route: {cluster: c, rate_limits: [{actions: [{remote_address: {}}]}]}", "rate_limits is not supported"},
		"backoff":            {"route: {cluster: c, retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}}", "max_interval is below"},
		"negative":           {"route: {cluster: c, timeout: -1s}", "negative"},
	} {
		_, err := oneRoute(t, tc[0])
		refused(t, name, err, tc[1])
	}
	_, _, err := routesOf(t, "name: r\nvirtual_hosts: [{name: a, domains: [x]}, {name: b, domains: [x]}]")
	refused(t, "domains", err, `domain "x" is claimed`)
}
