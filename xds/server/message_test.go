package server

import (
	"maps"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/xds"
)

func marshalled(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Requests of both protocols are read as protobuf reads them.
func FuzzRequest(f *testing.F) {
	f.Add(true, marshalled(f, &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "n"}, TypeUrl: xds.ClusterType, ResponseNonce: "x-1",
		ResourceNamesSubscribe: []string{"a", ""}, ResourceNamesUnsubscribe: []string{"b"}, ErrorDetail: &rpcstatus.Status{Code: 3, Message: "no"},
		InitialResourceVersions: map[string]string{"c": "1", "": ""}}))
	f.Add(false, marshalled(f, &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "n"}, TypeUrl: "other", ResponseNonce: "x-1", VersionInfo: "v",
		ResourceNames: []string{"a", "b"}, ErrorDetail: &rpcstatus.Status{}}))
	f.Add(true, []byte{0x12, 0xff})
	f.Add(false, []byte{0x22, 0x01, 0xff})
	f.Fuzz(func(t *testing.T, delta bool, b []byte) {
		got := &message{delta: delta}
		err := got.decode(b)
		if delta {
			var want discoveryv3.DeltaDiscoveryRequest
			if proto.Unmarshal(b, &want) != nil {
				return
			}
			if err != nil || got.TypeURL != want.GetTypeUrl() || got.Nonce != want.GetResponseNonce() || got.Refused != (want.GetErrorDetail() != nil) ||
				!slices.Equal(got.Subscribe, want.GetResourceNamesSubscribe()) || !slices.Equal(got.Unsubscribe, want.GetResourceNamesUnsubscribe()) ||
				!maps.Equal(got.Initial, want.GetInitialResourceVersions()) || !proto.Equal(got.node, want.GetNode()) {
				t.Errorf("%v: %+v instead of %v", err, got, &want)
			}
			return
		}
		var want discoveryv3.DiscoveryRequest
		if proto.Unmarshal(b, &want) != nil {
			return
		}
		if err != nil || got.TypeURL != want.GetTypeUrl() || got.Nonce != want.GetResponseNonce() || got.Refused != (want.GetErrorDetail() != nil) ||
			!slices.Equal(got.Names, want.GetResourceNames()) || !proto.Equal(got.node, want.GetNode()) {
			t.Errorf("%v: %+v instead of %v", err, got, &want)
		}
	})
}

// A state-of-the-world client tells all its names with each answer. They are
// read when they differ from those before, in order or division too, and when
// the request is no answer.
func TestRepeatedNamesAreNotRead(t *testing.T) {
	var told uint64
	read := func(nonce string, names ...string) *message {
		t.Helper()
		m := &message{repeats: func(_ string, digest uint64) bool { return digest == told }}
		if err := m.decode(marshalled(t, &discoveryv3.DiscoveryRequest{TypeUrl: xds.EndpointType, ResponseNonce: nonce, ResourceNames: names})); err != nil {
			t.Fatal(err)
		}
		if m.Repeats == (m.Names != nil) {
			t.Errorf("%q: repeats %v, names %q", names, m.Repeats, m.Names)
		}
		return m
	}
	told = read("1", "a", "bc").Digest
	if m := read("2", "a", "bc"); !m.Repeats || m.named != 2 || m.cost() != 1 {
		t.Errorf("the same names: %+v", m)
	}
	for _, other := range [][]string{{"ab", "c"}, {"bc", "a"}, {"a"}, {"a", "bc", ""}} {
		if read("2", other...).Repeats {
			t.Errorf("%q are taken for the same", other)
		}
	}
	if read("", "a", "bc").Repeats {
		t.Error("a request that is no answer is taken for one")
	}
}
