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

// layout is where everything listens.
type layout struct {
	HTTP, TCP  int   // the proxy
	Good       []int // servers that don't fail
	GoodTCP    int
	Faulty     int // a server that fails in every way
	Nobody     int // a port at which there is nobody
	Generation int // of the listeners and clusters
}

var resources = template.Must(template.New("resources").Parse(`
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: {{.HTTP}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          request_headers_timeout: 2s
          stream_idle_timeout: {{.Idle}}s
          rds: {route_config_name: routes, config_source: {ads: {}, resource_api_version: V3}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: {{.TCP}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: tcp}
  clusters:
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

// routes are the route table of a version.
func (l layout) routes(version int) (xds.Update, error) {
	text := fmt.Sprintf(`{"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
		{"match": {"prefix": "/never", "headers": [{"name": "x-version", "string_match": {"exact": "%d"}}]}, "route": {"cluster": "faulty"}},
		{"match": {"prefix": "/faulty"}, "route": {"cluster": "faulty", "timeout": "5s"}},
		{"match": {"prefix": "/"}, "route": {"cluster": "good", "timeout": "0s"},
		 "response_headers_to_add": [{"header": {"key": "x-version", "value": "%d"}}]}]}]}`, version, version)
	return resource(xds.RouteType, "routes", version, []byte(text), &routev3.RouteConfiguration{})
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
