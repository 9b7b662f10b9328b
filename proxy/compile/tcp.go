package compile

import (
	"errors"
	"math"
	"time"

	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	tcpFields = fields(`stat_prefix cluster weighted_clusters metadata_match idle_timeout access_log max_connect_attempts
		hash_policy max_downstream_connection_duration access_log_flush_interval
		flush_access_log_on_connected access_log_options`)
)

const defaultTCPIdle = time.Hour

func (b chainEnv) tcpProxy(m *tcpv3.TcpProxy) (*plan.TCPProxy, error) {
	if err := tcpFields.only(m); err != nil {
		return nil, err
	}
	ds := &durations{}
	out := &plan.TCPProxy{
		StatPrefix:         m.GetStatPrefix(),
		IdleTimeout:        ds.get("idle_timeout", m.GetIdleTimeout(), defaultTCPIdle),
		MaxDuration:        ds.get("max_downstream_connection_duration", m.GetMaxDownstreamConnectionDuration(), 0),
		MaxConnectAttempts: u32(m.GetMaxConnectAttempts(), 1),
	}
	if ds.err != nil {
		return nil, ds.err
	}
	if err := b.tcpClusters(out, m); err != nil {
		return nil, err
	}
	for _, h := range m.GetHashPolicy() {
		if _, ok := h.GetPolicySpecifier().(*typev3.HashPolicy_SourceIp_); !ok {
			return nil, errors.New("hash_policy: only source_ip is supported by this proxy")
		}
		out.HashSourceIP = true
	}
	var err error
	if out.AccessLogs, err = b.accessLogs(m.GetAccessLog()); err != nil {
		return nil, err
	}
	return out, nil
}

func (b chainEnv) tcpClusters(out *plan.TCPProxy, m *tcpv3.TcpProxy) error {
	switch s := m.GetClusterSpecifier().(type) {
	case *tcpv3.TcpProxy_Cluster:
		b.needs.cluster(s.Cluster)
		out.Clusters = []plan.WeightedTCPCluster{{Name: s.Cluster, Cluster: b.Names.Cluster(s.Cluster), Weight: 1}}
	case *tcpv3.TcpProxy_WeightedClusters:
		for _, c := range s.WeightedClusters.GetClusters() {
			b.needs.cluster(c.GetName())
			out.Clusters = append(out.Clusters, plan.WeightedTCPCluster{
				Name: c.GetName(), Cluster: b.Names.Cluster(c.GetName()), Weight: c.GetWeight(),
			})
		}
	}
	for i := range out.Clusters {
		out.TotalWeight += uint64(out.Clusters[i].Weight)
	}
	if len(out.Clusters) == 0 || out.Clusters[0].Name == "" && len(out.Clusters) == 1 {
		return errors.New("neither cluster nor weighted_clusters names a cluster")
	}
	if out.TotalWeight == 0 || out.TotalWeight > math.MaxUint32 {
		return errors.New("weighted_clusters: the sum of the weights must be between 1 and 4294967295")
	}
	return nil
}
