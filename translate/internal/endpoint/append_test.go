package endpoint_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/endpoint"
)

// What is written by hand is what protobuf writes, byte for byte, so that versions agree whoever wrote them.
func FuzzAppend(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, "a text")
	}
	f.Add(uint64(7), strings.Repeat("long", 100))
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		in := randomInput(rand.New(rand.NewPCG(seed, 1)), strings.ToValidUTF8(text, "?"))
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(endpoint.Assignment(in))
		if err != nil {
			t.Fatal(err)
		}
		head := []byte("before")
		got := endpoint.Append(head, in)
		if bytes.Equal(got, append(head, want...)) {
			return
		}
		var a, b endpointv3.ClusterLoadAssignment
		if err := proto.Unmarshal(got[len(head):], &a); err != nil {
			t.Fatalf("malformed: %v", err)
		}
		if err := proto.Unmarshal(want, &b); err != nil {
			t.Fatal(err)
		}
		t.Errorf("%v\nwant %v", &a, &b)
	})
}

func randomInput(r *rand.Rand, text string) endpoint.Input {
	word := func() string { return []string{"", "a", "b", text}[r.IntN(4)] }
	in := endpoint.Input{Cluster: word(), KeepUnready: r.IntN(2) == 0, Set: &model.EndpointSet{}}
	if r.IntN(2) == 0 {
		in.MTLS = func(_ *model.Workload, port uint32) bool { return port%2 == 0 }
	}
	for range r.IntN(12) {
		w := &model.Workload{
			Name: word(), Namespace: word(), CanonicalName: word(), CanonicalRevision: []string{"latest", "v1"}[r.IntN(2)], Cluster: word(),
			Address:  []string{"10.0.0.1", "fd00::1", "unix:///" + text, "host.example"}[r.IntN(4)],
			Locality: model.Locality{Region: word(), Zone: word(), SubZone: word()},
			Weight:   []uint32{0, 1, 128, 1 << 31, 1<<32 - 1}[r.IntN(5)],
			Health:   []model.Health{model.Healthy, model.Unhealthy, model.Draining}[r.IntN(3)],
			Labels:   map[string]string{"version": word()},
		}
		in.Set.Endpoints = append(in.Set.Endpoints, model.Endpoint{PortNumbers: []uint32{[]uint32{0, 1, 80, 65535}[r.IntN(4)]}, Workload: w})
	}
	in.Locality = endpoint.Locality{Client: model.Locality{Region: "a", Zone: "b"}, Failover: r.IntN(2) == 0, Labels: map[string]string{"version": "a"}}
	switch r.IntN(4) {
	case 0:
		in.Locality.Setting = &networking.LocalityLoadBalancerSetting{}
	case 1:
		in.Locality.Setting = &networking.LocalityLoadBalancerSetting{FailoverPriority: []string{"version"}}
	case 2:
		in.Locality.Setting = &networking.LocalityLoadBalancerSetting{Distribute: []*networking.LocalityLoadBalancerSetting_Distribute{
			{From: "a/*", To: map[string]uint32{"a/*": uint32(r.IntN(100)), "b/*": 30}},
		}}
	}
	return in
}

func BenchmarkAppend(b *testing.B) {
	in := endpoint.Input{Cluster: "outbound|80||reviews.default.svc.cluster.local", Set: &model.EndpointSet{}}
	for i := range 10 {
		in.Set.Endpoints = append(in.Set.Endpoints, model.Endpoint{PortNumbers: []uint32{80}, Workload: &model.Workload{
			Name: fmt.Sprint("reviews-", i), Namespace: "default", CanonicalName: "reviews", Address: fmt.Sprint("10.0.0.", i), Weight: 1,
			Locality: model.Locality{Region: "r", Zone: fmt.Sprint("z", i%3)},
		}})
	}
	b.Run("bytes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			endpoint.Append(nil, in)
		}
	})
	b.Run("message", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = proto.MarshalOptions{Deterministic: true}.Marshal(endpoint.Assignment(in))
		}
	})
}
