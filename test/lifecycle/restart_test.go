package lifecycle

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// meetingPoint is a path for --socket-path.
func meetingPoint(t *testing.T) string { return filepath.Join(t.TempDir(), "restart.sock") }

// TestHotRestartLosesNothing replaces a proxy twice under load. Connections that live long go on in the old process
// until its time is up.
func TestHotRestartLosesNothing(t *testing.T) {
	const shutdown = 3 * time.Second
	b := backend(t, nil)
	c := newConf(t, b)
	args := []string{"--socket-path", meetingPoint(t), "--drain-time-s", "1", "--parent-shutdown-time-s", strconv.Itoa(int(shutdown / time.Second))}
	first := c.start(t, args...)
	list := loads(t, traffic.Dialer(c.HTTP), traffic.Dialer(c.TCP))
	long, cut := endless(t, traffic.Dialer(c.HTTP), traffic.Dialer(c.TCP))
	list = append(list, long...)
	more(t, list, 50)
	began := time.Now()
	second := c.start(t, append(args, "--restart-epoch", "1")...)
	if got := second.stat("server.hot_restart_epoch"); got != 1 {
		t.Errorf("the epoch is %d", got)
	}
	more(t, list, 50)
	if code := first.wait(); code != 0 {
		t.Errorf("the first process ended with %d", code)
	}
	for i, l := range long {
		if at := time.Unix(0, cut[i].Load()); at.Sub(began) < shutdown {
			t.Errorf("%s: one ended after %v", l.Kind(), at.Sub(began))
		}
	}
	more(t, list, 50)
	third := c.start(t, args...)
	if got := third.stat("server.hot_restart_epoch"); got != 2 {
		t.Errorf("the epoch is %d", got)
	}
	more(t, list, 50)
	if code := second.wait(); code != 0 {
		t.Errorf("the second process ended with %d", code)
	}
	more(t, list, 50)
	settle(t, list)
}

// TestHotRestartThatFails: a process that can't start changes nothing for the one that runs.
func TestHotRestartThatFails(t *testing.T) {
	b := backend(t, nil)
	c := newConf(t, b)
	path := meetingPoint(t)
	first := c.start(t, "--socket-path", path)
	list := loads(t, traffic.Dialer(c.HTTP), traffic.Dialer(c.TCP))
	more(t, list, 30)
	bad, taken := c, c
	bad.HCM = "codec_type: HTTP7"
	taken.Admin = b.HTTP // a port that somebody else has
	for name, p := range map[string]*process{
		"a bad configuration":            bad.launch(t, "--socket-path", path),
		"an admin port that is taken":    taken.launch(t, "--socket-path", path, "--restart-epoch", "1"),
		"a process that thinks it first": c.launch(t, "--socket-path", path, "--restart-epoch", "0"),
		"no process to take over from":   newConf(t, b).launch(t, "--socket-path", meetingPoint(t), "--restart-epoch", "1"),
	} {
		if code := p.wait(); code != 1 {
			t.Errorf("%s: it ended with %d: %s", name, code, p.log)
		}
		if !strings.Contains(p.log.String(), "lateen-proxy: ") {
			t.Errorf("%s: it doesn't say why: %s", name, p.log)
		}
		more(t, list, 10)
	}
	if got := first.stat("server.hot_restart_epoch"); got != 0 {
		t.Errorf("the epoch is %d", got)
	}
	// And one that can, can.
	c.start(t, "--socket-path", path)
	more(t, list, 30)
	settle(t, list)
}

// TestHotRestartWhenTheOldProcessIsKilled: its successor has the sockets, and a socket file that is left over is in
// nobody's way.
func TestHotRestartWhenTheOldProcessIsKilled(t *testing.T) {
	b := backend(t, nil)
	c := newConf(t, b)
	path := meetingPoint(t)
	first := c.start(t, "--socket-path", path)
	idle, idleReader := connect(t, c.HTTP)
	get(t, idle, idleReader)
	tunnel, _ := connect(t, c.TCP) // which keeps the first process there
	if _, err := tunnel.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	second := c.start(t, "--socket-path", path)
	if resp := get(t, idle, idleReader); !resp.Close {
		t.Error("a connection of the old process is kept")
	}
	idle, idleReader = connect(t, c.HTTP)
	get(t, idle, idleReader)
	list := loads(t, traffic.Dialer(c.HTTP), traffic.Dialer(c.TCP))
	first.signal(syscall.SIGKILL)
	first.wait()
	more(t, list, 30)
	settle(t, list)
	second.signal(syscall.SIGKILL)
	second.wait()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket file: %v, %v", info, err)
	}
	third := c.start(t, "--socket-path", path)
	nc, br := connect(t, c.HTTP)
	if resp := get(t, nc, br); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	third.signal(syscall.SIGTERM)
	third.wait()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket file is left: %v", err)
	}
}
