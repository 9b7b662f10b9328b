//go:build linux

package capture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"lateen.dev/lateen/capture/redirect"
)

func runs(args ...string) []string {
	return append([]string{"/proc/self/exe", programArg}, args...)
}

// output starts a program and returns it with what it prints.
func output(t *testing.T, spec Spec) (*Namespace, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Cleanup(func() { r.Close() })
	spec.Stdout = w
	if spec.Stderr == nil {
		spec.Stderr = os.Stderr
	}
	n, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n, bufio.NewReader(r)
}

func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("the program's output: %v after %q", err, line)
	}
	return strings.TrimSpace(line)
}

// greet answers every captured connection with where it was going.
func greet(n *Namespace) {
	for {
		c, err := n.Outbound().Accept()
		if err != nil {
			return
		}
		dst, err := OriginalDst(c)
		if err != nil {
			fmt.Fprintf(c, "%v\n", err)
		} else {
			fmt.Fprintf(c, "you wanted %s\n", dst)
		}
		c.Close()
	}
}

func TestSupported(t *testing.T) {
	if err := Supported(); err != nil {
		t.Fatal(err)
	}
}

func TestProgramSeesNothingOfIt(t *testing.T) {
	env := []string{"B=2", "A=1 \xff\n", "GODEBUG=x=y"}
	n, out := output(t, Spec{Argv: runs("report", "one", ""), Env: env, Dir: "/usr"})
	var got report
	if err := json.NewDecoder(out).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.UID != os.Getuid() || got.GID != os.Getgid() {
		t.Errorf("runs as %d:%d, want %d:%d", got.UID, got.GID, os.Getuid(), os.Getgid())
	}
	if got.PID != n.PID() {
		t.Errorf("its process id is %d, PID says %d", got.PID, n.PID())
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if strings.Trim(got.Status[set], "0") != "" {
			t.Errorf("%s is %s, want none", set, got.Status[set])
		}
	}
	if got.Status["NoNewPrivs"] != "1" {
		t.Errorf("NoNewPrivs is %q", got.Status["NoNewPrivs"])
	}
	if want := runs("report", "one", ""); !slices.Equal(got.Args, want) {
		t.Errorf("arguments %q, want %q", got.Args, want)
	}
	if len(got.Env) != 3 || got.Env[0] != "B=2" || got.Env[2] != "GODEBUG=x=y" {
		t.Errorf("environment %q", got.Env)
	}
	if got.Dir != "/usr" {
		t.Errorf("directory %s", got.Dir)
	}
	if !slices.Equal(got.Interfaces, []string{"lo"}) {
		t.Errorf("interfaces %v", got.Interfaces)
	}
	if got.ParentReadable {
		t.Error("the program can look into its keeper")
	}
	if s := n.Wait(); s != (ExitStatus{}) {
		t.Errorf("ended with %v", s)
	}
}

func TestKeeperHasNoCapabilities(t *testing.T) {
	n, _ := output(t, Spec{Argv: runs("hang")})
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", n.cmd.Process.Pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			for _, set := range []string{"CapInh:", "CapPrm:", "CapEff:", "CapAmb:"} {
				if v, ok := strings.CutPrefix(line, set); ok && strings.Trim(v, "0\t\n") != "" {
					t.Errorf("%s: %s", path, line)
				}
			}
			if v, ok := strings.CutPrefix(line, "NoNewPrivs:"); ok && strings.TrimSpace(v) != "1" {
				t.Errorf("%s: %s", path, line)
			}
		}
	}
}

func TestOutboundIsCaptured(t *testing.T) {
	targets := []string{"198.51.100.7:80", "10.0.0.1:9080", "[2001:db8::5]:443", "240.240.0.1:15001"}
	n, out := output(t, Spec{Argv: runs(append([]string{"fetch"}, targets...)...), Hold: true})
	go greet(n)
	if err := n.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range targets {
		if got, want := readLine(t, out), "you wanted "+a; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestListenerItselfIsNoDestination(t *testing.T) {
	n, out := output(t, Spec{Argv: runs("fetch", "127.0.0.1:15001", "[::1]:15001"), Hold: true})
	go greet(n)
	if err := n.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := readLine(t, out); got != redirect.ErrNotRedirected.Error() {
			t.Errorf("got %q", got)
		}
	}
}

func TestLoopbackIsTheProgramsOwn(t *testing.T) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	n, out := output(t, Spec{Argv: runs("serve", "127.0.0.1:80", "[::1]:9081", "127.0.0.1:9082"), Stdin: stdin})
	stdin.Close()
	if got := readLine(t, out); got != "serving" {
		t.Fatal(got)
	}
	for _, port := range []uint16{80, 9081, 9082} {
		if err := n.Listening(t.Context(), port); err != nil {
			t.Fatal(err)
		}
	}
	for port, want := range map[uint16]string{80: "program at 127.0.0.1:80\n", 9081: "program at [::1]:9081\n"} {
		c, err := n.Dial(t.Context(), port)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || string(b) != want {
			t.Errorf("port %d said %q, %v", port, b, err)
		}
		c.Close()
	}
	if _, err := n.Dial(t.Context(), 9); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port without listener: %v", err)
	}
	if c, err := net.DialTimeout("tcp", "127.0.0.1:9082", time.Second); err == nil {
		c.Close()
		t.Error("the program's port is visible outside")
	}
}

func TestDatagramsAreRefused(t *testing.T) {
	for _, to := range []string{"198.51.100.7:443", "[2001:db8::5]:443"} {
		_, out := output(t, Spec{Argv: runs("send", to)})
		if got := readLine(t, out); !strings.Contains(got, "permitted") && !strings.Contains(got, "permission") && !strings.Contains(got, "route") && !strings.Contains(got, "refused") {
			t.Errorf("%s: %q, want a refusal", to, got)
		}
	}
}

func TestDNSIsCaptured(t *testing.T) {
	for _, c := range []struct{ network, server string }{
		{"udp", "192.0.2.1:53"}, {"udp", "127.0.0.53:53"}, {"udp", "[2001:db8::53]:53"}, {"udp", "[::1]:53"},
		{"tcp", "192.0.2.1:53"}, {"tcp", "[2001:db8::53]:53"}, {"tcp", "127.0.0.1:53"},
	} {
		t.Run(c.network+" "+c.server, func(t *testing.T) {
			n, out := output(t, Spec{Argv: runs("resolve", c.network, c.server, "reviews.default."), Hold: true})
			stop := answerDNS(n)
			defer stop()
			if err := n.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := readLine(t, out); got != "[240.240.0.7] <nil>" {
				t.Errorf("resolved to %q", got)
			}
		})
	}
}

// answerDNS gives every A query the same address.
func answerDNS(n *Namespace) (stop func()) {
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 5 IN A 240.240.0.7")
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})
	servers := []*dns.Server{{Listener: n.DNSStreams(), Handler: h}}
	for _, pc := range n.DNSPackets() {
		servers = append(servers, &dns.Server{PacketConn: pc, Handler: h})
	}
	var wg sync.WaitGroup
	for _, s := range servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-started
	}
	return func() {
		for _, s := range servers {
			_ = s.Shutdown()
		}
		wg.Wait()
	}
}

func TestDialManyAtOnce(t *testing.T) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	n, _ := output(t, Spec{Argv: runs("serve", ":9080"), Stdin: stdin})
	stdin.Close()
	if err := n.Listening(t.Context(), 9080); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			c, err := n.Dial(t.Context(), 9080)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if b, err := io.ReadAll(c); err != nil || string(b) != "program at :9080\n" {
				t.Errorf("%q %v", b, err)
			}
		})
	}
	wg.Wait()
}

func TestListeningEndsWithProgramAndContext(t *testing.T) {
	n, _ := output(t, Spec{Argv: runs("hang")})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := n.Listening(ctx, 9080); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: %v", err)
	}
	if err := n.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := n.Listening(t.Context(), 9080); err == nil || !strings.Contains(err.Error(), "ended by signal 9") {
		t.Errorf("of a dead program: %v", err)
	}
}

func TestExitStatus(t *testing.T) {
	n, _ := output(t, Spec{Argv: runs("exit", "7")})
	if s := n.Wait(); s != (ExitStatus{Code: 7}) {
		t.Errorf("exit 7 gave %v", s)
	}
	n, _ = output(t, Spec{Argv: runs("hang")})
	if err := n.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if s := n.Wait(); s != (ExitStatus{Code: 143, Signal: syscall.SIGTERM}) {
		t.Errorf("SIGTERM gave %v", s)
	}
	if err := n.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal to a dead program: %v", err)
	}
}

func TestSignalsArriveOnce(t *testing.T) {
	n, out := output(t, Spec{Argv: runs("trap")})
	if got := readLine(t, out); got != "ready, on a terminal: false" {
		t.Fatal(got)
	}
	// As from a terminal: everybody in the group gets it, and the caller
	// passes it in.
	for _, pid := range []int{n.PID(), n.cmd.Process.Pid} {
		if err := unix.Kill(pid, unix.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGUSR1, syscall.SIGTERM} {
		if err := n.Signal(s); err != nil {
			t.Fatal(err)
		}
		if s == syscall.SIGUSR1 {
			for _, want := range []string{"interrupt", "user defined signal 1"} {
				if got := readLine(t, out); got != want {
					t.Errorf("the program got %q, want %q", got, want)
				}
			}
		}
	}
	if got := readLine(t, out); got != "terminated" {
		t.Errorf("the program got %q at last", got)
	}
	if s := n.Wait(); s.Code != 0 || s.Err != nil {
		t.Error(s)
	}
}

// TestTerminal: the program stands at the terminal itself, in its foreground
// process group, and a Ctrl-C there counts once though the caller passes it in, too.
func TestTerminal(t *testing.T) {
	ptmx, pts := terminal(t)
	cmd := exec.Command("/proc/self/exe", programArg, "job")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pts, pts, pts
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pts.Close()
	out := bufio.NewReader(ptmx)
	if got := readLine(t, out); got != "ready, on a terminal: true" {
		t.Error(got)
	}
	if _, err := ptmx.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, out); got != "^Cinterrupt" {
		t.Errorf("after Ctrl-C: %q", got)
	}
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if got := readLine(t, out); got != "user defined signal 1" {
		t.Errorf("after one Ctrl-C and SIGUSR1: %q", got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"terminated", "job: exit code 0"} {
		if got := readLine(t, out); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// terminal makes a pseudo terminal.
func terminal(t *testing.T) (ptmx, pts *os.File) {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ptmx.Close() })
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if pts, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return ptmx, pts
}

func TestProgramCannotStart(t *testing.T) {
	script := t.TempDir() + "/script"
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv []string
		code int
	}{
		{[]string{"no-such-program"}, 127},
		{[]string{"/no/such/program"}, 127},
		{[]string{"/etc/passwd"}, 126},
		{[]string{"/etc"}, 126},
		{[]string{script}, 127},
	} {
		_, err := Start(t.Context(), Spec{Argv: c.argv, Env: []string{"PATH=/usr/bin:/bin"}})
		var start *StartError
		if !errors.As(err, &start) || start.ExitCode() != c.code {
			t.Errorf("%v: %v, want exit code %d", c.argv, err, c.code)
		}
	}
	if _, err := Start(t.Context(), Spec{}); err == nil {
		t.Error("no program at all was started")
	}
}

func TestProgramIsFoundInItsOwnPath(t *testing.T) {
	_, out := output(t, Spec{Argv: []string{"echo", "found"}, Env: []string{"PATH=/nowhere:/usr/bin:/bin"}})
	if got := readLine(t, out); got != "found" {
		t.Error(got)
	}
}

func TestLargeEnvironment(t *testing.T) {
	big := "BIG=" + strings.Repeat("x", 100_000)
	env := slices.Repeat([]string{big}, 5)
	_, out := output(t, Spec{Argv: runs("report"), Env: env})
	var got report
	if err := json.NewDecoder(out).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got.Env) == 0 || got.Env[0] != big {
		t.Error("the environment did not arrive whole")
	}
}

func TestOutputEndsWithProgramsStdout(t *testing.T) {
	_, out := output(t, Spec{Argv: []string{"sh", "-c", "exec >&- ; sleep 60"}, Env: []string{"PATH=/usr/bin:/bin"}})
	if b, err := io.ReadAll(out); err != nil || len(b) != 0 {
		t.Errorf("%q %v", b, err)
	}
}

func TestHeldProgramIsNeverStarted(t *testing.T) {
	n, err := Start(t.Context(), Spec{Argv: runs("hang"), Hold: true})
	if err != nil {
		t.Fatal(err)
	}
	if n.PID() != 0 {
		t.Errorf("process id %d of a held program", n.PID())
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if s := n.Wait(); s.Code != 1 || s.Err == nil || !strings.Contains(s.Err.Error(), "was not started") {
		t.Errorf("ended with %v", s)
	}
	if err := n.Release(t.Context()); err == nil {
		t.Error("released after its end")
	}
}

// gone waits until none of the processes exists.
func gone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		for errors.Is(err, unix.EINTR) { // the children's deaths interrupt the wait for them
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		}
		if n != 1 {
			t.Errorf("process %d lives on: %v", pid, err)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		unix.Close(fd)
	}
}

func TestCloseKillsEverythingInside(t *testing.T) {
	n, out := output(t, Spec{Argv: runs("orphan")})
	var orphan int
	if _, err := fmt.Sscan(readLine(t, out), &orphan); err != nil {
		t.Fatal(err)
	}
	pid := n.PID()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	gone(t, pid, orphan, n.cmd.Process.Pid)
	if s := n.Wait(); s.Signal != syscall.SIGKILL {
		t.Errorf("the program: %v", s)
	}
}

func TestKilledProgramIsSeen(t *testing.T) {
	n, out := output(t, Spec{Argv: runs("orphan")})
	var orphan int
	if _, err := fmt.Sscan(readLine(t, out), &orphan); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(n.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := n.Wait(); s != (ExitStatus{Code: 137, Signal: syscall.SIGKILL}) {
		t.Errorf("ended with %v", s)
	}
	gone(t, orphan)
}

func TestKilledKeeperTakesTheProgramAlong(t *testing.T) {
	n, out := output(t, Spec{Argv: runs("orphan")})
	var orphan int
	if _, err := fmt.Sscan(readLine(t, out), &orphan); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if s := n.Wait(); s.Err == nil || s.Code != 137 {
		t.Errorf("ended with %v", s)
	}
	gone(t, n.PID(), orphan)
}

func TestKilledCallerTakesAllAlong(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", programArg, "outer")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for in := bufio.NewReader(stdout); len(pids) < 3; {
		var pid int
		if _, err := fmt.Fscan(in, &pid); err != nil {
			t.Fatalf("%v; it says %s", err, &stderr)
		}
		pids = append(pids, pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, pids...)
	_ = cmd.Wait()
}

func TestNothingIsLeftOpen(t *testing.T) {
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := open()
	for range 5 {
		n, err := Start(t.Context(), Spec{Argv: runs("hang")})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = n.Dial(t.Context(), 1)
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// BenchmarkStart is the time until a program is ready to be captured.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		n, err := Start(b.Context(), Spec{Argv: runs("hang"), Hold: true})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		n.Close()
		b.StartTimer()
	}
}

// BenchmarkDial is the time to reach a program that listens.
func BenchmarkDial(b *testing.B) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer hold.Close()
	n, err := Start(b.Context(), Spec{Argv: runs("serve", "127.0.0.1:9080"), Stdin: stdin})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	if err := n.Listening(b.Context(), 9080); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := n.Dial(b.Context(), 9080)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
