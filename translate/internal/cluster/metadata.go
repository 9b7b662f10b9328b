package cluster

import (
	udpatype "github.com/cncf/xds/go/udpa/type/v1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/translate/internal/pb"
)

// peerMetadataFilter makes both ends of a TCP connection tell each other who they are, for telemetry. Its message is not
// among the published ones, so it travels as a typed struct.
func peerMetadataFilter() *clusterv3.Filter {
	return &clusterv3.Filter{
		Name: "istio.metadata_exchange",
		TypedConfig: pb.Any(&udpatype.TypedStruct{
			TypeUrl: "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
			Value: pb.Struct(map[string]*structpb.Value{
				"protocol": pb.String("istio-peer-exchange"), "enable_discovery": structpb.NewBoolValue(true),
			}),
		}),
	}
}
