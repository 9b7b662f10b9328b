package app

import (
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/xds"
)

const groupMesh = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: db, namespace: default}
spec:
  metadata: {labels: {app: db}}
  template: {serviceAccount: db, ports: {tcp: 5432}}
  probe: {tcpSocket: {host: localhost, port: 5432}}
`

// A proxy that names a WorkloadGroup registers its workload by connecting, as
// istio-agent's do, and tells over the same stream whether it is healthy.
func TestWorkloadRegistersItselfOverDiscovery(t *testing.T) {
	d := startDebuggedWith(t, groupMesh)
	stream, err := d.client(t).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node := nodeOf("db-1.default", "default", "db")
	node.Metadata.Fields["AUTO_REGISTER_GROUP"] = structpb.NewStringValue("db")
	if err := stream.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: xds.ClusterType}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	entry := func() *networking.WorkloadEntry {
		objects, _ := d.Objects()
		for _, o := range objects {
			if o.Kind == config.WorkloadEntry && o.Name == "db-10.0.0.1" {
				return config.As[*networking.WorkloadEntry](o)
			}
		}
		return nil
	}
	until := func(what string, there bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(30 * time.Second); (entry() != nil) != there; <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v", what, entry())
			}
		}
	}
	health := func(refusal *status.Status) {
		t.Helper()
		m := &discoveryv3.DiscoveryRequest{TypeUrl: xds.HealthInfoType}
		if refusal != nil {
			m.ErrorDetail = refusal.Proto()
		}
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if entry() != nil {
		t.Error("the group has a probe, and its workload is an endpoint before it is healthy")
	}
	health(nil)
	until("healthy", true)
	if e := entry(); e.GetAddress() != "10.0.0.1" || e.GetPorts()["tcp"] != 5432 || e.GetLabels()["app"] != "db" {
		t.Errorf("the entry is %v", e)
	}
	health(status.New(codes.Internal, "connection refused"))
	until("unhealthy", false)
	health(nil)
	until("healthy again", true)

	// A group that there is not ends the stream, with the reason.
	other, err := d.client(t).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node.Metadata.Fields["AUTO_REGISTER_GROUP"] = structpb.NewStringValue("none")
	if err := other.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: xds.ClusterType}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a group that there is not: %v", err)
	}
}
