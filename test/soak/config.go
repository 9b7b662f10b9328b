package main

import (
	"bytes"
	"fmt"
	"text/template"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/xds"
)

// layout is where everything listens. There are two proxies with the same layout: the client's side, and the server's
// side behind it.
type layout struct {
	Server        bool  // this is the server's side
	HTTP, TCP     int   // the client's side, to the servers
	HopHTTP, Hop2 int   // the client's side, to the server's side, and there over HTTP/1.1 and over HTTP/2
	HopTCP        int   // the client's side, to the server's side
	MTLS, TCPTLS  int   // the server's side
	Good          []int // servers that don't fail
	GoodTCP       int
	Faulty        int // a server that fails in every way
	Nobody        int // a port at which there is nobody
	Generation    int // of the listeners and clusters
}

var resources = template.Must(template.New("resources").Parse(`
{{- define "why" -}}
{name: envoy.access_loggers.file, filter: {response_flag_filter: {flags: [UF]}}, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/stderr, log_format: {text_format_source: {inline_string: "%START_TIME% no connection to %UPSTREAM_CLUSTER%: %UPSTREAM_TRANSPORT_FAILURE_REASON% %RESPONSE_CODE_DETAILS% after %DURATION% ms\n"}}}}
{{- end}}
{{- define "http"}}
  - name: {{.Name}}
    address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {{.Name}}
{{- if .Hop}}
          access_log: [{{template "why"}}]
{{- end}}
          request_headers_timeout: 2s
          stream_idle_timeout: {{.Idle}}s
          rds: {route_config_name: {{.Routes}}, config_source: {ads: {}, resource_api_version: V3}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
{{- if .TLS}}{{template "served-tls" "[h2, http/1.1]"}}{{end}}
{{- end}}
{{- define "tcp"}}
  - name: {{.Name}}
    address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: {{.Name}}, cluster: {{.Cluster}}{{if .Hop}}, access_log: [{{template "why"}}]{{end}}}
{{- if .TLS}}{{template "served-tls" "[]"}}{{end}}
{{- end}}
{{- define "served-tls"}}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: {{.}}
            tls_certificate_sds_secret_configs: [{name: certificate, sds_config: {ads: {}, resource_api_version: V3}}]
            validation_context_sds_secret_config: {name: roots, sds_config: {ads: {}, resource_api_version: V3}}
{{- end}}
{{- define "hop"}}
  - name: {{.Name}}
    type: STATIC
    connect_timeout: {{.Idle}}s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: {{.Name}}
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}}}]}]
{{- if .Protocol}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {idle_timeout: 1s, max_requests_per_connection: 25}
        explicit_http_config: { {{- .Protocol}}: {}}
{{- end}}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: {{.Name}}
        common_tls_context:
          alpn_protocols: {{.ALPN}}
          tls_certificate_sds_secret_configs: [{name: certificate, sds_config: {ads: {}, resource_api_version: V3}}]
          validation_context_sds_secret_config: {name: roots, sds_config: {ads: {}, resource_api_version: V3}}
{{- end}}
static_resources:
  listeners:
{{- range .Listeners}}{{if .Cluster}}{{template "tcp" .}}{{else}}{{template "http" .}}{{end}}{{end}}
  clusters:
{{- range .Hops}}{{template "hop" .}}{{end}}
  - name: good
    type: EDS
    connect_timeout: {{.Idle}}s
    eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    typed_extension_protocol_options: &options
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {idle_timeout: 1s}
        use_downstream_protocol_config: {http2_protocol_options: {}}
  - name: faulty
    type: EDS
    connect_timeout: 1s
    eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}
    typed_extension_protocol_options: *options
    outlier_detection: {consecutive_5xx: 20, interval: 1s, base_ejection_time: 1s, max_ejection_percent: 50}
  - name: tcp
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {thresholds: [{max_connections: 100000}]}
    load_assignment:
      cluster_name: tcp
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.GoodTCP}}}}}}]}]
`))

// listener is one of a side's listeners. One with a cluster is for TCP and stays as it is.
type listener struct {
	Name, Routes, Cluster string
	Port, Idle            int
	TLS, Hop              bool
}

// Listeners are a side's.
func (l layout) Listeners() []listener {
	if l.Server {
		return []listener{{Name: "mtls", Port: l.MTLS, Routes: "routes", Idle: l.Idle(), TLS: true}, {Name: "tcp-mtls", Port: l.TCPTLS, Cluster: "tcp", TLS: true}}
	}
	return []listener{{Name: "http", Port: l.HTTP, Routes: "routes", Idle: l.Idle()}, {Name: "tcp", Port: l.TCP, Cluster: "tcp"},
		{Name: "hop-http", Port: l.HopHTTP, Routes: "hop-http", Idle: l.Idle(), Hop: true}, {Name: "hop-http2", Port: l.Hop2, Routes: "hop-http2", Idle: l.Idle(), Hop: true},
		{Name: "hop-tcp", Port: l.HopTCP, Cluster: "hop-tcp", Hop: true}}
}

// hop is a cluster of the client's side that leads to the server's.
type hop struct {
	Name, Protocol, ALPN string
	Port, Idle           int
}

// Hops are a side's.
func (l layout) Hops() []hop {
	if l.Server {
		return nil
	}
	return []hop{{"hop-http", "http_protocol_options", "[http/1.1]", l.MTLS, l.Idle()}, {"hop-http2", "http2_protocol_options", "[h2]", l.MTLS, l.Idle()},
		{"hop-tcp", "", "[]", l.TCPTLS, 60}}
}

// Idle makes one generation different from the next.
func (l layout) Idle() int { return 60 + l.Generation%10 }

// fixed are the listeners and clusters of a generation.
func (l layout) fixed() ([]xds.Update, error) {
	var b bytes.Buffer
	if err := resources.Execute(&b, l); err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	parsed, err := bootstrap.Parse("soak", b.Bytes())
	if err != nil {
		return nil, err
	}
	return parsed.Static, nil
}

// routes are the route tables of a version.
func (l layout) routes(version int) ([]xds.Update, error) {
	table := func(name, good, faulty string) (xds.Update, error) {
		text := fmt.Sprintf(`{"name": %q, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
			{"match": {"prefix": "/never", "headers": [{"name": "x-version", "string_match": {"exact": "%d"}}]}, "route": {"cluster": %q}},
			{"match": {"prefix": "/faulty"}, "route": {"cluster": %q, "timeout": "5s"}},
			{"match": {"prefix": "/"}, "route": {"cluster": %q, "timeout": "0s"},
			 "response_headers_to_add": [{"header": {"key": "x-version", "value": "%d"}}]}]}]}`, name, version, faulty, faulty, good, version)
		return resource(xds.RouteType, name, version, []byte(text), &routev3.RouteConfiguration{})
	}
	u, err := table("routes", "good", "faulty")
	if err != nil {
		return nil, err
	}
	list := []xds.Update{u}
	for _, h := range l.Hops() {
		if h.Protocol == "" {
			continue
		}
		if u, err = table(h.Name, h.Name, h.Name); err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, nil
}

// endpoints are those of the good servers, one or two of which are left out, and of the faulty ones.
func (l layout) endpoints(version int) ([]xds.Update, error) {
	var good []int
	for i, port := range l.Good {
		if i != version%len(l.Good) {
			good = append(good, port)
		}
	}
	faulty := []int{l.Faulty}
	if version%4 == 0 {
		faulty = append(faulty, l.Nobody)
	}
	var list []xds.Update
	for name, ports := range map[string][]int{"good": good, "faulty": faulty} {
		var lb bytes.Buffer
		for i, port := range ports {
			if i > 0 {
				lb.WriteByte(',')
			}
			fmt.Fprintf(&lb, `{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": %d}}}}`, port)
		}
		text := fmt.Sprintf(`{"cluster_name": %q, "endpoints": [{"lb_endpoints": [%s]}]}`, name, lb.String())
		u, err := resource(xds.EndpointType, name, version, []byte(text), &endpointv3.ClusterLoadAssignment{})
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, nil
}

func resource(typeURL, name string, version int, text []byte, m proto.Message) (xds.Update, error) {
	if err := protojson.Unmarshal(text, m); err != nil {
		return xds.Update{}, fmt.Errorf("%s: %w", name, err)
	}
	r, err := xds.NewResource(name, m)
	if err != nil {
		return xds.Update{}, err
	}
	return xds.Update{TypeURL: typeURL, Version: fmt.Sprint(version), Added: []*xds.Resource{r}}, nil
}
