package main

import (
	"bytes"
	"fmt"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/test/conf"
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

// failures are the flags of exchanges that the proxy or a server behind it failed.
const failures = `{response_flag_filter: {flags: [LH, UH, UT, LR, UR, UF, UC, UO, NR, URX, DPE, UPE, NC, OM, SI]}}`

// explained has failed exchanges explain themselves in the log; those with the faulty server are the soak's own doing.
const explained = `access_log: [{name: envoy.access_loggers.file, filter: {and_filter: {filters: [` + failures + `, {header_filter: {header: {name: ":path", string_match: {prefix: /faulty}, invert_match: true}}}]}}, ` + record

// explainedTCP is that for connections.
const explainedTCP = `access_log: [{name: envoy.access_loggers.file, filter: ` + failures + `, ` + record

const record = `typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/stderr, log_format: {text_format_source: {inline_string: "%START_TIME% %REQ(:METHOD)% %REQ(:PATH)% from %DOWNSTREAM_REMOTE_ADDRESS% by %PROTOCOL% to %UPSTREAM_HOST% of %UPSTREAM_CLUSTER%: %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% after %DURATION% ms, %BYTES_RECEIVED% bytes in, %BYTES_SENT% out\n"}}}}]`

// ownSecrets are what both ends of mutual TLS have.
const ownSecrets = `tls_certificate_sds_secret_configs: [{name: certificate, sds_config: {ads: {}, resource_api_version: V3}}], validation_context_sds_secret_config: {name: roots, sds_config: {ads: {}, resource_api_version: V3}}`

// bootstrap is a side's, of a generation.
func (l layout) bootstrap() string {
	text := "static_resources:\n  listeners:"
	for _, one := range l.listeners() {
		text += one.YAML()
	}
	const eds = "eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}"
	options := func(more string) string {
		return `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, ` + more + `}}`
	}
	passed := options("common_http_protocol_options: {idle_timeout: 1s}, use_downstream_protocol_config: {http2_protocol_options: {}}")
	clusters := []conf.Cluster{{Name: "good", Connect: l.idle(), Fields: []string{"type: EDS", eds, passed}},
		{Name: "faulty", Fields: []string{"type: EDS", eds, passed, "outlier_detection: {consecutive_5xx: 20, interval: 1s, base_ejection_time: 1s, max_ejection_percent: 50}"}},
		{Name: "tcp", Port: l.GoodTCP}}
	for _, h := range l.hops() {
		c := conf.Cluster{Name: h.name, Port: h.port, Connect: l.idle(), TLS: `{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: ` + h.name +
			`, common_tls_context: {alpn_protocols: ` + h.alpn + `, ` + ownSecrets + `}}`}
		if h.protocol != "" {
			c.Fields = []string{options("common_http_protocol_options: {idle_timeout: 1s, max_requests_per_connection: 25}, explicit_http_config: {" + h.protocol + ": {}}")}
		}
		clusters = append(clusters, c)
	}
	text += "  clusters:"
	for _, c := range clusters {
		text += c.YAML()
	}
	return text
}

// listeners are a side's. Those for TCP stay as they are.
func (l layout) listeners() []conf.Listener {
	served := func(alpn string) string {
		return `{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, common_tls_context: {alpn_protocols: ` + alpn + `, ` + ownSecrets + `}}`
	}
	web := func(name string, port int, routes string) conf.Listener {
		return conf.Listener{Name: name, Port: port, Fields: []string{explained, "request_headers_timeout: 2s", fmt.Sprintf("stream_idle_timeout: %ds", l.idle()),
			"rds: {route_config_name: " + routes + ", config_source: {ads: {}, resource_api_version: V3}}"}}
	}
	if l.Server {
		mtls, tcp := web("mtls", l.MTLS, "routes"), conf.Listener{Name: "tcp-mtls", Port: l.TCPTLS, Cluster: "tcp", Fields: []string{explainedTCP}}
		mtls.TLS, tcp.TLS = served("[h2, http/1.1]"), served("[]")
		return []conf.Listener{mtls, tcp}
	}
	return []conf.Listener{web("http", l.HTTP, "routes"), {Name: "tcp", Port: l.TCP, Cluster: "tcp", Fields: []string{explainedTCP}},
		web("hop-http", l.HopHTTP, "hop-http"), web("hop-http2", l.Hop2, "hop-http2"),
		{Name: "hop-tcp", Port: l.HopTCP, Cluster: "hop-tcp", Fields: []string{explainedTCP}}}
}

// hop is a cluster of the client's side that leads to the server's.
type hop struct {
	name, protocol, alpn string
	port                 int
}

// hops are a side's.
func (l layout) hops() []hop {
	if l.Server {
		return nil
	}
	return []hop{{"hop-http", "http_protocol_options", "[http/1.1]", l.MTLS}, {"hop-http2", "http2_protocol_options", "[h2]", l.MTLS},
		{"hop-tcp", "", "[]", l.TCPTLS}}
}

// idle makes one generation different from the next.
func (l layout) idle() int { return 60 + l.Generation%10 }

// fixed are the listeners and clusters of a generation.
func (l layout) fixed() ([]xds.Update, error) {
	parsed, err := bootstrap.Parse("soak", []byte(l.bootstrap()))
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
	for _, h := range l.hops() {
		if h.protocol == "" {
			continue
		}
		if u, err = table(h.name, h.name, h.name); err != nil {
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
