package compile

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// IgnoredField is a field of Envoy's that is accepted, because refusing it would cost more than it is worth, and has no effect.
type IgnoredField struct {
	Message protoreflect.FullName
	Fields  string // separated by spaces
	Instead string // what happens instead
}

// IgnoredFields are all of them. The page docs/envoy-fields.md shows them.
func IgnoredFields() []IgnoredField {
	return []IgnoredField{
		{"envoy.config.listener.v3.Listener", "enable_reuse_port reuse_port connection_balance_config", "there is one socket, from which all workers take connections"},
		{"envoy.config.listener.v3.Listener", "drain_type enable_mptcp max_connections_to_accept_per_socket_event ignore_global_conn_limit bypass_overload_manager", "listeners behave as by default"},
		{"envoy.config.listener.v3.Listener", "stat_prefix", "statistics have the listener's name"},
		{"envoy.config.cluster.v3.Cluster", "alt_stat_name track_timeout_budgets track_cluster_stats", "statistics are as by default, under the cluster's name"},
		{"envoy.config.cluster.v3.Cluster", "per_connection_buffer_limit_bytes", "what is read is passed on before more is read; HTTP/2 goes by its windows"},
		{"envoy.config.cluster.v3.Cluster", "ignore_health_on_host_removal", "hosts go when discovery no longer has them"},
		{"envoy.config.cluster.v3.Cluster", "respect_dns_ttl", "names are looked up again every dns_refresh_rate"},
		{"envoy.config.cluster.v3.Cluster", "typed_dns_resolver_config use_tcp_for_dns_lookups", "the machine's resolver is asked"},
		{"envoy.config.cluster.v3.Cluster", "preconnect_policy", "connections are made when they are needed"},
		{"envoy.config.cluster.v3.CircuitBreakers.Thresholds", "max_connection_pools", "pools aren't limited, connections are"},
		{"envoy.config.cluster.v3.CircuitBreakers.Thresholds", "track_remaining", "what is left isn't shown"},
		{"envoy.config.core.v3.Http1ProtocolOptions", "allow_absolute_url", "the absolute form is always understood"},
		{"envoy.config.core.v3.Http1ProtocolOptions", "enable_trailers", "trailers are always passed on"},
		{"envoy.config.core.v3.Http1ProtocolOptions", "allow_chunked_length", "requests with both Content-Length and Transfer-Encoding are always refused"},
		{"envoy.config.core.v3.Http1ProtocolOptions", "override_stream_error_on_invalid_http_message", "a malformed request always ends its connection"},
		{"envoy.config.core.v3.Http1ProtocolOptions", "use_balsa_parser ignore_http_11_upgrade", "there is one parser, and upgrades are the routes' business"},
		{"envoy.config.core.v3.Http2ProtocolOptions", "stream_error_on_invalid_http_messaging override_stream_error_on_invalid_http_message",
			"a malformed message resets its stream, and the connection when there are too many"},
		{"envoy.config.core.v3.Http2ProtocolOptions", "allow_metadata max_metadata_size", "METADATA frames are ignored"},
		{"envoy.config.core.v3.Http2ProtocolOptions", "use_oghttp2_codec enable_huffman_encoding disallow_obs_text", "there is one codec"},
		{"envoy.config.core.v3.KeepaliveSettings", "interval_jitter connection_idle_interval", "PINGs go out at the interval"},
		{"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "access_log_flush_interval flush_access_log_on_new_request access_log_options",
			"access logs are written when a request has ended"},
		{"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stream_error_on_invalid_http_message", "a malformed HTTP/1 request always ends its connection"},
		{"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"add_user_agent represent_ipv4_remote_address_as_ipv4_mapped_ipv6 append_local_overload record_route_resolution_stats http1_safe_max_connection_duration",
			"headers, statistics and the end of connections are as by default"},
		{"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "tracing", "no spans are reported"},
		{"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "http3_protocol_options", "there is no HTTP/3"},
		{"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "access_log_flush_interval flush_access_log_on_connected access_log_options", "access logs are written when a connection has ended"},
		{"envoy.config.route.v3.RouteAction", "internal_redirect_policy internal_redirect_action max_internal_redirects", "redirects go to the client"},
		{"envoy.config.route.v3.RouteAction", "include_vh_rate_limits early_data_policy", "there are no rate limits, and no early data"},
		{"envoy.config.route.v3.RetryPolicy", "retry_priority", "tries choose a priority as first tries do"},
		{"envoy.config.route.v3.Route", "stat_prefix decorator tracing", "there are no statistics of routes, and no spans"},
	}
}

// Ignored lists the fields of a message, and of what is in it, that are given and have no effect, each once, with what happens
// instead.
func Ignored(m proto.Message) []string {
	known := map[protoreflect.FullName]string{}
	for _, f := range IgnoredFields() {
		for name := range fields(f.Fields) {
			known[f.Message.Append(name)] = string(f.Message.Name()) + ": " + string(name) + " has no effect: " + f.Instead
		}
	}
	found := map[string]bool{}
	ignored(m.ProtoReflect(), known, found, 0)
	var list []string
	for text := range found {
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}

// maxNesting bounds how deep messages are looked into.
const maxNesting = 50

func ignored(m protoreflect.Message, known map[protoreflect.FullName]string, found map[string]bool, depth int) {
	if depth > maxNesting {
		return
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		// What can't be unmarshalled is the compiler's to complain about.
		if in, err := a.UnmarshalNew(); err == nil {
			ignored(in.ProtoReflect(), known, found, depth+1)
		}
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if text := known[m.Descriptor().FullName().Append(f.Name())]; text != "" {
			found[text] = true
			return true
		}
		into := func(v protoreflect.Value) { ignored(v.Message(), known, found, depth+1) }
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				into(v)
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				into(v.List().Get(i))
			}
		case !f.IsMap() && !f.IsList() && f.Message() != nil:
			into(v)
		}
		return true
	})
}
