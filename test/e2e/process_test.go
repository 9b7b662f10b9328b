package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// user is somebody who runs commands.
type user struct {
	name string
	uid  uint32
}

// nobody has no rights at all; whoever runs the tests may be root.
const nobody = 65534

// users are those for whom a test holds: root and an ordinary user where that
// can be had, else whoever runs the test.
func users() []user {
	if os.Getuid() != 0 {
		return []user{{"user", uint32(os.Getuid())}}
	}
	return []user{{"root", 0}, {"user", nobody}}
}

// ordinary is an ordinary user.
func ordinary() user { return users()[len(users())-1] }

// everyUser runs a test for each user.
func everyUser(t *testing.T, test func(t *testing.T, u user)) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) { test(t, u) })
	}
}

// home makes a directory that the user owns. Its path is short: it holds a
// socket.
func (u user) home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "le-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Getuid() == 0 {
		if err := os.Chown(dir, int(u.uid), int(u.uid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// process is a process that a test has started.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	name  string
	in    io.WriteCloser
	out   output
	errs  output
	ended chan struct{}
}

// command prepares a process of the user's, in its home, with an environment
// of its own.
func (u user) command(home string, argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "NO_COLOR=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 && u.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.uid, Gid: u.uid}
	}
	return cmd
}

// start starts a process that ends with the test at the latest.
func (u user) start(t *testing.T, home string, argv ...string) *process {
	t.Helper()
	return u.startWith(t, home, nil, argv...)
}

// startWith gives the process a file for its standard output, if not nil.
func (u user) startWith(t *testing.T, home string, out *os.File, argv ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: u.command(home, argv...), name: strings.Join(argv, " "), ended: make(chan struct{})}
	p.name = strings.TrimPrefix(p.name, bin+"/")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errs
	p.cmd.WaitDelay = 3 * time.Second // of those that hold its output, if it leaves some
	if out != nil {
		p.cmd.Stdout = out
	}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState says it
		close(p.ended)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("-- %s: %v\n%s%s", p.name, p.cmd.ProcessState, clip(p.out.String()), clip(p.errs.String()))
		}
		p.kill()
	})
	return p
}

func clip(s string) string {
	const most = 1500
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("signal to %s: %v", p.name, err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// wait returns the exit code.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("%s has not ended after %v", p.name, within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// until waits until standard output or error has the text.
func (p *process) until(text string) {
	p.t.Helper()
	eventually(p.t, p.name+" says "+text, func() bool {
		select {
		case <-p.ended:
			if !strings.Contains(p.out.String()+p.errs.String(), text) {
				p.t.Fatalf("%s has ended with %v before it said %q", p.name, p.cmd.ProcessState, text)
			}
		default:
		}
		return strings.Contains(p.out.String()+p.errs.String(), text)
	})
}

// output keeps what a process writes.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// patience is how long anything may take that has no limit of its own.
const patience = 20 * time.Second

// eventually polls a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

// within polls a condition and returns after what time it held.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	started := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(started) > limit {
			t.Fatalf("not after %v: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(started)
}

// processesWith lists the processes whose command line holds the text, such as
// a directory that only they know.
func processesWith(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		line := string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
		if err == nil && strings.Contains(line, text) {
			found = append(found, f+": "+line)
		}
	}
	return found
}

// nothingLeft waits until no process knows the directory any more.
func nothingLeft(t *testing.T, dir string, limit time.Duration) {
	t.Helper()
	var left []string
	defer func() {
		if len(left) > 0 {
			t.Logf("left behind:\n%s", strings.Join(left, "\n"))
		}
	}()
	within(t, limit, "all processes of "+dir+" have ended", func() bool {
		left = processesWith(t, dir)
		return len(left) == 0
	})
}
