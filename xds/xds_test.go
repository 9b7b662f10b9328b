package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestResourceVersionIsItsContent(t *testing.T) {
	message := func(reverse bool) *structpb.Struct {
		s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for i := range 50 {
			if reverse {
				i = 49 - i
			}
			s.Fields[fmt.Sprint(i)] = structpb.NewNumberValue(float64(i))
		}
		return s
	}
	a, err := NewResource("a", message(false))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		b, err := NewResource("b", message(true))
		if err != nil {
			t.Fatal(err)
		}
		if a.Version != b.Version {
			t.Fatalf("equal content has versions %s and %s", a.Version, b.Version)
		}
	}
	if a.TypeURL != "type.googleapis.com/google.protobuf.Struct" || a.Body().TypeUrl != a.TypeURL {
		t.Errorf("type URL %q", a.TypeURL)
	}
	c, err := NewResource("a", structpb.NewBoolValue(true))
	if err != nil || c.Version == a.Version {
		t.Errorf("other content has the same version, %v", err)
	}
}

func stub(name, version string) *Resource {
	return Received(name, ClusterType, version, &anypb.Any{})
}

func describe(s *Set) string {
	var out []string
	for r := range s.All() {
		out = append(out, r.Name+r.Version)
	}
	return strings.Join(out, " ")
}

func TestSet(t *testing.T) {
	s := NewSet(ClusterType, []*Resource{stub("c", "1"), stub("a", "1"), stub("b", "1"), stub("a", "2")})
	if got := describe(s); got != "a1 b1 c1" {
		t.Errorf("set is %s", got)
	}
	if s.Get("b") == nil || s.Get("x") != nil || s.Len() != 3 {
		t.Error("Get or Len is wrong")
	}
	next := s.With([]*Resource{stub("d", "1"), stub("b", "2"), stub("0", "1")}, []string{"a", "d", "zzz"})
	if got := describe(next); got != "01 b2 c1 d1" {
		t.Errorf("changed set is %s", got)
	}
	if got := describe(s); got != "a1 b1 c1" {
		t.Errorf("the old set became %s", got)
	}
	if next.Version() == s.Version() || s.Version() != NewSet(ClusterType, slices.Collect(s.All())).Version() {
		t.Error("versions do not follow the content")
	}
	var none *Set
	if none.Len() != 0 || none.Get("a") != nil || none.Version() != NewSet(ClusterType, nil).Version() || describe(none) != "" {
		t.Error("the nil set is not empty")
	}
	if got := describe(none.With([]*Resource{stub("a", "1")}, nil)); got != "a1" {
		t.Errorf("nil with a is %s", got)
	}
}

// TestDiff compares the difference with a plain computation, for random sets.
func TestDiff(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func() *Set {
		var list []*Resource
		for i := range 20 {
			if rnd.IntN(2) == 0 {
				list = append(list, stub(fmt.Sprintf("r%02d", i), fmt.Sprint(rnd.IntN(3))))
			}
		}
		if rnd.IntN(10) == 0 {
			return nil
		}
		return NewSet(ClusterType, list)
	}
	old := random()
	for range 2000 {
		now := random()
		d := now.DiffFrom(old)
		if now != nil && old != nil && now != old && now.DiffFrom(old) != d {
			t.Fatal("an equal question was computed again")
		}
		var changed, removed []string
		for r := range now.All() {
			if o := old.Get(r.Name); o == nil || o.Version != r.Version {
				changed = append(changed, r.Name)
			}
		}
		for r := range old.All() {
			if now.Get(r.Name) == nil {
				removed = append(removed, r.Name)
			}
		}
		var got []string
		for _, r := range d.Changed {
			got = append(got, r.Name)
		}
		if !slices.Equal(got, changed) || !slices.Equal(d.Removed, removed) {
			t.Fatalf("from %s to %s: %v and %v", describe(old), describe(now), got, d.Removed)
		}
		old = now
	}
}

// A set must not keep the sets alive that it replaced.
func TestDiffDoesNotKeepTheOldSet(t *testing.T) {
	now := NewSet(ClusterType, []*Resource{stub("a", "2")})
	gone := make(chan struct{})
	func() {
		old := NewSet(ClusterType, []*Resource{stub("a", "1")})
		runtime.AddCleanup(old, func(c chan struct{}) { close(c) }, gone)
		now.DiffFrom(old)
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-gone:
			runtime.KeepAlive(now)
			return
		default:
		}
	}
	t.Error("the old set is still alive")
}

func TestOrder(t *testing.T) {
	types := []string{NameTableType, RouteType, "type.googleapis.com/x.Y", SecretType, ListenerType, EndpointType, ClusterType}
	slices.SortFunc(types, CompareTypes)
	var got []string
	for _, url := range types {
		got = append(got, ShortType(url))
	}
	if want := []string{"CDS", "EDS", "LDS", "RDS", "SDS", "NDS", "Y"}; !slices.Equal(got, want) {
		t.Errorf("order %v", got)
	}
}

func TestDecodeNode(t *testing.T) {
	metadata, err := structpb.NewStruct(map[string]any{
		"NAMESPACE": "default", "SERVICE_ACCOUNT": "reviews", "DNS_CAPTURE": "true", "ENABLE_HBONE": true,
		"LABELS": map[string]any{"app": "reviews"}, "INSTANCE_IPS": "10.0.0.1,fd00::1", "ISTIO_VERSION": "1.31.0", "CUSTOM": 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := DecodeNode(&corev3.Node{
		Id: "sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local", Cluster: "reviews.default", Metadata: metadata,
		Locality: &corev3.Locality{Region: "r", Zone: "z"}, UserAgentName: "envoy",
	})
	if err != nil {
		t.Fatal(err)
	}
	if n.Type != SidecarNode || n.Workload != "reviews-v1.default" || n.WorkloadNamespace() != "default" ||
		!slices.Equal(n.IPs, []netip.Addr{netip.MustParseAddr("10.0.0.1")}) || n.Domain != "default.svc.cluster.local" {
		t.Errorf("id gives %+v", n)
	}
	m := n.Metadata
	if m.Namespace != "default" || m.ServiceAccount != "reviews" || !m.DNSCapture || !m.EnableHBONE || m.Labels["app"] != "reviews" || len(m.InstanceIPs) != 2 {
		t.Errorf("metadata give %+v", m)
	}
	if n.Meta("CUSTOM") != "7" || n.Meta("NONE") != "" || n.Meta("LABELS") != "" || n.UserAgent != "envoy" {
		t.Errorf("Meta gives %q, agent %q", n.Meta("CUSTOM"), n.UserAgent)
	}
	if other, err := DecodeNode(&corev3.Node{Id: "my-envoy"}); err != nil || other.Type != "" || other.WorkloadNamespace() != "" {
		t.Errorf("a foreign id gives %+v, %v", other, err)
	}
	for _, bad := range []*corev3.Node{nil, {}, {Id: strings.Repeat("x", 2000)}} {
		if _, err := DecodeNode(bad); err == nil {
			t.Errorf("accepted %.50v", bad)
		}
	}
}

func TestNodeSurvivesTheWire(t *testing.T) {
	n := &Node{
		Cluster: "reviews.default", Locality: Locality{Region: "r", Zone: "z", SubZone: "s"},
		Type: SidecarNode, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Workload: "reviews-v1.default", Domain: "default.svc.cluster.local",
		UserAgent: "lateen 1.0",
		Metadata: Metadata{
			Namespace: "default", ServiceAccount: "reviews", WorkloadName: "reviews-v1", Name: "n", Owner: "o", NodeName: "m",
			ClusterID: "c", Network: "net", MeshID: "mesh", ProxyVersion: "1.31.0", Generator: "g", InterceptionMode: "NONE",
			AutoRegisterGroup: "group", DNSCapture: true, DNSAutoAllocate: true, EnableHBONE: true,
			InstanceIPs: []string{"10.0.0.1", "fd00::1"}, Labels: map[string]string{"app": "reviews"}, Annotations: map[string]string{"a": "b"},
		},
	}
	n.SetMeta("CUSTOM", "7")
	got, err := DecodeNode(n.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if got.Meta("CUSTOM") != "7" || got.ID != "sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local" {
		t.Errorf("id %q, custom %q", got.ID, got.Meta("CUSTOM"))
	}
	got.ID, got.Raw, n.Raw = "", nil, nil
	if !reflect.DeepEqual(got, n) {
		t.Errorf("became %+v", got)
	}
	if got := (&Node{ID: "my-envoy"}).Encode(); got.GetId() != "my-envoy" {
		t.Errorf("id %q", got.GetId())
	}
}

func FuzzParseNodeID(f *testing.F) {
	f.Add("sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local")
	f.Add("router~fd00::1,10.0.0.1~a.b~c")
	f.Add("ztunnel~~~")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseNodeID(s)
		if err != nil {
			return
		}
		again, err := ParseNodeID(id.String())
		if err != nil || again.Type != id.Type || again.Workload != id.Workload || again.Domain != id.Domain || !slices.Equal(again.IPs, id.IPs) {
			t.Errorf("%q gives %+v, which gives %+v, %v", s, id, again, err)
		}
	})
}

// With gives what a set made from scratch has, whatever was put and removed.
func TestWithEqualsFromScratch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	name := func() string { return string(rune('a' + random.IntN(8))) }
	for range 2000 {
		want := map[string]*Resource{}
		var start, put []*Resource
		var removed []string
		for range random.IntN(6) {
			r := stub(name(), "1")
			start = append(start, r)
		}
		set := NewSet(ClusterType, start)
		for r := range set.All() {
			want[r.Name] = r
		}
		for range random.IntN(4) {
			removed = append(removed, name())
			delete(want, removed[len(removed)-1])
		}
		for range random.IntN(4) {
			put = append(put, stub(name(), "2"))
		}
		for _, r := range slices.Backward(put) { // of two with one name, the first counts
			want[r.Name] = r
		}
		got := set.With(put, removed)
		if scratch := NewSet(ClusterType, slices.Collect(maps.Values(want))); !slices.Equal(slices.Collect(got.All()), slices.Collect(scratch.All())) {
			t.Fatalf("%s with %v without %v: %s, want %s", describe(set), put, removed, describe(got), describe(scratch))
		}
	}
}

// A resource in pieces is its lead and pieces, and tells each of them by its
// version.
func TestJoin(t *testing.T) {
	shared := NewPiece([]byte("shared"))
	join := func(lead string, pieces ...*Piece) *Resource { return Join("n", RouteType, []byte(lead), pieces) }
	r := join("lead-", shared, NewPiece([]byte("-own")))
	if got := string(r.Body().GetValue()); got != "lead-shared-own" || r.Body().GetTypeUrl() != RouteType {
		t.Errorf("body %q of type %s", got, r.Body().GetTypeUrl())
	}
	if whole := Assemble("n", RouteType, []byte("lead-shared-own")); whole.Size() != r.Size() {
		t.Errorf("size %d, want %d", r.Size(), whole.Size())
	}
	if again := join("lead-", NewPiece([]byte("shared")), NewPiece([]byte("-own"))); again.Version != r.Version {
		t.Errorf("equal parts have versions %s and %s", again.Version, r.Version)
	}
	for _, other := range []*Resource{
		join("lead-", shared, NewPiece([]byte("-Own"))), join("lead-", NewPiece([]byte("-own")), shared), join("lead", shared, NewPiece([]byte("-own"))),
		join("lead-", shared),
	} {
		if other.Version == r.Version {
			t.Errorf("%q and %q have one version", other.Body().GetValue(), r.Body().GetValue())
		}
	}
}
