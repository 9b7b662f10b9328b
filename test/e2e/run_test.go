package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExitCodes(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		plain := filepath.Join(m.dir, "plain")
		if err := os.WriteFile(plain, []byte("no program"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, mode := range []string{"", "--explicit-proxy "} {
			for _, c := range []struct {
				name    string
				command []string
				code    int
			}{
				{"ends well", []string{peer(), "end", "code", "0"}, 0},
				{"ends badly", []string{peer(), "end", "code", "7"}, 7},
				{"killed by itself", []string{"sh", "-c", "kill -SEGV $$"}, 128 + int(syscall.SIGSEGV)},
				{"terminated by itself", []string{"sh", "-c", "kill -TERM $$"}, 128 + int(syscall.SIGTERM)},
				{"not found", []string{"no-such-program"}, 127},
				{"path not found", []string{"/no/such/program"}, 127},
				{"not executable", []string{plain}, 126},
				{"a directory", []string{"/tmp"}, 126},
			} {
				t.Run(mode+c.name, func(t *testing.T) {
					m := *m
					m.t = t
					p := m.start(mode+"--service ends --port 8080", c.command...)
					if code := p.wait(patience); code != c.code {
						t.Errorf("exit code %d, want %d\n%s", code, c.code, p.errs.String())
					}
					if c.code >= 126 && c.code <= 127 && !strings.Contains(p.errs.String(), c.command[0]) {
						t.Errorf("the message does not name the program: %s", p.errs.String())
					}
				})
			}
		}
		if left := m.registrations(); len(left) != 0 {
			t.Errorf("registrations are left: %v", left)
		}
	})
}

func TestSignalsReachTheProgram(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		for _, flags := range []string{"--service sig --port 8080", "--explicit-proxy --service sig --port 8080"} {
			p := m.start(flags, peer(), "end", "signals")
			p.until("waiting")
			for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGINT, syscall.SIGTERM} {
				p.signal(s)
				p.until(s.String() + "\n")
			}
			if code := p.wait(patience); code != 9 {
				t.Errorf("%s: exit code %d, want 9", flags, code)
			}
			want := "waiting\n" + syscall.SIGHUP.String() + "\n" + syscall.SIGUSR1.String() + "\ninterrupt\nterminated\n"
			if p.out.String() != want || (strings.HasPrefix(flags, "--service") && p.errs.String() != "") {
				t.Errorf("%s: output %q, errors %q", flags, p.out.String(), p.errs.String())
			}
			p = m.start(flags, "sh", "-c", "echo waiting; exec sleep 60")
			p.until("waiting")
			p.signal(syscall.SIGTERM)
			if code := p.wait(patience); code != 128+int(syscall.SIGTERM) {
				t.Errorf("%s: exit code %d, want %d", flags, code, 128+int(syscall.SIGTERM))
			}
		}
	})
}

func TestStreamsAreUntouched(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		const size = 20 << 20
		in := bytes.Repeat([]byte("\x00\xff binary\r\n"), size/11)
		argv := m.runArgs("--service copies --port 8080 --log-level debug", peer(), "end", "copy", fmt.Sprint(1<<20))
		cmd := u.command(m.dir, argv...)
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, clip(errs.String()))
		}
		if !bytes.Equal(out.Bytes(), in) {
			t.Errorf("%d bytes came back of %d", out.Len(), len(in))
		}
		if errs.String() != strings.Repeat("e", 1<<20) {
			t.Errorf("standard error has %d bytes: %s", errs.Len(), clip(errs.String()))
		}
		logs, err := filepath.Glob(filepath.Join(m.dir, "log", "copies-sidecar.log"))
		if err != nil || len(logs) != 1 {
			t.Fatalf("the sidecar's log: %v, %v", logs, err)
		}
		if info, err := os.Stat(logs[0]); err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
			t.Errorf("the sidecar's log: %v, %v", info, err)
		}
	})
}

func TestProgramKeepsItsUserAndHasNoCapability(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		p := m.start("--service status --port 8080", peer(), "end", "status")
		if code := p.wait(patience); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		for name, want := range map[string]string{"Uid": fmt.Sprintf("%d %d %d %d", u.uid, u.uid, u.uid, u.uid),
			"Gid": fmt.Sprintf("%d %d %d %d", u.uid, u.uid, u.uid, u.uid), "CapEff": "0000000000000000", "CapPrm": "0000000000000000",
			"CapInh": "0000000000000000", "CapAmb": "0000000000000000", "CapBnd": "0000000000000000"} {
			if got := statusField(p.out.String(), name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
}

func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

func TestWrongFlagsAndNoControlPlane(t *testing.T) {
	u := ordinary()
	home := u.home(t)
	for _, c := range []struct {
		args string
		want []string
	}{
		{"run --service web --port 8080", []string{"name the program"}},
		{"run --port 8080 -- true", []string{`"service"`}},
		{"run --service web --port 0 -- true", []string{"--port", `"0"`}},
		{"run --service web --port http -- true", []string{"--port", `"http"`}},
		{"run --service web --port 70000 -- true", []string{"--port", `"70000"`}},
		{"run --service web --port 8080 --label nonsense -- true", []string{"--label", "nonsense"}},
		{"run --service web --port 8080 --no-such-flag -- true", []string{"--no-such-flag"}},
		{"run --service web --port 8080 --log-level loud -- true", []string{"loud"}},
		{"run --service web --port 8080 -- true", []string{"control plane", "lateen control", home}},
		{"proxy gateway", []string{"control plane", "lateen control", home}},
		{"apply -f /dev/null", []string{"control plane", home}},
		{"proxy-status", []string{"control plane", home}},
		{"control --control-port 70000", []string{"--control-port"}},
	} {
		args := append(strings.Fields(c.args)[:1:1], append([]string{"--dir", home}, strings.Fields(c.args)[1:]...)...)
		cmd := u.command(home, append([]string{lateen()}, args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s: did not fail\n%s", c.args, out)
		}
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the message lacks %q:\n%s", c.args, want, out)
			}
		}
		if n := bytes.Count(out, []byte("\n")); n > 5 {
			t.Errorf("%s: %d lines\n%s", c.args, n, out)
		}
	}
}

func TestRegistrationFollowsTheProgram(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		idle := m.start("--service late --port 8080", peer(), "drive")
		eventually(t, "late is registered", func() bool { return len(m.registrations()) == 1 })
		if len(m.ready("late")) != 0 {
			t.Error("late is an endpoint before it listens")
		}
		p := m.serve("web", "v1", "--port 8080", "--http 8080")
		second := m.serve("web", "v1", "--port 8080", "--http 8080")
		if list := m.ready("web"); list[1].ID != "default/web-v1-2" {
			t.Errorf("the second instance is %s", list[1].ID)
		}
		d := m.drive("client", "--port 9999")
		hits := d.load(command{URL: "http://web:8080/"})
		hits.more(20)
		hits.stop()
		p.signal(syscall.SIGTERM)
		if code := p.wait(patience); code != 0 {
			t.Errorf("web ended with %d: %s", code, p.errs.String())
		}
		if len(m.ready("web")) != 1 {
			t.Error("web is an endpoint after its end")
		}
		// kill -9 of the program, by its own id.
		pid := programOf(t, second)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code := second.wait(patience); code != 128+int(syscall.SIGKILL) {
			t.Errorf("a killed program gives exit code %d", code)
		}
		if len(m.ready("web")) != 0 {
			t.Error("web is an endpoint after it was killed")
		}
		third := m.serve("web", "v2", "--port 8080", "--http 8080")
		third.kill()
		took := within(t, time.Second, "the endpoint leaves when lateen run is killed", func() bool { return len(m.ready("web")) == 0 })
		t.Logf("the endpoint left after %v", took)
		idle.signal(syscall.SIGTERM)
		idle.wait(patience)
		d.process.kill()
		within(t, 2*time.Second, "all have left", func() bool { return len(m.registrations()) == 0 })
		m.control.signal(syscall.SIGTERM)
		if code := m.control.wait(5 * time.Second); code != 0 {
			t.Errorf("the control plane ended with %d: %s", code, m.control.errs.String())
		}
		nothingLeft(t, m.dir, 2*time.Second)
		nothingLeft(t, "serve --name web-", 2*time.Second)
	})
}

// programOf finds the program that `lateen run` runs: a process whose command
// line begins with peer below it.
func programOf(t *testing.T, p *process) int {
	t.Helper()
	out, err := exec.Command("ps", "-eo", "pid=,ppid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	children := map[int]bool{p.cmd.Process.Pid: true}
	for range 4 { // parents may be listed after their children
		for line := range strings.Lines(string(out)) {
			var pid, ppid int
			var argv0 string
			if n, _ := fmt.Sscan(line, &pid, &ppid, &argv0); n == 3 && children[ppid] {
				if argv0 == peer() {
					return pid
				}
				children[pid] = true
			}
		}
	}
	t.Fatalf("%s has no program", p.name)
	return 0
}
