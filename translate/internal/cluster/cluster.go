// Package cluster makes Envoy clusters: one for each port and subset of a service, as a DestinationRule wants it, those
// that lead to the workload itself, and the two for traffic that nobody knows. It is called by translate. Pure; safe for
// any number of goroutines; results belong to the caller.
//
// One file per feature: pool, outlier, balance, dns, tls.
//
// May import: model, translate/internal/{pb,dialect,naming,tlsctx,endpoint,stencil}, the Envoy and Istio API protos.
package cluster

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
)

const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// Input is everything that one outbound cluster depends on.
type Input struct {
	Dialect dialect.Dialect
	Mesh    *model.Mesh
	// Gateway says that the client is a gateway: it knows no original destination and detects no protocols.
	Gateway bool
	Service *model.Service
	Port    *model.Port
	// Rule may be nil. Subset is the name of one of its subsets, or "".
	Rule   *model.DestinationRule
	Subset string
	// Identities are the SPIFFE ids that the endpoints may have.
	Identities []string
	// MTLS says that automatic mutual TLS applies: the service is in the mesh and does not refuse it.
	MTLS bool
	// Assignment is the endpoints of a service that the proxy resolves itself, nil for others.
	Assignment []*endpointv3.LocalityLbEndpoints
	// LocalityWeighted says that weights between localities were set on purpose.
	LocalityWeighted bool
	// IPv6 says that the workload has IPv6 addresses only.
	IPv6 bool
}

// builder collects a cluster and its HTTP options, which are packed last.
type builder struct {
	in     Input
	out    *clusterv3.Cluster
	http   *httpv3.HttpProtocolOptions
	policy *networking.TrafficPolicy
}

// Outbound makes the cluster of one port and subset of a service. It is nil for a service that the proxy should resolve
// but that has no endpoint to resolve.
func Outbound(in Input) *clusterv3.Cluster {
	return outbound(in, in.Rule.Policy(in.Subset, in.Port.Number))
}

func outbound(in Input, policy *networking.TrafficPolicy) *clusterv3.Cluster {
	b := &builder{in: in, policy: policy}
	name := in.Name()
	b.out = &clusterv3.Cluster{
		Name:           name,
		AltStatName:    naming.Stat(name),
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{},
	}
	if !b.discovery() {
		return nil
	}
	b.protocol()
	b.pool(b.policy.GetConnectionPool())
	b.h2Upgrade(b.policy.GetConnectionPool())
	b.outlier(b.policy.GetOutlierDetection())
	b.balance(b.policy.GetLoadBalancer())
	b.security()
	b.proxyProtocol(b.policy.GetProxyProtocol())
	b.metadata()
	if in.Dialect.PeerMetadata() {
		b.out.Filters = []*clusterv3.Filter{peerMetadataFilter()}
	}
	return b.finish()
}

// Type is how the cluster's endpoints are found.
func Type(s *model.Service, policy *networking.TrafficPolicy, gateway bool) clusterv3.Cluster_DiscoveryType {
	if policy.GetLoadBalancer().GetSimple() == networking.LoadBalancerSettings_PASSTHROUGH && !gateway {
		return clusterv3.Cluster_ORIGINAL_DST
	}
	switch s.Resolution {
	case model.DNS:
		return clusterv3.Cluster_STRICT_DNS
	case model.DNSRoundRobin:
		return clusterv3.Cluster_LOGICAL_DNS
	case model.Passthrough:
		if !gateway {
			return clusterv3.Cluster_ORIGINAL_DST
		}
	}
	return clusterv3.Cluster_EDS
}

func (b *builder) discovery() bool {
	t := Type(b.in.Service, b.policy, b.in.Gateway)
	b.out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: t}
	switch t {
	case clusterv3.Cluster_EDS:
		b.out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: b.out.Name, EdsConfig: pb.ADS()}
	case clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS:
		return b.dns(t)
	}
	return true
}

// protocol chooses what is spoken to the endpoints: HTTP/2 where the port says so; where the protocol was detected, the
// same as the client spoke.
func (b *builder) protocol() {
	switch {
	case b.in.Port.Protocol.IsHTTP2():
		b.useHTTP2()
	case b.in.Port.Protocol == model.Unsupported && !b.in.Gateway:
		b.useClientProtocol()
	}
}

func (b *builder) options() *httpv3.HttpProtocolOptions {
	if b.http == nil {
		b.http = &httpv3.HttpProtocolOptions{}
	}
	return b.http
}

func (b *builder) useHTTP2() {
	b.options().UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		},
	}
}

func (b *builder) useClientProtocol() { b.options().UpstreamProtocolOptions = sameProtocol() }

func sameProtocol() *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig {
	return &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
		UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
			HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		},
	}
}

func (b *builder) isHTTP2() bool {
	return b.http.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil
}

// finish packs the HTTP options. Envoy wants a protocol in them; HTTP/1.1 is the default.
func (b *builder) finish() *clusterv3.Cluster {
	if b.http == nil {
		return b.out
	}
	if b.http.GetUpstreamProtocolOptions() == nil {
		b.http.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
			},
		}
	}
	b.out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsKey: pb.Any(b.http)}
	return b.out
}

// metadata tells telemetry which service the cluster is, and explain which rule shaped it.
func (b *builder) metadata() {
	s, md := b.in.Service, (*corev3.Metadata)(nil)
	md = pb.SetMetadata(md, naming.IstioMetadata, "services", serviceList(s))
	if s.MeshExternal {
		md = pb.SetMetadata(md, naming.IstioMetadata, "external", structpb.NewBoolValue(true))
	}
	if b.in.Rule != nil {
		md = pb.SetMetadata(md, naming.IstioMetadata, "config", pb.String(naming.Config(b.in.Rule.Config)))
		md = naming.Describe(md, b.in.Rule.Config, b.in.Rule.Origin, "")
	}
	if b.in.Subset != "" {
		md = pb.SetMetadata(md, naming.IstioMetadata, "subset", pb.String(b.in.Subset))
	}
	switch b.policy.GetTls().GetMode() {
	case networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_MUTUAL:
		if b.policy.GetTls() != nil {
			md = pb.SetMetadata(md, naming.IstioMetadata, "alpn_override", pb.String("false"))
		}
	}
	b.out.Metadata = md
}

func serviceList(services ...*model.Service) *structpb.Value {
	var list []*structpb.Value
	for _, s := range services {
		list = append(list, structpb.NewStructValue(pb.Struct(map[string]*structpb.Value{
			"host": pb.String(s.Hostname), "name": pb.String(s.Name), "namespace": pb.String(s.Namespace),
		})))
	}
	return structpb.NewListValue(&structpb.ListValue{Values: list})
}
