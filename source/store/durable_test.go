package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/sourcetest"
	"lateen.dev/lateen/source/store"
)

// child begins the arguments of this program when it is to be another one.
const child = "be-a-child"

func beChild(args []string) int {
	var err error
	switch args[0] {
	case "write":
		err = writeForEver(args[1], args[2], args[3])
	case "full":
		err = onFullDisk(args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// writeForEver applies one version after the other and says each time when it
// has been applied: two files that belong together, and one that comes and goes.
func writeForEver(dir, state, first string) error {
	version, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	s, err := store.Open(store.Options{Dir: dir, State: state})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Run(context.Background(), source.SinkFunc(func(source.Batch) {})) }()
	for ; ; version++ {
		select {
		case err := <-failed:
			return err
		default:
		}
		resp, err := s.Apply(context.Background(), api.ApplyRequest{Files: []api.File{{Name: "in.yaml", Data: both(version)}}})
		if err != nil {
			return err
		}
		fmt.Println(version, resp.Revision)
		if version%3 == 0 {
			if _, err := s.Delete(context.Background(), api.DeleteRequest{Objects: []config.Ref{key("c").Ref()}}); err != nil {
				return err
			}
		}
	}
}

func both(version int) string {
	texts := []string{vs("a", version), vs("b", version)}
	if version%3 == 1 {
		texts = append(texts, vs("c", version))
	}
	return strings.Join(texts, "---\n")
}

// Whatever was reported as applied is there after a kill, what was not is there
// whole or not at all, and the next process goes on from it.
func TestKilledAHundredTimes(t *testing.T) {
	const kills = 100
	dir, state := filepath.Join(t.TempDir(), "config"), t.TempDir()
	version, revision := 0, uint64(0)
	for range kills {
		reported, at := killAfterAWhile(t, dir, state, version+1)
		if reported > 0 {
			version, revision = reported, at
		}
		version, revision = whole(t, dir, state, version, revision)
	}
	if version < kills {
		t.Errorf("only %d versions were written in %d lives", version, kills)
	}
}

// killAfterAWhile lets a process write and kills it at some moment after its
// first report; it returns the last one.
func killAfterAWhile(t *testing.T, dir, state string, first int) (version int, revision uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], child, "write", dir, state, strconv.Itoa(first))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var kill *time.Timer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &version, &revision); err != nil {
			t.Errorf("%q: %v", lines.Text(), err)
		}
		if kill == nil {
			kill = time.AfterFunc(time.Duration(rand.IntN(12_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
	}
	if kill == nil {
		t.Fatalf("the process wrote nothing: %s", errs.String())
	}
	kill.Stop()
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed, and says so
	return version, revision
}

// whole opens what a killed process left, and returns the version and revision
// that are there.
func whole(t *testing.T, dir, state string, atLeast int, revision uint64) (int, uint64) {
	t.Helper()
	s := open(t, dir, state)
	defer s.Close()
	r, stop := sourcetest.Start(t, s)
	defer stop()
	r.Until("the first batch came", func(map[config.Key]*config.Object) bool { return true })
	if ps := s.Problems(); len(ps) > 0 {
		t.Fatalf("complaints about what was left: %v", ps)
	}
	live := r.Live()
	a, b := subset(t, live, "a"), subset(t, live, "b")
	if a != b || a < atLeast || a > atLeast+1 {
		t.Fatalf("a has version %d and b has %d, reported was %d", a, b, atLeast)
	}
	if c := subset(t, live, "c"); c != 0 && (c%3 != 1 || c > a || c < a-2) {
		t.Fatalf("c has version %d, a has %d", c, a)
	}
	if r.Revision() < revision {
		t.Fatalf("the revision is %d, reported was %d", r.Revision(), revision)
	}
	log, err := s.Changes(0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(log.Entries, func(x, y api.Entry) int { return int(x.Revision) - int(y.Revision) }) {
		t.Fatal("the change log's revisions fall")
	}
	nothingElse(t, dir)
	return a, r.Revision()
}

// nothingElse: a directory holds YAML and nothing that was to become some.
func nothingElse(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) != ".yaml" {
			t.Errorf("%s was left over", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// subset is the version of an object, 0 if there is none.
func subset(t *testing.T, live map[config.Key]*config.Object, name string) int {
	t.Helper()
	o := live[key(name)]
	if o == nil {
		return 0
	}
	y, err := o.YAML()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(y), "subset: v")
	v, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A change of several files that was noted before the crash is finished; a file
// that somebody has edited since is theirs.
func TestUnfinishedChange(t *testing.T) {
	for name, edited := range map[string]bool{"untouched": false, "edited since": true} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			f.apply(vs("a", 1), vs("b", 1))
			f.stop()
			path := func(name string) string { return filepath.Join(f.dir, "default", "virtualservices."+name+".yaml") }
			f.write("default/.virtualservices.b.yaml.123", vs("b", 2))
			f.write("default/.virtualservices.c.yaml.456", vs("c", 2))
			f.write("default/.virtualservices.stray.yaml.7", "half")
			f.write("default/virtualservices.a.yaml", vs("a", 2)) // moved already
			steps := fmt.Sprintf(`[{"path":%q,"staged":%q,"before":"x"},{"path":%q,"staged":%q,"before":%q},{"path":%q,"staged":%q}]`,
				path("a"), filepath.Join(f.dir, "default", ".virtualservices.a.yaml.9"),
				path("b"), filepath.Join(f.dir, "default", ".virtualservices.b.yaml.123"), store.HashOf([]byte(vs("b", 1))),
				path("c"), filepath.Join(f.dir, "default", ".virtualservices.c.yaml.456"))
			if err := os.WriteFile(filepath.Join(f.state, "pending.json"), []byte(steps), 0o600); err != nil {
				t.Fatal(err)
			}
			want := 2
			if edited {
				f.write("default/virtualservices.b.yaml", vs("b", 7))
				want = 7
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f.restart()
			live := f.rec.Live()
			if a, b, c := subset(t, live, "a"), subset(t, live, "b"), subset(t, live, "c"); a != 2 || b != want || c != 2 {
				t.Errorf("a has version %d, b has %d, c has %d", a, b, c)
			}
			nothingElse(t, f.dir)
			if _, err := os.Stat(filepath.Join(f.state, "pending.json")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the note is still there: %v", err)
			}
		})
	}
}

// A file that can't be put in place takes those before it back.
func TestFailedRenameIsUndone(t *testing.T) {
	f := start(t)
	f.apply(vs("a", 1))
	// A directory stands where the second file is to go.
	if err := os.MkdirAll(filepath.Join(f.dir, "default", "virtualservices.b.yaml", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := f.Apply(t.Context(), api.ApplyRequest{Files: []api.File{{Data: vs("a", 2)}, {Data: vs("b", 2)}}})
	if err == nil {
		t.Fatal("the change was made")
	}
	if got := f.read("default/virtualservices.a.yaml"); got != vs("a", 1) {
		t.Errorf("a is\n%s", got)
	}
	if got := subset(t, f.rec.Live(), "a"); got != 1 {
		t.Errorf("a's version %d is live", got)
	}
	if left, err := filepath.Glob(filepath.Join(f.dir, "default", ".*")); len(left) > 0 || err != nil {
		t.Errorf("left over: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(f.state, "pending.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the note is still there: %v", err)
	}
}

// A full disk: see onFullDisk, which has one of its own.
func TestFullDisk(t *testing.T) {
	cmd := exec.Command(os.Args[0], child, "full", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// onFullDisk: an apply that doesn't fit changes nothing and says why; what was
// there stays, and the next one works when there is room again.
func onFullDisk(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	config, state := filepath.Join(dir, "config"), filepath.Join(dir, "state")
	s, err := store.Open(store.Options{Dir: config, State: state})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, source.SinkFunc(func(source.Batch) {})) }()
	apply := func(version int) error {
		_, err := s.Apply(ctx, api.ApplyRequest{Files: []api.File{{Name: "in.yaml", Data: both(version)}}})
		return err
	}
	if err := apply(1); err != nil {
		return err
	}
	filler := filepath.Join(dir, "filler")
	if err := fill(filler); err != nil {
		return err
	}
	if err := apply(4); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("on a full disk apply said: %w", err)
	}
	for _, name := range []string{"a", "b", "c"} {
		text, err := os.ReadFile(filepath.Join(config, "default", "virtualservices."+name+".yaml"))
		if err != nil || string(text) != vs(name, 1) {
			return fmt.Errorf("%s became %q, %w", name, text, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(config, "default", ".*")); len(left) > 0 || err != nil {
		return fmt.Errorf("left over: %v, %w", left, err)
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := apply(4); err != nil {
		return err
	}
	if ps := s.Problems(); len(ps) > 0 {
		return ps
	}
	cancel()
	return errors.Join(<-done, s.Close())
}

// fill takes all the room that there is.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for size := 64 << 10; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("filling: %w", err)
	}
	return f.Close()
}
