package state

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/xds"
)

// BenchmarkEndpointChange is one endpoint change in a mesh of 2,000 services.
func BenchmarkEndpointChange(b *testing.B) {
	h := newHarness(b)
	var clusters, eps []proto.Message
	for i := range 2000 {
		name := fmt.Sprintf("outbound|80||s%d.default.svc.cluster.local", i)
		clusters, eps = append(clusters, eds(name, 0)), append(eps, assignment(name, "10.0.0.1"))
	}
	h.update(xds.ClusterType, nil, clusters...)
	h.update(xds.EndpointType, nil, eps...)
	if n := len(h.current.Load().Clusters()); n != 2000 {
		b.Fatalf("%d clusters", n)
	}
	name := "outbound|80||s7.default.svc.cluster.local"
	changes := [2]proto.Message{assignment(name, "10.0.0.1", "10.0.0.2"), assignment(name, "10.0.0.1")}
	i := 0
	for b.Loop() {
		h.update(xds.EndpointType, nil, changes[i%2])
		i++
	}
}
