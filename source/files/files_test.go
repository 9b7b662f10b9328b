package files_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/files"
	"lateen.dev/lateen/source/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t testing.TB, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
		dir := filepath.Join(t.TempDir(), "config")
		at := dir
		path := func(name string) string { return filepath.Join(at, name+".yaml") }
		move := func(to string) {
			if err := os.Rename(at, to); err != nil {
				t.Fatal(err)
			}
			at = to
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return sourcetest.Fixture{
			Source: files.New(files.Options{Root: dir}), Kind: config.VirtualService,
			Restart: func() source.Source { return files.New(files.Options{Root: dir}) },
			Fail:    func() { move(dir + ".away") }, Mend: func() { move(dir) },
			Put:    func(name string, version int) { write(t, path(name), vs(name, version)) },
			Delete: func(name string) { remove(t, path(name)) },
			Break:  func(name string) { write(t, path(name), strings.Replace(vs(name, 1), "route", "rout", 1)) },
		}
	})
}

// subset is what the live VirtualService leads to, "" if there is none.
func subset(live map[config.Key]*config.Object, name string) string {
	o := live[config.Key{Kind: config.VirtualService, Namespace: "default", Name: name}]
	if o == nil {
		return ""
	}
	y, err := o.YAML()
	if err != nil {
		return err.Error()
	}
	_, rest, _ := strings.Cut(string(y), "subset: ")
	v, _, _ := strings.Cut(rest, "\n")
	return v
}

type live = map[config.Key]*config.Object

// TestSavingHabits changes one file in the ways that editors do, and demands
// that the object never vanishes in between.
func TestSavingHabits(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, vs("a", 0))
	r, _ := sourcetest.Start(t, files.New(files.Options{Root: dir}))
	r.Until("it is there", func(l live) bool { return subset(l, "a") == "v0" })
	generation := int64(1)
	for i, save := range []func(data string){
		func(data string) { write(t, path, data) },
		func(data string) { // write beside and rename
			write(t, path+".tmp", data)
			if err := os.Rename(path+".tmp", path); err != nil {
				t.Fatal(err)
			}
		},
		func(data string) { // vim: the old one becomes a backup, a new one is written
			if err := os.Rename(path, path+"~"); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, ".a.yaml.swp"), "x")
			write(t, path, data)
			remove(t, path+"~")
		},
		func(data string) { // truncate, then write in pieces
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			half := len(data) / 2
			_, err1 := f.WriteString(data[:half])
			_, err2 := f.WriteString(data[half:])
			if err := errors.Join(err1, err2, f.Close()); err != nil {
				t.Fatal(err)
			}
		},
		func(data string) { // remove, then write
			remove(t, path)
			write(t, path, data)
		},
	} {
		save(vs("a", i+1))
		r.Until(fmt.Sprint("save ", i, " is live"), func(l live) bool { return subset(l, "a") == fmt.Sprint("v", i+1) })
		generation++
		o := r.Live()[config.Key{Kind: config.VirtualService, Namespace: "default", Name: "a"}]
		if o.Generation != generation {
			t.Errorf("save %d: generation %d, want %d: it was gone or broken in between", i, o.Generation, generation)
		}
	}
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	r, _ := sourcetest.Start(t, files.New(files.Options{Root: dir}))
	for i := range 10 {
		write(t, filepath.Join(dir, "new", fmt.Sprint("deep", i), "a.yaml"), vs(fmt.Sprint("a", i), 1))
	}
	r.Until("new directories are read", func(l live) bool { return len(l) == 10 })
	write(t, filepath.Join(dir, "new", "deep3", "a.yaml"), vs("a3", 2))
	r.Until("a file in a new directory is watched", func(l live) bool { return subset(l, "a3") == "v2" })

	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "renamed")); err != nil {
		t.Fatal(err)
	}
	r.Until("a renamed directory keeps its objects", func(l live) bool {
		for _, o := range l {
			if !strings.Contains(o.Origin.File, "renamed") {
				return false
			}
		}
		return len(l) == 10
	})
	write(t, filepath.Join(dir, "renamed", "deep3", "a.yaml"), vs("a3", 3))
	r.Until("the renamed directory is watched", func(l live) bool { return subset(l, "a3") == "v3" })
	remove(t, filepath.Join(dir, "renamed"))
	r.Until("it is empty", func(l live) bool { return len(l) == 0 })
}

// TestSymbolicLinks has the layout of a mounted ConfigMap: a link to a hidden
// directory is swapped.
func TestSymbolicLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	link := func(target, path string) {
		t.Helper()
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "..1", "a.yaml"), vs("a", 1))
	write(t, filepath.Join(dir, "..2", "a.yaml"), vs("a", 2))
	write(t, filepath.Join(outside, "b.yaml"), vs("b", 1))
	link("..1", filepath.Join(dir, "..data"))
	link("..data/a.yaml", filepath.Join(dir, "a.yaml"))
	link(filepath.Join(outside, "b.yaml"), filepath.Join(dir, "b.yaml"))
	link(".", filepath.Join(dir, "circle"))
	s := files.New(files.Options{Root: dir})
	r, _ := sourcetest.Start(t, s)
	r.Until("the link is followed", func(l live) bool { return subset(l, "a") == "v1" && len(l) == 1 })
	if ps := s.Problems(); len(ps) != 1 || ps[0].Position.File != filepath.Join(dir, "b.yaml") {
		t.Errorf("problems %v", ps)
	}
	link("..2", filepath.Join(dir, "..new"))
	if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	r.Until("the swapped link is followed", func(l live) bool { return subset(l, "a") == "v2" })
}

func TestRootComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	write(t, filepath.Join(dir, "a.yaml"), vs("a", 1))
	s := files.New(files.Options{Root: dir})
	r, _ := sourcetest.Start(t, s)
	r.Until("it is there", func(l live) bool { return len(l) == 1 })
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	until(t, "the missing directory is a problem", func() bool { return s.Problems().HasErrors() })
	if len(r.Live()) != 1 {
		t.Error("the objects went with the directory")
	}
	write(t, filepath.Join(dir, "a.yaml"), vs("a", 2))
	r.Until("the new directory is read", func(l live) bool { return subset(l, "a") == "v2" })
	write(t, filepath.Join(dir, "a.yaml"), vs("a", 3))
	r.Until("the new directory is watched", func(l live) bool { return subset(l, "a") == "v3" })
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(sourcetest.Wait)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestMissingRoot(t *testing.T) {
	s := files.New(files.Options{Root: filepath.Join(t.TempDir(), "nothing")})
	if err := s.Run(context.Background(), sourcetest.NewRecorder(t)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Run: %v", err)
	}
	if _, err := s.Edit(context.Background(), "apply", nil); !errors.Is(err, files.ErrStopped) {
		t.Errorf("Edit: %v", err)
	}
}

func TestEdit(t *testing.T) {
	dir := t.TempDir()
	s := files.New(files.Options{Root: dir, Revision: 41})
	r, stop := sourcetest.Start(t, s)
	path := filepath.Join(dir, "a.yaml")
	revision, err := s.Edit(context.Background(), "apply", func(*files.Tree) ([]files.Content, error) {
		write(t, path, vs("a", 1))
		return []files.Content{text(path, vs("a", 1))}, nil
	})
	if err != nil || revision != 42 || r.Revision() != 42 || subset(r.Live(), "a") != "v1" {
		t.Errorf("revision %d, recorder's %d, live %v, error %v", revision, r.Revision(), r.Live(), err)
	}
	stop()
	if _, err := s.Edit(context.Background(), "apply", nil); !errors.Is(err, files.ErrStopped) {
		t.Errorf("Edit after the end: %v", err)
	}
}

// BenchmarkSave is the time from saving one of 2000 files to its being live.
func BenchmarkSave(b *testing.B) {
	dir := b.TempDir()
	for i := range 2000 {
		write(b, filepath.Join(dir, fmt.Sprint("d", i%20), fmt.Sprint(i, ".yaml")), vs(fmt.Sprint("x", i), 1))
	}
	r, _ := sourcetest.Start(b, files.New(files.Options{Root: dir}))
	r.Until("all is live", func(l live) bool { return len(l) == 2000 })
	path, key := filepath.Join(dir, "d0", "0.yaml"), config.Key{Kind: config.VirtualService, Namespace: "default", Name: "x0"}
	round := int64(1)
	for b.Loop() {
		round++
		write(b, path, vs("x0", int(round)))
		r.Until("it is live", func(l live) bool { return l[key].Generation == round })
	}
}
