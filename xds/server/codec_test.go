package server

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// What is sent from resources marshalled once is what protobuf would have
// marshalled.
func TestCodecSendsWhatProtobufWould(t *testing.T) {
	made := xds.FromAny("made", &anypb.Any{TypeUrl: xds.ClusterType, Value: []byte("body")})
	empty := xds.FromAny("empty", &anypb.Any{TypeUrl: xds.ClusterType})
	literal := xds.Received("literal", xds.ClusterType, "7", &anypb.Any{TypeUrl: xds.ClusterType, Value: make([]byte, 300)})
	joined := xds.Join("joined", xds.ClusterType, []byte("lead"), []*xds.Piece{xds.NewPiece(make([]byte, 200)), xds.NewPiece(nil), xds.NewPiece([]byte("end"))})
	resources := []*xds.Resource{made, empty, literal, joined, xds.Join("bare", xds.ClusterType, nil, nil)}
	server := &corev3.ControlPlane{Identifier: "lateen"}
	delta := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.ClusterType, SystemVersionInfo: "3", Nonce: "n", RemovedResources: []string{"gone"},
		ControlPlane: server}
	world := &discoveryv3.DiscoveryResponse{TypeUrl: xds.ClusterType, VersionInfo: "3", Nonce: "n", ControlPlane: server}
	gotDelta, gotWorld := &discoveryv3.DeltaDiscoveryResponse{}, &discoveryv3.DiscoveryResponse{}
	transcode(t, &encoded{delta: true, Frame: &machine.Frame{TypeURL: xds.ClusterType, Version: "3", Nonce: "n", Resources: resources,
		Removed: []string{"gone"}}}, gotDelta)
	transcode(t, &encoded{Frame: &machine.Frame{TypeURL: xds.ClusterType, Version: "3", Nonce: "n", Resources: resources}}, gotWorld)
	for _, r := range resources {
		delta.Resources = append(delta.Resources, &discoveryv3.Resource{Name: r.Name, Version: r.Version, Resource: r.Body()})
		world.Resources = append(world.Resources, r.Body())
	}
	if !proto.Equal(gotDelta, delta) {
		t.Errorf("delta: %v\nwant %v", gotDelta, delta)
	}
	if !proto.Equal(gotWorld, world) {
		t.Errorf("state of the world: %v\nwant %v", gotWorld, world)
	}
}

// A virtual host's message doesn't tell under which name it is asked for: in
// state-of-the-world its wrapper does.
func TestVirtualHostsAreWrapped(t *testing.T) {
	one := xds.FromAny("80/a", &anypb.Any{TypeUrl: xds.VirtualHostType, Value: []byte("body")})
	got := &discoveryv3.DiscoveryResponse{}
	transcode(t, &encoded{Frame: &machine.Frame{Resources: []*xds.Resource{one}}}, got)
	var inner discoveryv3.Resource
	if err := got.GetResources()[0].UnmarshalTo(&inner); err != nil {
		t.Fatal(err)
	}
	if want := (&discoveryv3.Resource{Name: one.Name, Version: one.Version, Resource: one.Body()}); !proto.Equal(&inner, want) {
		t.Errorf("%v, want %v", &inner, want)
	}
}

// Other services of the same gRPC server are served as ever.
func TestCodecLeavesOtherMessagesAlone(t *testing.T) {
	want, got := &discoveryv3.DiscoveryRequest{TypeUrl: "x"}, &discoveryv3.DiscoveryRequest{}
	transcode(t, want, got)
	if !proto.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func transcode(t *testing.T, from any, to proto.Message) {
	t.Helper()
	c := codec{encoding.GetCodecV2(grpcproto.Name)}
	data, err := c.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}
