package sock

import (
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAcceptedOptions holds the kernel to what Accepting leans on: connections have the listener's options. Those of a
// multipath socket get them one by one.
func TestAcceptedOptions(t *testing.T) {
	probes := net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 4}
	for _, multipath := range []bool{false, true} {
		for _, k := range []net.KeepAliveConfig{{}, probes, {Enable: true}} {
			near, _ := connectTo(t, acceptingBy(t, "tcp", "127.0.0.1:0", k, multipath))
			want := [5]int{1, 0, 0, 0, 0}
			switch {
			case k.Idle > 0:
				want = [5]int{1, 1, 7, 3, 4}
			case k.Enable:
				want = [5]int{1, 1, 15, 15, 9}
			}
			if got := optionsOf(t, near, k.Enable); got != want {
				t.Errorf("multipath %v, %+v: no delay, keep-alive, idle, interval, count are %v, want %v", multipath, k, got, want)
			}
		}
	}
}

func optionsOf(t *testing.T, nc net.Conn, probes bool) (v [5]int) {
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = rc.Control(func(fd uintptr) {
		get := func(i, level, option int) {
			if v[i], err = syscall.GetsockoptInt(int(fd), level, option); err != nil {
				t.Error(err)
			}
		}
		get(0, syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
		get(1, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		if probes {
			get(2, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
			get(3, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
			get(4, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	v[0], v[1] = min(v[0], 1), min(v[1], 1)
	return v
}

// TestDescriptorsAreClosed sees the descriptors go that wait for their end, without another connection.
func TestDescriptorsAreClosed(t *testing.T) {
	ln := accepting(t, "tcp", "127.0.0.1:0", net.KeepAliveConfig{})
	near, _ := connectTo(t, ln)
	rc, err := near.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var path string
	if err := rc.Control(func(fd uintptr) { path = "/proc/self/fd/" + strconv.Itoa(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	before, err := os.Readlink(path)
	if err != nil || !strings.HasPrefix(before, "socket:") {
		t.Fatal(before, err)
	}
	New(near).Close()
	end := time.Now().Add(20 * time.Second)
	for {
		if now, _ := os.Readlink(path); now != before {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the descriptor is still open")
		}
		<-time.After(5 * time.Millisecond)
	}
}
