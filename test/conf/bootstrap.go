package conf

import (
	"fmt"
	"strconv"
	"strings"
)

// Listener is one at a port of 127.0.0.1. The fields that are text are YAML.
type Listener struct {
	Name string
	Port int
	// Cluster makes it one for TCP, which leads there.
	Cluster string
	// Fields are lines that are added to the terminal filter's configuration.
	Fields []string
	// TLS is the transport socket's configuration, on one line; "" for none.
	TLS string
}

// YAML is an item of a bootstrap's listeners.
func (l Listener) YAML() string {
	var b strings.Builder
	filter, kind, fields := "http_connection_manager", "HttpConnectionManager", []string{"stat_prefix: " + l.Name}
	if l.Cluster != "" {
		filter, kind, fields = "tcp_proxy", "TcpProxy", append(fields, "cluster: "+l.Cluster)
	} else {
		fields = append(fields, `http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]`)
	}
	fmt.Fprintf(&b, `
  - name: %s
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.%s
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.%s.v3.%s
`, l.Name, l.Port, filter, filter, kind)
	for _, f := range append(fields, l.Fields...) {
		fmt.Fprintf(&b, "          %s\n", f)
	}
	if l.TLS != "" {
		fmt.Fprintf(&b, "      transport_socket: {name: envoy.transport_sockets.tls, typed_config: %s}\n", l.TLS)
	}
	return b.String()
}

// Cluster is one without limits worth mentioning. The fields that are text are YAML.
type Cluster struct {
	Name string
	// Port of 127.0.0.1; 0 for a cluster whose Fields say what is in it.
	Port int
	// Connect is its connect_timeout in seconds, 5 at least.
	Connect int
	// Fields are lines that are added to it.
	Fields []string
	// TLS is the transport socket's configuration, on one line; "" for none.
	TLS string
}

// YAML is an item of a bootstrap's clusters.
func (c Cluster) YAML() string {
	fields := c.Fields
	if c.Port != 0 {
		fields = append([]string{"type: STATIC", "load_assignment: {cluster_name: " + c.Name +
			", endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: " +
			strconv.Itoa(c.Port) + "}}}}]}]}"}, fields...)
	}
	if c.TLS != "" {
		fields = append(fields, "transport_socket: {name: envoy.transport_sockets.tls, typed_config: "+c.TLS+"}")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  - name: %s\n    connect_timeout: %ds\n", c.Name, max(c.Connect, 5))
	b.WriteString("    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}\n")
	for _, f := range fields {
		fmt.Fprintf(&b, "    %s\n", f)
	}
	return b.String()
}
