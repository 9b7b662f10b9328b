package cluster

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
)

// defaultRingSize is Istio's smallest ring.
const defaultRingSize = 1024

// balance chooses the load balancer; LEAST_REQUEST unless told otherwise.
func (b *builder) balance(in *networking.LoadBalancerSettings) {
	if b.in.LocalityWeighted {
		b.out.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	if b.out.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		b.out.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		return
	}
	if in.GetConsistentHash() != nil {
		b.hash(in.GetConsistentHash())
		return
	}
	switch in.GetSimple() {
	case networking.LoadBalancerSettings_RANDOM:
		b.out.LbPolicy = clusterv3.Cluster_RANDOM
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		b.out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if slow := slowStart(in); slow != nil {
			b.out.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow},
			}
		}
	default:
		b.out.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if slow := slowStart(in); slow != nil {
			b.out.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
				LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slow},
			}
		}
	}
}

func (b *builder) hash(in *networking.LoadBalancerSettings_ConsistentHashLB) {
	if m := in.GetMaglev(); m != nil {
		b.out.LbPolicy = clusterv3.Cluster_MAGLEV
		if m.GetTableSize() > 0 {
			b.out.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{
				MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(m.GetTableSize())},
			}
		}
		return
	}
	size := in.GetRingHash().GetMinimumRingSize()
	if in.GetRingHash() == nil {
		//lint:ignore SA1019 users still write it
		size = in.GetMinimumRingSize()
	}
	if size == 0 {
		size = defaultRingSize
	}
	b.out.LbPolicy = clusterv3.Cluster_RING_HASH
	b.out.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{
		RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(size)},
	}
}

// slowStart gives new endpoints their share over time; nil without warm-up.
func slowStart(in *networking.LoadBalancerSettings) *clusterv3.Cluster_SlowStartConfig {
	w := in.GetWarmup()
	if w == nil {
		if in.GetWarmupDurationSecs() == nil {
			return nil
		}
		return &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: in.GetWarmupDurationSecs()}
	}
	out := &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: w.GetDuration()}
	if w.GetAggression() != nil {
		out.Aggression = &corev3.RuntimeDouble{DefaultValue: w.GetAggression().GetValue(), RuntimeKey: "istio.io/unset"}
	}
	if w.GetMinimumPercent() != nil {
		out.MinWeightPercent = &typev3.Percent{Value: w.GetMinimumPercent().GetValue()}
	}
	return out
}

// proxyProtocol wraps the connection's transport so that it starts with a PROXY header.
func (b *builder) proxyProtocol(in *networking.TrafficPolicy_ProxyProtocol) {
	if in == nil {
		return
	}
	if len(b.out.GetTransportSocketMatches()) == 0 {
		b.out.TransportSocket = withProxyHeader(b.out.GetTransportSocket(), in)
		return
	}
	for _, m := range b.out.GetTransportSocketMatches() {
		m.TransportSocket = withProxyHeader(m.GetTransportSocket(), in)
	}
}
