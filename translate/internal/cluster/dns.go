package cluster

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// dns makes the proxy resolve the endpoints' names. Reports false if there is none.
func (b *builder) dns(t clusterv3.Cluster_DiscoveryType) bool {
	endpoints := b.in.Assignment
	if len(endpoints) == 0 {
		return false
	}
	if t == clusterv3.Cluster_LOGICAL_DNS {
		// Envoy takes exactly one name there.
		endpoints = []*endpointv3.LocalityLbEndpoints{{
			Locality:    endpoints[0].GetLocality(),
			LbEndpoints: endpoints[0].GetLbEndpoints()[:1],
		}}
	}
	b.out.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: b.out.GetName(), Endpoints: endpoints}
	b.out.DnsLookupFamily = clusterv3.Cluster_V4_ONLY
	if b.in.IPv6 {
		b.out.DnsLookupFamily = clusterv3.Cluster_V6_ONLY
	}
	//lint:ignore SA1019 the form of Istio, which all Envoys read
	b.out.DnsRefreshRate = b.in.Mesh.Config.GetDnsRefreshRate()
	//lint:ignore SA1019 the form of Istio, which all Envoys read
	b.out.RespectDnsTtl = true
	return true
}
