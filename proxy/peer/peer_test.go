package peer

import (
	"testing"

	"lateen.dev/lateen/telemetry"
)

func TestRoundTrip(t *testing.T) {
	want := telemetry.Peer{Workload: "reviews-v1", Namespace: "default", App: "reviews", Version: "v1", CanonicalName: "reviews", CanonicalRevision: "v1", Cluster: "Kubernetes"}
	self, err := NewSelf("sidecar~1", "reviews-1", want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(self.Metadata)
	if err != nil || got != want {
		t.Errorf("Decode = %+v, %v; want %+v", got, err, want)
	}
}

func TestDecodeRejects(t *testing.T) {
	for _, v := range []string{"***", "////", string(make([]byte, maxMetadata+1))} {
		if _, err := Decode([]byte(v)); err == nil {
			t.Errorf("%.10q was accepted", v)
		}
	}
}

func FuzzDecode(f *testing.F) {
	self, err := NewSelf("id", "name", telemetry.Peer{Workload: "w"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self.Metadata)
	f.Fuzz(func(_ *testing.T, v []byte) {
		// Only that it neither panics nor hangs: any outcome is right.
		_, _ = Decode(v)
	})
}
