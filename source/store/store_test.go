package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/files"
	"lateen.dev/lateen/source/sourcetest"
	"lateen.dev/lateen/source/store"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == child {
		os.Exit(beChild(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

func vs(name string, version int) string {
	return fmt.Sprintf(`# routes of %s
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: [%s]
  http:
  - route: [{destination: {host: reviews, subset: v%d}}]
`, name, name, name, version)
}

func key(name string) config.Key {
	return config.Key{Kind: config.VirtualService, Namespace: "default", Name: name}
}

// fixture is an open store in temporary directories.
type fixture struct {
	*store.Store
	t          *testing.T
	dir, state string
	stop       func()
	rec        *sourcetest.Recorder
}

func open(t *testing.T, dir, state string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Dir: dir, State: state, Now: func() time.Time { return time.Unix(1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T) *fixture {
	f := &fixture{t: t, dir: filepath.Join(t.TempDir(), "config"), state: filepath.Join(t.TempDir(), "state")}
	f.restart()
	t.Cleanup(func() { f.close() })
	return f
}

func (f *fixture) restart() {
	f.t.Helper()
	f.Store = open(f.t, f.dir, f.state)
	f.rec, f.stop = sourcetest.Start(f.t, f.Store)
	f.rec.Until("the first batch came", func(map[config.Key]*config.Object) bool { return true })
}

func (f *fixture) close() {
	f.t.Helper()
	f.stop()
	if err := f.Store.Close(); err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) write(path, data string) {
	f.t.Helper()
	path = filepath.Join(f.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	// Beside and renamed: a loaded machine may take longer than a burst between emptying a file and writing it, and what
	// was in it is deleted then.
	beside := filepath.Join(filepath.Dir(path), ".new")
	if err := errors.Join(os.WriteFile(beside, []byte(data), 0o644), os.Rename(beside, path)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) read(path string) string {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, path))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

// apply applies texts and returns what was done, as "name action" lines.
func (f *fixture) apply(texts ...string) string {
	f.t.Helper()
	r := api.ApplyRequest{}
	for i, text := range texts {
		r.Files = append(r.Files, api.File{Name: fmt.Sprint("in", i, ".yaml"), Data: text})
	}
	resp, err := f.Apply(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.rec.Revision() < resp.Revision {
		f.t.Errorf("answered revision %d, but the sink has %d", resp.Revision, f.rec.Revision())
	}
	return actions(resp.Results)
}

func actions(results []api.Result) string {
	var lines []string
	for _, r := range results {
		lines = append(lines, r.Object.Name+" "+string(r.Action))
	}
	return strings.Join(lines, ", ")
}

func (f *fixture) expect(what, got, want string) {
	f.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestConformance(t *testing.T) {
	t.Run("edited on disk", func(t *testing.T) { sourcetest.Run(t, editedFixture) })
	t.Run("applied", func(t *testing.T) { sourcetest.Run(t, appliedFixture) })
}

// opened is a store that may be opened again, closed when the test ends.
func opened(t *testing.T, dir, state string) (now func() *store.Store, again func() source.Source) {
	s := open(t, dir, state)
	shut := func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { shut() })
	return func() *store.Store { return s }, func() source.Source {
		shut()
		s = open(t, dir, state)
		return s
	}
}

// editedFixture: people edit the files.
func editedFixture(t *testing.T) sourcetest.Fixture {
	dir := filepath.Join(t.TempDir(), "config")
	now, again := opened(t, dir, t.TempDir())
	at := dir
	move := func(to string) {
		if err := os.Rename(at, to); err != nil {
			t.Fatal(err)
		}
		at = to
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(at, name+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sourcetest.Fixture{
		Source: now(), Kind: config.VirtualService, Restart: again,
		Put: func(name string, version int) { write(name, vs(name, version)) },
		Delete: func(name string) {
			if err := os.Remove(filepath.Join(at, name+".yaml")); err != nil {
				t.Fatal(err)
			}
		},
		Break: func(name string) { write(name, strings.Replace(vs(name, 1), "hosts", "host", 1)) },
		Fail:  func() { move(dir + ".away") }, Mend: func() { move(dir) },
	}
}

// appliedFixture: they use the local API while the store runs, and edit while it doesn't.
func appliedFixture(t *testing.T) sourcetest.Fixture {
	dir := t.TempDir()
	now, again := opened(t, dir, t.TempDir())
	path := func(name string) string { return filepath.Join(dir, "default", "virtualservices."+name+".yaml") }
	running := func() context.Context { // Edit waits for a Run that may not have begun
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	stopped := func(err error) bool {
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, files.ErrStopped)
	}
	return sourcetest.Fixture{
		Source: now(), Kind: config.VirtualService, Restart: again,
		Put: func(name string, version int) {
			_, err := now().Apply(running(), api.ApplyRequest{Files: []api.File{{Name: name, Data: vs(name, version)}}})
			if stopped(err) {
				err = errors.Join(os.MkdirAll(filepath.Dir(path(name)), 0o755), os.WriteFile(path(name), []byte(vs(name, version)), 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		Delete: func(name string) {
			_, err := now().Delete(running(), api.DeleteRequest{Objects: []config.Ref{key(name).Ref()}})
			if stopped(err) {
				err = os.Remove(path(name))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestApply(t *testing.T) {
	f := start(t)
	f.expect("first", f.apply(vs("a", 1)+"---\n"+vs("b", 1)), "a created, b created")
	f.expect("file", f.read("default/virtualservices.a.yaml"), vs("a", 1))
	f.expect("again", f.apply(vs("a", 1), vs("b", 2)), "a unchanged, b configured")
	f.expect("file", f.read("default/virtualservices.b.yaml"), vs("b", 2))
	f.expect("ignored", f.apply("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"), "d ignored")
	list := "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n- {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}\n"
	f.expect("list", f.apply(list), "n created, s created")
	f.expect("file", f.read("cluster/namespaces.n.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: n\nspec: {}\n")

	resp, err := f.Apply(t.Context(), api.ApplyRequest{Namespace: "other", Files: []api.File{{Data: vs("a", 1)}}})
	if err != nil || actions(resp.Results) != "a created" {
		t.Error(resp, err)
	}
	f.rec.Until("the namespace was kept", func(live map[config.Key]*config.Object) bool {
		return live[config.Key{Kind: config.VirtualService, Namespace: "other", Name: "a"}] != nil
	})
	if !strings.Contains(f.read("other/virtualservices.a.yaml"), "namespace: other") {
		t.Error(f.read("other/virtualservices.a.yaml"))
	}
}

// TestApplyInPlace: an object that lives in a user's file stays there, and the
// file's other bytes stay as they are.
func TestApplyInPlace(t *testing.T) {
	f := start(t)
	head, tail := "# my file\n---\n"+vs("a", 1)+"--- # second\n", "---\r\n"+vs("c", 1)
	f.write("mine/all.yaml", head+vs("b", 1)+tail)
	f.rec.Until("the file is read", func(live map[config.Key]*config.Object) bool { return len(live) == 3 })
	f.expect("b", f.apply(vs("b", 2)), "b configured")
	f.expect("file", f.read("mine/all.yaml"), head+vs("b", 2)+tail)

	f.write("mine/list.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: m}}\n")
	f.rec.Until("the list is read", func(live map[config.Key]*config.Object) bool { return len(live) == 5 })
	ns := "apiVersion: v1\nkind: Namespace\nmetadata: {name: n, labels: {a: b}}\n"
	f.expect("n", f.apply(ns), "n configured")
	f.expect("list", f.read("mine/list.yaml"), ns+"---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: m\nspec: {}\n")

	f.write("mine/x.json", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "j"}}`)
	f.rec.Until("the JSON is read", func(live map[config.Key]*config.Object) bool { return len(live) == 6 })
	f.apply(strings.ReplaceAll(ns, "name: n", "name: j"))
	if !json.Valid([]byte(f.read("mine/x.json"))) {
		t.Error(f.read("mine/x.json"))
	}
}

// TestApplyMends: applying over a broken document replaces it, though the
// object applied is what is live.
func TestApplyMends(t *testing.T) {
	f := start(t)
	f.apply(vs("a", 1))
	f.write("default/virtualservices.a.yaml", strings.Replace(vs("a", 1), "hosts", "host", 1))
	for !f.Problems().HasErrors() {
		f.apply(vs("other", 1)) // gives the store time to see the change
	}
	f.expect("a", f.apply(vs("a", 1)), "a configured")
	f.expect("file", f.read("default/virtualservices.a.yaml"), vs("a", 1))
	if f.Problems().HasErrors() {
		t.Error(f.Problems())
	}
}

func TestApplyRejects(t *testing.T) {
	f := start(t)
	bad := strings.Replace(vs("b", 1), "route:", "timeout: 5\n    route:", 1)
	_, err := f.Apply(t.Context(), api.ApplyRequest{Files: []api.File{{Name: "in.yaml", Data: vs("a", 1) + "---\n" + bad}}})
	var e *api.Error
	if !errors.As(err, &e) || e.Status != 422 || len(e.Problems) != 1 {
		t.Fatalf("error %v", err)
	}
	want := `Error [IST0106] (VirtualService default/b in.yaml:17:14 spec.http[0].timeout) "5" is no duration. A unit is missing: write 5s for seconds`
	f.expect("problem", e.Problems[0].String(), want)
	if len(f.rec.Live()) != 0 {
		t.Error("the good object was applied nevertheless")
	}
	_, err = f.Apply(t.Context(), api.ApplyRequest{Files: []api.File{{Name: "1", Data: vs("a", 1)}, {Name: "2", Data: vs("a", 2)}}})
	if !errors.As(err, &e) || e.Problems[0].Code != config.CodeDuplicateObject.ID {
		t.Errorf("twice: %v", err)
	}
}

func TestDryRunAndWarnings(t *testing.T) {
	f := start(t)
	f.apply(vs("a", 1))
	resp, err := f.Apply(t.Context(), api.ApplyRequest{DryRun: true, Files: []api.File{{Data: vs("a", 2) + "---\n" + vs("b", 1)}}})
	if err != nil || actions(resp.Results) != "a configured, b created" || len(f.rec.Live()) != 1 {
		t.Error(actions(resp.Results), err, f.rec.Live())
	}
	codes := map[string]bool{}
	for _, p := range resp.Problems {
		codes[p.Code] = true
		if p.Severity == config.Error {
			t.Errorf("a reference that leads nowhere is no error here: %s", p)
		}
	}
	if !codes["IST0101"] {
		t.Errorf("problems %v", resp.Problems)
	}
}

func TestDelete(t *testing.T) {
	f := start(t)
	f.apply(vs("a", 1))
	f.write("more.yaml", vs("b", 2))
	f.rec.Until("the first file is read", func(live map[config.Key]*config.Object) bool { return live[key("b")] != nil })
	f.write("mine.yaml", vs("b", 1)+"---\n"+vs("c", 1)+"---\n"+vs("d", 1))
	f.rec.Until("the other file is read", func(live map[config.Key]*config.Object) bool { return len(live) == 4 })
	refs := []config.Ref{{Kind: "vs", Name: "a"}, {Kind: "VirtualService", Namespace: "default", Name: "b"}, {Kind: "virtualservices", Name: "none"}}
	resp, err := f.Delete(t.Context(), api.DeleteRequest{Objects: refs, Files: []api.File{{Data: vs("d", 5)}}})
	if err != nil {
		t.Fatal(err)
	}
	f.expect("results", actions(resp.Results), "a deleted, b deleted, none not found, d deleted")
	f.expect("file", f.read("mine.yaml"), "---\n"+vs("c", 1))
	if live := f.rec.Live(); len(live) != 1 || live[key("c")] == nil {
		t.Errorf("live %v", live)
	}
	for _, path := range []string{"default/virtualservices.a.yaml", "more.yaml"} {
		if _, err := os.Stat(filepath.Join(f.dir, path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSecondOwner(t *testing.T) {
	f := start(t)
	_, err := store.Open(store.Options{Dir: f.dir, State: f.state})
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("error %v", err)
	}
}

// entries are the change log in short.
func (f *fixture) entries(since uint64, limit int) string {
	f.t.Helper()
	resp, err := f.Changes(since, limit)
	if err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for _, e := range resp.Entries {
		lines = append(lines, fmt.Sprintf("%d %s %s %s", e.Revision, e.Key.Name, e.Action, e.Via))
		if (e.Body == nil) != (e.Action == api.Deleted) {
			f.t.Errorf("entry %d has body %s", e.Revision, e.Body)
		}
	}
	return strings.Join(lines, ", ")
}

// logged waits until the log has as many entries as want.
func (f *fixture) logged(want string) {
	f.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(sourcetest.Wait)
	for strings.Count(f.entries(0, 100), ",") < strings.Count(want, ",") {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("the log is %s", f.entries(0, 100))
		}
	}
}

func TestChangeLog(t *testing.T) {
	f := start(t)
	f.apply(vs("a", 1))
	f.apply(vs("a", 1))
	f.apply(vs("a", 2))
	f.write("b.yaml", vs("b", 1))
	f.rec.Until("b is live", func(live map[config.Key]*config.Object) bool { return live[key("b")] != nil })
	f.write("b.yaml", "# moved\n"+vs("b", 1))
	f.rec.Until("b moved", func(live map[config.Key]*config.Object) bool { return live[key("b")].Origin.Line == 3 })
	before := "1 a created apply, 2 a configured apply, 3 b created file"
	f.logged(before)
	f.expect("log", f.entries(0, 100), before)

	// While nobody runs, one object changes, one goes, one comes; and the last
	// entry was being written when the power went.
	f.close()
	f.write("b.yaml", vs("b", 2)+"---\n"+vs("c", 1))
	if err := os.Remove(filepath.Join(f.dir, "default/virtualservices.a.yaml")); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(f.state, "changes.jsonl")
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, append(data, `{"revision":99,"acti`...), 0o600); err != nil {
		t.Fatal(err)
	}
	f.restart()
	after := before + ", 4 a deleted file, 4 b configured file, 4 c created file"
	f.logged(after) // it is written after the sink has been told
	f.expect("log after restart", f.entries(0, 100), after)
	f.expect("log in part", f.entries(1, 2), "2 a configured apply, 3 b created file")
	f.expect("revision", fmt.Sprint(f.rec.Revision()), "4")

	f.close()
	f.restart()
	f.expect("log after another restart", f.entries(3, 100), "4 a deleted file, 4 b configured file, 4 c created file")
	f.expect("delete and create", f.apply(vs("a", 1)), "a created")
	f.expect("log", f.entries(4, 100), "6 a created apply")
}

// TestBrokenWhileAway: what was live before a restart is live after it, though
// its document was broken meanwhile.
func TestBrokenWhileAway(t *testing.T) {
	for name, broken := range map[string]string{
		"invalid":    strings.Replace(vs("a", 2), "hosts", "host", 1),
		"unreadable": "{{{",
		"binary":     "\xff",
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			f.apply(vs("a", 1), vs("other", 1))
			f.apply(vs("a", 2))
			f.close()
			f.write("default/virtualservices.a.yaml", broken)
			f.restart()
			o := f.rec.Live()[key("a")]
			if o == nil || !strings.Contains(string(must(o.YAML())), "subset: v2") || o.Origin.File != filepath.Join(f.dir, "default/virtualservices.a.yaml") {
				t.Fatalf("live: %v", f.rec.Live())
			}
			if ps := f.Problems(); len(ps) != 1 || ps[0].Severity != config.Error {
				t.Errorf("problems %v", ps)
			}
			if name == "binary" { // nothing can be added to it
				_, err := f.Apply(t.Context(), api.ApplyRequest{Files: []api.File{{Data: vs("a", 3)}}})
				if err == nil || !strings.Contains(err.Error(), "mend or remove the file first") {
					t.Errorf("apply: %v", err)
				}
				return
			}
			f.expect("mended", f.apply(vs("a", 3)), "a configured")
			f.expect("deleted", f.delete("a"), "a deleted")
			f.write("default/virtualservices.a.yaml", broken)
			f.close()
			f.restart()
			if f.rec.Live()[key("a")] != nil {
				t.Error("an object that was deleted is back")
			}
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func (f *fixture) delete(name string) string {
	f.t.Helper()
	resp, err := f.Delete(f.t.Context(), api.DeleteRequest{Objects: []config.Ref{{Kind: "vs", Name: name}}})
	if err != nil {
		f.t.Fatal(err)
	}
	return actions(resp.Results)
}

func TestConcurrentApplies(t *testing.T) {
	f := start(t)
	done := make(chan error)
	for i := range 8 {
		go func() {
			var err error
			for j := range 5 {
				_, aerr := f.Apply(context.Background(), api.ApplyRequest{Files: []api.File{{Data: vs("shared", j*8+i) + "---\n" + vs(fmt.Sprint("own", i), j)}}})
				err = errors.Join(err, aerr)
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(f.rec.Live()) != 9 || f.Problems().HasErrors() {
		t.Error(f.rec.Live(), f.Problems())
	}
}
