package listener

import (
	udpatype "github.com/cncf/xds/go/udpa/type/v1"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	alpnv2 "istio.io/api/envoy/config/filter/http/alpn/v2alpha1"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/rbac"
)

// Direction is which side of a proxy a chain stands on.
type Direction uint8

// The directions.
const (
	InboundSide Direction = iota
	OutboundSide
	GatewaySide
)

// httpFilters is the one list that says which HTTP filters a chain has, and in which order.
func (e Env) httpFilters(side Direction, policies rbac.Input, protocol model.Protocol, suppressHeaders bool) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	if e.Dialect.PeerMetadata() {
		// First, so that a refusal by a later filter is still attributed to its peer.
		out = append(out, typedStruct("istio.metadata_exchange", "io.istio.http.peer_metadata.Config", peerMetadata(side)))
	}
	if e.Dialect.ECDS {
		out = append(out, rbac.HTTPByName(policies)...)
	} else {
		out = append(out, rbac.HTTP(policies)...)
	}
	if protocol == model.GRPCWeb {
		out = append(out, httpFilter("envoy.filters.http.grpc_web", &grpcwebv3.GrpcWeb{}))
	}
	out = append(out, httpFilter("envoy.filters.http.grpc_stats", &grpcstatsv3.FilterConfig{
		EmitFilterState:        true,
		PerMethodStatSpecifier: &grpcstatsv3.FilterConfig_StatsForAllMethods{StatsForAllMethods: pb.Bool(false)},
	}))
	if side != InboundSide && e.Dialect.PeerMetadata() {
		out = append(out, httpFilter("istio.alpn", alpn()))
	}
	// Routes configure these two; without the filter their configuration would do nothing.
	out = append(out, httpFilter("envoy.filters.http.fault", &faultv3.HTTPFault{}))
	out = append(out, httpFilter("envoy.filters.http.cors", &corsv3.Cors{}))
	if e.Dialect.PeerMetadata() {
		out = append(out, typedStruct("istio.stats", "stats.PluginConfig", statsConfig(side)))
	}
	return append(out, httpFilter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: suppressHeaders}))
}

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pb.Any(config)}}
}

// typedStruct is a filter whose message is not among the published ones.
func typedStruct(name, message string, config *structpb.Struct) *hcmv3.HttpFilter {
	return httpFilter(name, &udpatype.TypedStruct{TypeUrl: "type.googleapis.com/" + message, Value: config})
}

// alpn makes the connection to another proxy say which HTTP is inside, so that the other end needn't look.
func alpn() *alpnv2.FilterConfig {
	override := func(p alpnv2.FilterConfig_Protocol, names ...string) *alpnv2.FilterConfig_AlpnOverride {
		return &alpnv2.FilterConfig_AlpnOverride{UpstreamProtocol: p, AlpnOverride: names}
	}
	return &alpnv2.FilterConfig{AlpnOverride: []*alpnv2.FilterConfig_AlpnOverride{
		override(alpnv2.FilterConfig_HTTP10, "istio-http/1.0", "istio", "http/1.0"),
		override(alpnv2.FilterConfig_HTTP11, "istio-http/1.1", "istio", "http/1.1"),
		override(alpnv2.FilterConfig_HTTP2, "istio-h2", "istio", "h2"),
	}}
}

// peerMetadata says where to learn who the peer is, and where to tell who we are.
func peerMetadata(side Direction) *structpb.Struct {
	by := func(names ...string) *structpb.Value {
		var list []*structpb.Value
		for _, n := range names {
			list = append(list, structpb.NewStructValue(pb.Struct(map[string]*structpb.Value{
				n: structpb.NewStructValue(&structpb.Struct{}),
			})))
		}
		return structpb.NewListValue(&structpb.ListValue{Values: list})
	}
	peer := "upstream"
	if side == InboundSide {
		peer = "downstream"
	}
	return pb.Struct(map[string]*structpb.Value{
		peer + "_discovery":   by("istio_headers", "workload_discovery"),
		peer + "_propagation": by("istio_headers"),
	})
}

func statsConfig(side Direction) *structpb.Struct {
	if side == GatewaySide {
		return pb.Struct(map[string]*structpb.Value{"disable_host_header_fallback": structpb.NewBoolValue(true)})
	}
	return &structpb.Struct{}
}

// networkMetadata exchanges who is who over TCP, before the first byte. Outbound this is the cluster's part.
func (e Env) networkMetadata() []*listenerv3.Filter {
	if !e.Dialect.PeerMetadata() {
		return nil
	}
	return []*listenerv3.Filter{networkFilter("istio.metadata_exchange", &udpatype.TypedStruct{
		TypeUrl: "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
		Value: pb.Struct(map[string]*structpb.Value{
			"protocol": pb.String("istio-peer-exchange"), "enable_discovery": structpb.NewBoolValue(true),
		}),
	})}
}

func (e Env) networkStats(side Direction) []*listenerv3.Filter {
	if !e.Dialect.PeerMetadata() {
		return nil
	}
	return []*listenerv3.Filter{networkFilter("istio.stats", &udpatype.TypedStruct{
		TypeUrl: "type.googleapis.com/stats.PluginConfig", Value: statsConfig(side),
	})}
}

func networkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pb.Any(config)}}
}
