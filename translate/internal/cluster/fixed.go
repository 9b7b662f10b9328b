package cluster

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
)

const (
	// inboundSource is the source address of connections to the workload itself. The capture rules let it pass, so that
	// such a connection does not come back to the proxy.
	inboundSource   = "127.0.0.6"
	inboundSource6  = "::6"
	passthroughIdle = 5 * time.Minute
	// forever keeps connections of an inbound cluster, whose one host can't go away. Envoy refuses the longest Duration.
	forever = 365 * 24 * time.Hour
)

// InboundInput is everything that a cluster to the workload's own port depends on.
type InboundInput struct {
	Dialect dialect.Dialect
	Mesh    *model.Mesh
	// Target is the workload's port.
	Target uint32
	Port   *model.Port
	// Services are those that share the port.
	Services []*model.Service
	Pool     *networking.ConnectionPoolSettings
	// Endpoint is where to connect: a host and port, a unix socket, or nothing for the address that the client dialled.
	EndpointHost string
	EndpointPort uint32
	IPv6         bool
}

// Inbound makes the cluster that leads to the workload's own port.
func Inbound(in InboundInput) *clusterv3.Cluster {
	name := naming.Inbound(in.Target)
	b := &builder{in: Input{Dialect: in.Dialect, Mesh: in.Mesh, Port: in.Port}}
	b.out = &clusterv3.Cluster{Name: name, AltStatName: naming.Stat(name), CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{}}
	if in.EndpointHost == "" {
		b.out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
		b.out.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		b.out.CleanupInterval = pb.Duration(forever)
		b.out.UpstreamBindConfig = bindTo(in.IPv6)
	} else {
		b.out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		b.out.LoadAssignment = single(name, in.EndpointHost, in.EndpointPort)
	}
	b.protocol()
	b.pool(in.Pool)
	if len(in.Services) > 0 {
		b.out.Metadata = pb.SetMetadata(nil, naming.IstioMetadata, "services", serviceList(in.Services...))
	}
	return b.finish()
}

func single(name, host string, port uint32) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: pb.Address(host, port)},
		}}},
	}}}
}

func bindTo(ipv6 bool) *corev3.BindConfig {
	source := inboundSource
	if ipv6 {
		source = inboundSource6
	}
	return &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
		Address: source, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
	}}
}

// BlackHole leads nowhere.
func BlackHole(mesh *model.Mesh) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 naming.BlackHoleCluster,
		AltStatName:          naming.Stat(naming.BlackHoleCluster),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		ConnectTimeout:       mesh.Config.GetConnectTimeout(),
		LoadAssignment:       &endpointv3.ClusterLoadAssignment{ClusterName: naming.BlackHoleCluster},
	}
}

// Passthrough leads to the address that the client dialled.
func Passthrough(mesh *model.Mesh, d dialect.Dialect) *clusterv3.Cluster {
	out := passthrough(mesh, naming.PassthroughCluster)
	if d.PeerMetadata() {
		out.Filters = []*clusterv3.Filter{peerMetadataFilter()}
	}
	return out
}

// InboundPassthrough leads to the workload's port that the client dialled, which no service declares.
func InboundPassthrough(mesh *model.Mesh, ipv6 bool) *clusterv3.Cluster {
	out := passthrough(mesh, naming.InboundPassthroughCluster)
	out.UpstreamBindConfig = bindTo(ipv6)
	return out
}

func passthrough(mesh *model.Mesh, name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		AltStatName:          naming.Stat(name),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout:       mesh.Config.GetConnectTimeout(),
		CircuitBreakers: &clusterv3.CircuitBreakers{
			Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()},
		},
		UpstreamConnectionOptions: keepalive(mesh, nil),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{httpOptionsKey: pb.Any(&httpv3.HttpProtocolOptions{
			CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: pb.Duration(passthroughIdle)},
			UpstreamProtocolOptions:   sameProtocol(),
		})},
	}
}
