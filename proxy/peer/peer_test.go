package peer

import (
	"errors"
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

func TestPreamble(t *testing.T) {
	want := telemetry.Peer{Workload: "db", Namespace: "default", App: "db", Version: "v2", CanonicalName: "db", CanonicalRevision: "v2"}
	self, err := NewSelf("sidecar~1", "db-1", want)
	if err != nil {
		t.Fatal(err)
	}
	whole := append(append([]byte(nil), self.Preamble...), "payload"...)
	for n := range self.Preamble {
		if _, got, err := ParsePreamble(whole[:n]); got != 0 || err != nil {
			t.Fatalf("%d bytes: %d, %v; want to be asked for more", n, got, err)
		}
	}
	got, n, err := ParsePreamble(whole)
	if err != nil || n != len(self.Preamble) || got != want {
		t.Errorf("%+v, %d, %v", got, n, err)
	}
	if _, _, err := ParsePreamble([]byte("GET /")); !errors.Is(err, ErrNoPreamble) {
		t.Errorf("other bytes: %v", err)
	}
}

func FuzzParsePreamble(f *testing.F) {
	self, err := NewSelf("id", "name", telemetry.Peer{Workload: "w"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self.Preamble)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, n, _ := ParsePreamble(b); n > len(b) {
			t.Errorf("%d of %d bytes", n, len(b))
		}
	})
}
