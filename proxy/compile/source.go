package compile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	configSourceFields = fields(`path path_config_source api_config_source ads self initial_fetch_timeout resource_api_version`)
	pathSourceFields   = fields(`path watched_directory`)
	// refresh_delay and request_timeout are those of REST, and rate_limit_settings limit what we never send much of.
	apiSourceFields = fields(`api_type transport_api_version grpc_services refresh_delay request_timeout rate_limit_settings
		set_node_on_first_message_only`)
	grpcServiceFields = fields(`envoy_grpc timeout initial_metadata retry_policy`)
	envoyGRPCFields   = fields(`cluster_name authority retry_policy max_receive_message_length skip_envoy_headers`)
)

// ConfigSource compiles where resources come from, and how long to wait for them at first.
func ConfigSource(s *corev3.ConfigSource) (plan.Source, time.Duration, error) {
	var out plan.Source
	if err := configSourceFields.only(s); err != nil {
		return out, 0, err
	}
	if s.GetResourceApiVersion() == corev3.ApiVersion_V2 { //nolint:staticcheck // to refuse it
		return out, 0, errors.New("resource_api_version: V2 is not supported by this proxy; write V3")
	}
	timeout, err := duration(s.GetInitialFetchTimeout(), defaultFetchTimeout)
	if err != nil {
		return out, 0, at(err, "initial_fetch_timeout")
	}
	switch {
	case s.GetPath() != "": //nolint:staticcheck // bootstraps still have it
		out.Path = s.GetPath() //nolint:staticcheck // as above
	case s.GetPathConfigSource() != nil:
		p := s.GetPathConfigSource()
		if err := pathSourceFields.only(p); err != nil {
			return out, 0, at(err, "path_config_source")
		}
		if p.GetPath() == "" {
			return out, 0, errors.New("path_config_source: path is empty")
		}
		out.Path, out.Watched = p.GetPath(), p.GetWatchedDirectory().GetPath()
	case s.GetApiConfigSource() != nil:
		out.Service, err = DiscoveryService(s.GetApiConfigSource())
		if t := s.GetApiConfigSource().GetApiType(); err == nil && (t == corev3.ApiConfigSource_AGGREGATED_GRPC || t == corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC) {
			err = fmt.Errorf("api_type: %v is for resources by name (xdstp:), which are not supported by this proxy; write ads", t)
		}
		return out, timeout, at(err, "api_config_source")
	}
	return out, timeout, nil
}

// DiscoveryService compiles the service that discovery asks.
func DiscoveryService(s *corev3.ApiConfigSource) (plan.DiscoveryService, error) {
	var out plan.DiscoveryService
	if err := apiSourceFields.only(s); err != nil {
		return out, err
	}
	switch t := s.GetApiType(); t {
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_AGGREGATED_GRPC:
	case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		out.Delta = true
	default:
		return out, fmt.Errorf("api_type: %v is not supported by this proxy; write GRPC or DELTA_GRPC", t)
	}
	if s.GetTransportApiVersion() == corev3.ApiVersion_V2 { //nolint:staticcheck // to refuse it
		return out, errors.New("transport_api_version: V2 is not supported by this proxy; write V3")
	}
	if n := len(s.GetGrpcServices()); n != 1 {
		return out, fmt.Errorf("grpc_services: one is needed, here are %d", n)
	}
	return grpcService(out, s.GetGrpcServices()[0])
}

func grpcService(out plan.DiscoveryService, g *corev3.GrpcService) (plan.DiscoveryService, error) {
	if g.GetGoogleGrpc() != nil {
		return out, errors.New("grpc_services[0]: google_grpc is not supported by this proxy; write envoy_grpc, and a static cluster that leads to the server")
	}
	if err := grpcServiceFields.only(g); err != nil {
		return out, at(err, "grpc_services[0]")
	}
	e := g.GetEnvoyGrpc()
	if err := envoyGRPCFields.only(e); err != nil {
		return out, at(err, "grpc_services[0]: envoy_grpc")
	}
	if e.GetClusterName() == "" {
		return out, errors.New("grpc_services[0]: envoy_grpc: cluster_name is empty")
	}
	out.Cluster, out.Authority = e.GetClusterName(), e.GetAuthority()
	for i, h := range g.GetInitialMetadata() {
		if strings.Contains(h.GetValue(), "%") || len(h.GetRawValue()) > 0 || h.GetKey() == "" {
			return out, fmt.Errorf("grpc_services[0]: initial_metadata[%d]: only names with plain values are supported by this proxy", i)
		}
		out.Metadata += strings.ToLower(h.GetKey()) + ": " + h.GetValue() + "\n"
	}
	ds := &durations{}
	for _, r := range []*corev3.RetryPolicy{g.GetRetryPolicy(), e.GetRetryPolicy()} {
		if b := r.GetRetryBackOff(); b != nil {
			out.BackoffMin = ds.get("grpc_services[0]: retry_policy: base_interval", b.GetBaseInterval(), 0)
			out.BackoffMax = ds.get("grpc_services[0]: retry_policy: max_interval", b.GetMaxInterval(), 10*out.BackoffMin)
		}
	}
	return out, ds.err
}

func discovered(name string, s *corev3.ConfigSource) (Need, error) {
	from, timeout, err := ConfigSource(s)
	return Need{Name: name, Timeout: timeout, From: from}, at(err, "resource %q", name)
}
