package cluster_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/cluster"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/stencil"
)

// What the Stencil of one cluster writes for another of its shape is what protobuf would write, byte for byte, so that
// versions agree whatever was made before. Whether two clusters have one shape is the Shape's to say.
func FuzzShape(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed, "a-text")
	}
	f.Add(uint64(3), strings.Repeat("long", 60))
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		text = strings.ToValidUTF8(text, "?")
		stencils := map[cluster.Shape]*stencil.Stencil{}
		mesh := &model.Mesh{TrustDomain: "cluster.local", Config: &meshconfig.MeshConfig{ConnectTimeout: durationpb.New(time.Second)}}
		for i := range uint64(6) {
			// The same choices, and other names every time.
			in := randomInput(rand.New(rand.NewPCG(seed, i%2)), text, mesh)
			rename(rand.New(rand.NewPCG(seed, i)), text, &in)
			shape, ok := in.Shape()
			if !ok {
				continue
			}
			s := stencils[shape]
			if s == nil {
				if s = in.Stencil(); s == nil {
					t.Fatal("no Stencil of a cluster that has a shape")
				}
				stencils[shape] = s
			}
			want, err := proto.MarshalOptions{Deterministic: true}.Marshal(cluster.Outbound(in))
			if err != nil {
				t.Fatal(err)
			}
			head := []byte("before")
			if got := in.Append(head, s); !bytes.Equal(got, append(head, want...)) {
				var a, b clusterv3.Cluster
				if err := proto.Unmarshal(got[len(head):], &a); err != nil {
					t.Fatalf("malformed: %v", err)
				}
				if err := proto.Unmarshal(want, &b); err != nil {
					t.Fatal(err)
				}
				t.Fatalf("%v\nwant %v", &a, &b)
			}
		}
	})
}

// randomInput varies in few things besides names, so that shapes meet.
func randomInput(r *rand.Rand, text string, mesh *model.Mesh) cluster.Input {
	word := func() string { return []string{"", "a", "b.c", text}[r.IntN(4)] }
	some := func() bool { return r.IntN(2) == 0 }
	in := cluster.Input{
		Dialect: dialect.Dialect{Flavor: []model.Flavor{model.StockEnvoy, model.LateenProxy}[r.IntN(2)]}, Mesh: mesh, Gateway: r.IntN(4) == 0,
		Service: &model.Service{
			Hostname: "h" + word(), Name: word(), Namespace: word(), Resolution: []model.Resolution{model.Static, model.Passthrough}[r.IntN(2)],
			MeshExternal: some(),
		},
		Port: &model.Port{Number: []uint32{80, 9000}[r.IntN(2)], Protocol: []model.Protocol{model.HTTP, model.HTTP2, model.TCP, model.Unsupported}[r.IntN(4)]},
		MTLS: some(),
	}
	for range r.IntN(3) {
		in.Identities = append(in.Identities, "spiffe://"+word())
		in.Service.SubjectAltNames = append(in.Service.SubjectAltNames, "spiffe://"+word())
	}
	if some() {
		spec := &networking.DestinationRule{TrafficPolicy: randomPolicy(r, word)}
		in.Subset = []string{"", "v1", "v2"}[r.IntN(3)]
		spec.Subsets = []*networking.Subset{{Name: "v1"}, {Name: "v2", TrafficPolicy: randomPolicy(r, word)}}
		in.Rule = &model.DestinationRule{Config: config.Key{Namespace: "n" + word(), Name: word()}, Spec: spec}
		if some() {
			in.Rule.Origin = config.Origin{Source: "file", Position: config.Position{File: word(), Line: r.IntN(3), Column: 7}}
		}
	}
	return in
}

func rename(r *rand.Rand, text string, in *cluster.Input) {
	word := func() string { return []string{"", "x", "y.z", text + "2"}[r.IntN(4)] }
	in.Service.Hostname, in.Service.Name, in.Service.Namespace = "g"+word(), word(), word()
	in.Identities, in.Service.SubjectAltNames = nil, nil
	for range r.IntN(4) {
		in.Identities = append(in.Identities, "spiffe://"+word())
		in.Service.SubjectAltNames = append(in.Service.SubjectAltNames, word())
	}
	if in.Rule != nil {
		in.Rule.Config.Namespace, in.Rule.Config.Name = "m"+word(), word()
		if in.Rule.Origin.Line > 0 {
			in.Rule.Origin.Line, in.Rule.Origin.File = 1+r.IntN(500), word()
		}
	}
}

func randomPolicy(r *rand.Rand, word func() string) *networking.TrafficPolicy {
	switch r.IntN(6) {
	case 0:
		return nil
	case 1:
		return &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{
			Tcp:  &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: int32(r.IntN(3))},
			Http: &networking.ConnectionPoolSettings_HTTPSettings{IdleTimeout: durationpb.New(time.Minute), MaxRetries: 3},
		}}
	case 2:
		return &networking.TrafficPolicy{OutlierDetection: &networking.OutlierDetection{Consecutive_5XxErrors: wrapperspb.UInt32(5)}}
	case 3:
		return &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_TLSmode(r.IntN(4)), Sni: word()}}
	case 4:
		return &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL, SubjectAltNames: []string{word()}}}
	default:
		return &networking.TrafficPolicy{LoadBalancer: &networking.LoadBalancerSettings{
			LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_SimpleLB(r.IntN(6))},
		}}
	}
}

func BenchmarkOutbound(b *testing.B) {
	in := cluster.Input{
		Dialect: dialect.Dialect{Flavor: model.StockEnvoy}, Mesh: &model.Mesh{TrustDomain: "cluster.local", Config: &meshconfig.MeshConfig{}}, MTLS: true,
		Service:    &model.Service{Hostname: "reviews.default.svc.cluster.local", Name: "reviews", Namespace: "default"},
		Port:       &model.Port{Number: 80, Protocol: model.HTTP},
		Identities: []string{"spiffe://cluster.local/ns/default/sa/reviews"},
	}
	b.Run("bytes", func(b *testing.B) {
		b.ReportAllocs()
		s := in.Stencil()
		var buffer []byte
		for b.Loop() {
			if _, ok := in.Shape(); ok {
				buffer = in.Append(buffer[:0], s)
			}
		}
	})
	b.Run("message", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = proto.MarshalOptions{Deterministic: true}.Marshal(cluster.Outbound(in))
		}
	})
}
