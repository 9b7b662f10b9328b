package compile

import (
	"errors"
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/proxy/plan"
)

var clusterFields = fields(`transport_socket_matches name alt_stat_name type eds_cluster_config connect_timeout
	per_connection_buffer_limit_bytes lb_policy load_assignment health_checks max_requests_per_connection
	circuit_breakers upstream_http_protocol_options common_http_protocol_options http_protocol_options
	http2_protocol_options typed_extension_protocol_options dns_refresh_rate dns_jitter dns_failure_refresh_rate
	respect_dns_ttl dns_lookup_family typed_dns_resolver_config wait_for_warm_on_init outlier_detection cleanup_interval
	upstream_bind_config ring_hash_lb_config maglev_lb_config original_dst_lb_config
	least_request_lb_config round_robin_lb_config common_lb_config transport_socket metadata protocol_selection
	upstream_connection_options close_connections_on_host_health_failure ignore_health_on_host_removal filters
	load_balancing_policy track_timeout_budgets track_cluster_stats preconnect_policy use_tcp_for_dns_lookups`)

const defaultConnectTimeout = 5 * time.Second

// Cluster compiles a cluster. Its Endpoints are set when the resource carries them.
func (c *Compiler) Cluster(m *clusterv3.Cluster) (*plan.Cluster, Needs, error) {
	b := &clusterBuilder{Compiler: c}
	out, err := b.build(m)
	if err != nil {
		return nil, Needs{}, err
	}
	return out, b.needs, nil
}

type clusterBuilder struct {
	*Compiler
	needs Needs
}

func (b *clusterBuilder) build(m *clusterv3.Cluster) (*plan.Cluster, error) {
	if m.GetName() == "" {
		return nil, errors.New("name is empty")
	}
	if err := clusterFields.only(m); err != nil {
		return nil, err
	}
	// The endpoints have a version of their own.
	bare := m
	if m.GetLoadAssignment() != nil {
		bare = proto.CloneOf(m)
		bare.LoadAssignment = nil
	}
	out := &plan.Cluster{
		Name: m.GetName(), AltStatName: m.GetAltStatName(), Version: hashOf(bare), Ref: b.Names.Cluster(m.GetName()),
		MaxRequestsPerConnection: m.GetMaxRequestsPerConnection().GetValue(),
		KeepAlive:                keepAlive(m.GetUpstreamConnectionOptions().GetTcpKeepalive()),
		IgnoreHealthOnRemoval:    m.GetIgnoreHealthOnHostRemoval(), CloseOnHealthFailure: m.GetCloseConnectionsOnHostHealthFailure(),
		Metadata: metadata(m.GetMetadata()),
	}
	out.Origin = origin(out.Metadata)
	out.Services = services(out.Metadata)
	var err error
	if out.ConnectTimeout, err = duration(m.GetConnectTimeout(), defaultConnectTimeout); err != nil {
		return nil, at(err, "connect_timeout")
	}
	for _, step := range []func(*plan.Cluster, *clusterv3.Cluster) error{
		b.discovery, balancing, b.sockets, b.protocols, breakers, outliers, healthChecks, bind, upstreamFilters, b.endpoints,
	} {
		if err := step(out, m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (b *clusterBuilder) discovery(out *plan.Cluster, m *clusterv3.Cluster) error {
	switch m.GetType() {
	case clusterv3.Cluster_STATIC:
		out.Discovery = plan.Static
	case clusterv3.Cluster_STRICT_DNS:
		out.Discovery = plan.StrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		out.Discovery = plan.LogicalDNS
	case clusterv3.Cluster_EDS:
		out.Discovery, out.EDSName = plan.EDS, m.GetEdsClusterConfig().GetServiceName()
		if out.EDSName == "" {
			out.EDSName = m.GetName()
		}
		need, err := discovered(out.EDSName, m.GetEdsClusterConfig().GetEdsConfig())
		if err != nil {
			return at(err, "eds_cluster_config")
		}
		b.needs.Endpoints = add(b.needs.Endpoints, need)
	case clusterv3.Cluster_ORIGINAL_DST:
		out.Discovery = plan.OriginalDestination
		return originalDst(out, m)
	default:
		return fmt.Errorf("type %v is unknown", m.GetType())
	}
	return dnsOptions(out, m)
}

func originalDst(out *plan.Cluster, m *clusterv3.Cluster) error {
	cfg := m.GetOriginalDstLbConfig()
	if cfg.GetMetadataKey() != nil {
		return errors.New("original_dst_lb_config: metadata_key is not supported by this proxy")
	}
	p, err := port16(cfg.GetUpstreamPortOverride().GetValue())
	if err != nil {
		return at(err, "original_dst_lb_config: upstream_port_override")
	}
	out.OriginalDst.Port = p
	if cfg.GetUseHttpHeader() {
		out.OriginalDst.Header = headerName(cfg.GetHttpHeaderName())
		if out.OriginalDst.Header == nil {
			out.OriginalDst.Header = headerName("x-envoy-original-dst-host")
		}
	}
	out.OriginalDst.CleanupInterval, err = duration(m.GetCleanupInterval(), 5*time.Second)
	return at(err, "cleanup_interval")
}

func dnsOptions(out *plan.Cluster, m *clusterv3.Cluster) error {
	ds := &durations{}
	out.DNS = plan.DNSOptions{
		Refresh: ds.get("dns_refresh_rate", m.GetDnsRefreshRate(), 5*time.Second), RespectTTL: m.GetRespectDnsTtl(),
		FailureBase: ds.get("dns_failure_refresh_rate: base_interval", m.GetDnsFailureRefreshRate().GetBaseInterval(), 0),
		FailureMax:  ds.get("dns_failure_refresh_rate: max_interval", m.GetDnsFailureRefreshRate().GetMaxInterval(), 0),
		Jitter:      ds.get("dns_jitter", m.GetDnsJitter(), 0),
	}
	switch m.GetDnsLookupFamily() {
	case clusterv3.Cluster_V4_ONLY:
		out.DNS.Family = plan.V4Only
	case clusterv3.Cluster_V6_ONLY:
		out.DNS.Family = plan.V6Only
	case clusterv3.Cluster_V4_PREFERRED:
		out.DNS.Family = plan.V4Preferred
	case clusterv3.Cluster_ALL:
		out.DNS.Family = plan.AllFamilies
	}
	return ds.err
}

func (b *clusterBuilder) endpoints(out *plan.Cluster, m *clusterv3.Cluster) error {
	la := m.GetLoadAssignment()
	switch {
	case out.Discovery == plan.EDS || out.Discovery == plan.OriginalDestination:
		if la != nil {
			return fmt.Errorf("load_assignment: a cluster of type %v can't have one", out.Discovery)
		}
		return nil
	case la == nil:
		return fmt.Errorf("load_assignment: a cluster of type %v needs one", out.Discovery)
	}
	eps, err := endpoints(la, out.Discovery != plan.Static)
	if err != nil {
		return at(err, "load_assignment")
	}
	if out.Discovery == plan.LogicalDNS && eps.Len() != 1 {
		return fmt.Errorf("load_assignment: LOGICAL_DNS needs exactly one endpoint, here are %d", eps.Len())
	}
	out.Endpoints = ForCluster(out, eps)
	return nil
}

func bind(out *plan.Cluster, m *clusterv3.Cluster) error {
	cfg := m.GetUpstreamBindConfig()
	if cfg.GetSourceAddress() == nil {
		return nil
	}
	a, err := socketAddress(cfg.GetSourceAddress(), false)
	if err != nil {
		return at(err, "upstream_bind_config")
	}
	out.SourceAddress = a.IP
	return nil
}

// upstreamFilters are network filters on the upstream's side, of which Istio's metadata exchange is the only one.
func upstreamFilters(out *plan.Cluster, m *clusterv3.Cluster) error {
	for i, f := range m.GetFilters() {
		e, err := extensionOf(f.GetTypedConfig())
		if err != nil {
			return at(err, "filters[%d] %q", i, f.GetName())
		}
		if e.kind != "envoy.tcp.metadataexchange.config.MetadataExchange" {
			return fmt.Errorf("filters[%d] %q: %s is not an upstream filter that this proxy has", i, f.GetName(), e.kind)
		}
		if out.MetadataExchange, err = metadataExchange(&e); err != nil {
			return at(err, "filters[%d] %q", i, f.GetName())
		}
	}
	return nil
}

// services reads the list that Istio's telemetry is labelled with.
func services(m plan.Metadata) []plan.Service {
	list, _ := m.Get("istio", "services").([]any)
	var out []plan.Service
	for _, v := range list {
		o, _ := v.(map[string]any)
		text := func(key string) string {
			s, _ := o[key].(string)
			return s
		}
		out = append(out, plan.Service{Host: text("host"), Name: text("name"), Namespace: text("namespace")})
	}
	return out
}

func breakers(out *plan.Cluster, m *clusterv3.Cluster) error {
	for i := range out.Limits {
		out.Limits[i] = plan.CircuitBreaker{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
	}
	var seen [2]bool
	for _, t := range m.GetCircuitBreakers().GetThresholds() {
		p := 0
		if t.GetPriority() == corev3.RoutingPriority_HIGH {
			p = 1
		}
		if seen[p] {
			continue // the first counts, as in Envoy
		}
		seen[p] = true
		l := &out.Limits[p]
		l.MaxConnections = u32(t.GetMaxConnections(), l.MaxConnections)
		l.MaxPendingRequests = u32(t.GetMaxPendingRequests(), l.MaxPendingRequests)
		l.MaxRequests = u32(t.GetMaxRequests(), l.MaxRequests)
		l.MaxRetries = u32(t.GetMaxRetries(), l.MaxRetries)
		l.MaxConnectionPools = u32(t.GetMaxConnectionPools(), 0)
		l.TrackRemaining = t.GetTrackRemaining()
		if rb := t.GetRetryBudget(); rb != nil {
			l.RetryBudget = &plan.RetryBudget{Percent: 20, MinConcurrency: u32(rb.GetMinRetryConcurrency(), 3)}
			if rb.GetBudgetPercent() != nil {
				l.RetryBudget.Percent = rb.GetBudgetPercent().GetValue()
			}
		}
	}
	return nil
}
