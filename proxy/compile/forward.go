package compile

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	actionFields = fields(`cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match
		prefix_rewrite regex_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex
		append_x_forwarded_host timeout idle_timeout flush_timeout early_data_policy retry_policy request_mirror_policies
		priority include_vh_rate_limits hash_policy cors max_grpc_timeout grpc_timeout_offset upgrade_configs
		internal_redirect_policy internal_redirect_action max_internal_redirects max_stream_duration`)
	weightFields = fields(`name cluster_header weight metadata_match request_headers_to_add request_headers_to_remove
		response_headers_to_add response_headers_to_remove typed_per_filter_config host_rewrite_literal`)
	mirrorFields = fields("cluster cluster_header runtime_fraction trace_sampled disable_shadow_host_suffix_append")
)

const defaultRouteTimeout = 15 * time.Second

func (b *routeBuilder) forward(r *plan.Route, m *routev3.RouteAction, own plan.HeaderMutations) (*plan.RouteAction, error) {
	if err := actionFields.only(m); err != nil {
		return nil, err
	}
	out := &plan.RouteAction{
		AppendXForwardedHost: m.GetAppendXForwardedHost(), NotFoundCode: 503,
		InternalRedirect:    m.GetInternalRedirectPolicy() != nil,
		IncludeVHRateLimits: m.GetIncludeVhRateLimits().GetValue(), //nolint:staticcheck // still sent
	}
	switch m.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		out.NotFoundCode = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		out.NotFoundCode = 500
	}
	if m.GetPriority() == corev3.RoutingPriority_HIGH {
		out.Priority = 1
	}
	if err := b.targets(out, r, m, own); err != nil {
		return nil, err
	}
	if err := rewrites(&out.Rewrite, m); err != nil {
		return nil, err
	}
	if err := routeTimeouts(out, m); err != nil {
		return nil, err
	}
	policy := m.GetRetryPolicy()
	if policy == nil {
		policy = b.host.retry
	}
	var err error
	if out.Retry, err = retryPolicy(policy); err != nil {
		return nil, at(err, "retry_policy")
	}
	if out.Hash, err = hashPolicies(m.GetHashPolicy()); err != nil {
		return nil, err
	}
	if out.Mirror, err = b.mirrors(m.GetRequestMirrorPolicies()); err != nil {
		return nil, err
	}
	for _, u := range m.GetUpgradeConfigs() {
		up := plan.Upgrade{Type: strings.ToLower(u.GetUpgradeType()), Enabled: boolean(u.GetEnabled(), true)}
		out.Upgrades = append(out.Upgrades, up)
		out.ConnectTunnel = out.ConnectTunnel || u.GetConnectConfig() != nil
	}
	return out, nil
}

func (b *routeBuilder) targets(out *plan.RouteAction, r *plan.Route, m *routev3.RouteAction, own plan.HeaderMutations) error {
	single := plan.WeightedCluster{Weight: 1, Headers: r.Headers, FilterOverrides: r.FilterOverrides}
	switch s := m.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		if s.Cluster == "" {
			return errors.New("cluster is empty")
		}
		b.needs.cluster(s.Cluster)
		single.Name, single.Cluster = s.Cluster, b.Names.Cluster(s.Cluster)
		out.Clusters, out.TotalWeight = []plan.WeightedCluster{single}, 1
	case *routev3.RouteAction_ClusterHeader:
		if s.ClusterHeader == "" {
			return errors.New("cluster_header is empty")
		}
		out.ClusterHeader = headerName(s.ClusterHeader)
	case *routev3.RouteAction_WeightedClusters:
		return at(b.weighted(out, r, s.WeightedClusters, own), "weighted_clusters")
	default:
		return errors.New("none of cluster, cluster_header and weighted_clusters is given")
	}
	return nil
}

func (b *routeBuilder) weighted(out *plan.RouteAction, r *plan.Route, m *routev3.WeightedCluster, own plan.HeaderMutations) error {
	out.WeightHeader = headerName(m.GetHeaderName())
	for i, w := range m.GetClusters() {
		if err := weightFields.only(w); err != nil {
			return at(err, "clusters[%d]", i)
		}
		if (w.GetName() == "") == (w.GetClusterHeader() == "") {
			return fmt.Errorf("clusters[%d]: one of name and cluster_header must be given", i)
		}
		b.needs.cluster(w.GetName())
		wc := plan.WeightedCluster{
			Name: w.GetName(), Cluster: b.Names.Cluster(w.GetName()), Weight: w.GetWeight().GetValue(), ClusterHeader: headerName(w.GetClusterHeader()),
			HostRewrite: []byte(w.GetHostRewriteLiteral()),
		}
		hs, err := b.headers(w)
		if err != nil {
			return at(err, "clusters[%d]", i)
		}
		wc.Headers = b.merged(hs, own, b.host.headers, b.config.headers)
		if wc.FilterOverrides, err = b.overrides(w.GetTypedPerFilterConfig(), r.FilterOverrides); err != nil {
			return at(err, "clusters[%d]", i)
		}
		out.TotalWeight += uint64(wc.Weight)
		out.Clusters = append(out.Clusters, wc)
	}
	if out.TotalWeight == 0 || out.TotalWeight > math.MaxUint32 {
		return errors.New("the sum of the weights must be between 1 and 4294967295")
	}
	return nil
}

func rewrites(out *plan.Rewrite, m *routev3.RouteAction) error {
	var err error
	if m.GetPrefixRewrite() != "" {
		out.HasPrefix, out.Prefix = true, m.GetPrefixRewrite()
	}
	if rr := m.GetRegexRewrite(); rr != nil {
		if out.HasPrefix {
			return errors.New("prefix_rewrite and regex_rewrite exclude each other")
		}
		if out.Regex, out.Substitution, err = regexRewrite(rr); err != nil {
			return at(err, "regex_rewrite")
		}
	}
	switch h := m.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		out.Host = []byte(h.HostRewriteLiteral)
	case *routev3.RouteAction_AutoHostRewrite:
		out.AutoHost = h.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewriteHeader:
		out.HostHeader = headerName(h.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		if out.HostRegex, out.HostSubst, err = regexRewrite(h.HostRewritePathRegex); err != nil {
			return at(err, "host_rewrite_path_regex")
		}
	}
	return nil
}

func routeTimeouts(out *plan.RouteAction, m *routev3.RouteAction) error {
	ds := &durations{}
	out.Timeout = ds.get("timeout", m.GetTimeout(), defaultRouteTimeout)
	out.IdleTimeout = ds.get("idle_timeout", m.GetIdleTimeout(), 0)
	out.HasIdleTimeout = m.GetIdleTimeout() != nil
	out.FlushTimeout = ds.get("flush_timeout", m.GetFlushTimeout(), 0)
	out.HasFlushTimeout = m.GetFlushTimeout() != nil
	out.UseGRPCTimeout = m.GetMaxGrpcTimeout() != nil
	out.MaxGRPCTimeout = ds.get("max_grpc_timeout", m.GetMaxGrpcTimeout(), 0)
	out.GRPCTimeoutOffset = ds.get("grpc_timeout_offset", m.GetGrpcTimeoutOffset(), 0)
	if s := m.GetMaxStreamDuration(); s != nil {
		out.HasMaxStream = true
		out.MaxStream = ds.get("max_stream_duration", s.GetMaxStreamDuration(), 0)
		out.UseGRPCTimeout = s.GetGrpcTimeoutHeaderMax() != nil
		out.MaxGRPCTimeout = ds.get("max_stream_duration: grpc_timeout_header_max", s.GetGrpcTimeoutHeaderMax(), 0)
		out.GRPCTimeoutOffset = ds.get("max_stream_duration: grpc_timeout_header_offset", s.GetGrpcTimeoutHeaderOffset(), 0)
	}
	return ds.err
}

func (b *routeBuilder) mirrors(in []*routev3.RouteAction_RequestMirrorPolicy) ([]plan.Mirror, error) {
	if len(in) == 0 {
		in = b.host.mirrors
	}
	const most = 32 // a decision has a bit for each
	if len(in) > most {
		return nil, fmt.Errorf("request_mirror_policies: %d, of which %d are allowed", len(in), most)
	}
	var out []plan.Mirror
	for i, m := range in {
		if err := mirrorFields.only(m); err != nil {
			return nil, at(err, "request_mirror_policies[%d]", i)
		}
		if (m.GetCluster() == "") == (m.GetClusterHeader() == "") {
			return nil, fmt.Errorf("request_mirror_policies[%d]: one of cluster and cluster_header must be given", i)
		}
		f, err := runtimeFraction(m.GetRuntimeFraction(), always)
		if err != nil {
			return nil, at(err, "request_mirror_policies[%d]: runtime_fraction", i)
		}
		b.needs.cluster(m.GetCluster())
		mirror := plan.Mirror{
			Name: m.GetCluster(), Cluster: b.Names.Cluster(m.GetCluster()), ClusterHeader: headerName(m.GetClusterHeader()),
			Fraction: f, KeepHost: m.GetDisableShadowHostSuffixAppend(),
		}
		if m.GetTraceSampled() != nil {
			v := m.GetTraceSampled().GetValue()
			mirror.TraceSampled = &v
		}
		out = append(out, mirror)
	}
	return out, nil
}
