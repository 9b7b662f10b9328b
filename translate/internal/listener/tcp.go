package listener

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/rbac"
)

const tcpProxyName = "envoy.filters.network.tcp_proxy"

// TCP is where the bytes of a connection go: one cluster, or several by weight.
type TCP struct {
	Side     Direction
	Stat     string
	Clusters []Weighted
	Policies rbac.Input
	// Pool is the connection pool of the destination's rule, for its time limits.
	Pool *networking.ConnectionPoolSettings_TCPSettings
	// HashSource keeps connections of one client address on one endpoint.
	HashSource bool
	Tunnel     *networking.TrafficPolicy_TunnelSettings
}

// Weighted is a cluster with its share.
type Weighted struct {
	Cluster string
	Weight  uint32
}

// To is the TCP destination of a single cluster.
func To(cluster string) []Weighted { return []Weighted{{Cluster: cluster}} }

// tcpFilters is the one list of filters of a TCP chain.
func (e Env) tcpFilters(in TCP) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	if in.Side == InboundSide {
		out = append(out, e.networkMetadata()...)
	}
	if e.Dialect.ECDS {
		out = append(out, rbac.TCPByName(in.Policies)...)
	} else {
		out = append(out, rbac.TCP(in.Policies)...)
	}
	out = append(out, e.networkStats(in.Side)...)
	return append(out, e.tcpProxy(in))
}

func (e Env) tcpProxy(in TCP) *listenerv3.Filter {
	out := &tcpv3.TcpProxy{
		StatPrefix:                      in.Stat,
		AccessLog:                       e.accessLog(in.Side),
		IdleTimeout:                     in.Pool.GetIdleTimeout(),
		MaxDownstreamConnectionDuration: in.Pool.GetMaxConnectionDuration(),
		TunnelingConfig:                 tunnel(in.Tunnel),
	}
	if len(in.Clusters) == 1 {
		out.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: in.Clusters[0].Cluster}
	} else {
		wc := &tcpv3.TcpProxy_WeightedCluster{}
		for _, c := range in.Clusters {
			if c.Weight > 0 {
				wc.Clusters = append(wc.Clusters, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{Name: c.Cluster, Weight: c.Weight})
			}
		}
		out.ClusterSpecifier = &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: wc}
	}
	if in.HashSource {
		out.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	return networkFilter(tcpProxyName, out)
}

func tunnel(in *networking.TrafficPolicy_TunnelSettings) *tcpv3.TcpProxy_TunnelingConfig {
	if in == nil {
		return nil
	}
	return &tcpv3.TcpProxy_TunnelingConfig{
		Hostname: naming.VirtualHost(in.GetTargetHost(), in.GetTargetPort()),
		UsePost:  in.GetProtocol() == "POST",
	}
}

// blackHole is the chain that keeps a listener from talking to itself: nobody legitimately dials the capture port.
func (e Env) blackHole(name string, port uint32, side Direction) *listenerv3.FilterChain {
	filters := e.networkStats(side)
	if side == InboundSide {
		filters = append(e.networkMetadata(), filters...)
	}
	proxy := &tcpv3.TcpProxy{
		StatPrefix:       naming.BlackHoleCluster,
		ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: naming.BlackHoleCluster},
	}
	return &listenerv3.FilterChain{
		Name:             name,
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapPort(port)},
		Filters:          append(filters, networkFilter(tcpProxyName, proxy)),
	}
}

// noTimeout switches a listener's wait for its inspectors off.
func noTimeout() *durationpb.Duration { return durationpb.New(0) }
