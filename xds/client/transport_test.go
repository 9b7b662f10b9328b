package client

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

func anyOf(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNamesOfStateOfTheWorldResources(t *testing.T) {
	cluster := anyOf(t, &clusterv3.Cluster{Name: "outbound|80||a", AltStatName: "x"})
	if r := unwrap(xds.ClusterType, cluster); r.Name != "outbound|80||a" || r.TypeURL != xds.ClusterType {
		t.Errorf("cluster is %q of %q", r.Name, r.TypeURL)
	}
	endpoints := anyOf(t, &endpointv3.ClusterLoadAssignment{ClusterName: "a"})
	if r := unwrap(xds.EndpointType, endpoints); r.Name != "a" {
		t.Errorf("endpoints are %q", r.Name)
	}
	wrapped := anyOf(t, &discoveryv3.Resource{Name: "w", Resource: cluster})
	if r := unwrap(xds.ClusterType, wrapped); r.Name != "w" || r.TypeURL != xds.ClusterType {
		t.Errorf("wrapped cluster is %q of %q", r.Name, r.TypeURL)
	}
	if r := unwrap(xds.NameTableType, &anypb.Any{Value: []byte{0x0a, 1, 'x'}}); r.Name != "" {
		t.Errorf("the name table is called %q", r.Name)
	}
}

func FuzzFirstString(f *testing.F) {
	f.Add([]byte{0x0a, 1, 'x', 0x10, 1})
	f.Add([]byte{0x12, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := firstString(b); len(s) > len(b) {
			t.Errorf("%d bytes of %d", len(s), len(b))
		}
	})
}
