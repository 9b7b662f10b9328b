package kept

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

func object1(t testing.TB, host string) *config.Object {
	t.Helper()
	all := config.Decode([]byte("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: prod, labels: {x: y}, resourceVersion: \"12\"}\n"+
		"spec: {hosts: ["+host+"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n"), config.DecodeOptions{File: "dir/a.yaml", Source: "far"}).Objects()
	if len(all) != 1 {
		t.Fatalf("%d objects", len(all))
	}
	return all[0]
}

// What is read is what was saved, origin included, and nobody else can read it.
func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sources", "x.json")
	want := object1(t, "a.example")
	if err := Save(path, State{ID: "far", Revision: 3, Saved: time.Unix(5, 0), Objects: []*config.Object{want}}); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, "far")
	if err != nil || got.Revision != 3 || !got.Saved.Equal(time.Unix(5, 0)) || len(got.Objects) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	o := got.Objects[0]
	if o.Key != want.Key || !o.SameContent(want) || o.Origin.String() != want.Origin.String() || o.Origin.Source != "far" || o.ResourceVersion != want.ResourceVersion {
		t.Errorf("%+v instead of %+v", o, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("permissions %v, %v", info.Mode(), err)
	}
	if _, err := Load(path, "another"); err == nil {
		t.Error("another source's file was read")
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, "far"); err == nil {
		t.Error("half a file was read")
	}
	if err := Forget(path); err != nil {
		t.Error(err)
	}
	if err := Forget(path); err != nil {
		t.Errorf("twice: %v", err)
	}
}

// Changes are passed on at once, and saved soon; the last of them at the end.
func TestKeeper(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	synctest.Test(t, func(t *testing.T) {
		passed := 0
		k := NewKeeper(path, "far", source.SinkFunc(func(source.Batch) { passed++ }), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.Run(ctx, time.Second)
		}()
		// A part of a set is no state to begin with.
		k.Apply(source.Batch{Changes: []source.Change{source.Put(object1(t, "part.example"))}})
		time.Sleep(2 * time.Second)
		if _, err := Load(path, "far"); err == nil {
			t.Error("a part was saved")
		}
		k.Apply(source.Batch{Initial: true, Revision: 1, Changes: []source.Change{source.Put(object1(t, "a.example"))}})
		time.Sleep(2 * time.Second)
		if s, err := Load(path, "far"); err != nil || len(s.Objects) != 1 || s.Revision != 1 {
			t.Errorf("%+v, %v", s, err)
		}
		k.Apply(source.Batch{Revision: 2, Changes: []source.Change{source.Drop(object1(t, "a.example").Key)}})
		cancel()
		<-done
		if s, err := Load(path, "far"); err != nil || len(s.Objects) != 0 || s.Revision != 2 || passed != 3 {
			t.Errorf("%+v, %v, %d passed on", s, err, passed)
		}
	})
}

func FuzzDecode(f *testing.F) {
	path := filepath.Join(f.TempDir(), "x.json")
	if err := Save(path, State{ID: "far", Objects: []*config.Object{object1(f, "a.example")}}); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"id":"far","objects":[{"body":{"kind":"Nope"}},{"body":null}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decode(b, "x.json", "far")
		if err != nil {
			return
		}
		for _, o := range s.Objects {
			if o == nil || o.Spec == nil {
				t.Fatalf("an object without content: %+v", o)
			}
		}
	})
}
