//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The two hosts: here is the tests' own namespace, there is another one at the
// other end of a cable.
const (
	here4, there4 = "10.99.0.1", "10.99.0.2"
	here6, there6 = "fd99::1", "fd99::2"
)

// peer runs functions in the other host's namespace.
type peer struct {
	work chan func()
	ns   int // the namespace, open
}

// newPeer makes the other host and the cable, once for all tests.
var newPeer = sync.OnceValues(func() (*peer, error) {
	p := &peer{work: make(chan func())}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread belongs to that host
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			p.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if err == nil {
			err = configure("lo")
		}
		started <- err
		for f := range p.work {
			f()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("another network namespace: %w", err)
	}
	cable := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "cable", PeerNamespace: netlink.NsFd(p.ns)}
	cable.Name = "cable"
	if err := netlink.LinkAdd(cable); err != nil {
		return nil, fmt.Errorf("cable: %w", err)
	}
	if err := errors.Join(configure("lo"), configure("cable", here4+"/24", here6+"/64")); err != nil {
		return nil, err
	}
	var err error
	p.do(func() { err = configure("cable", there4+"/24", there6+"/64") })
	return p, err
})

func (p *peer) do(f func()) {
	done := make(chan struct{})
	p.work <- func() { defer close(done); f() }
	<-done
}

func configure(device string, addrs ...string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("%s on %s: %w", a, device, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// host is a place that listens and dials.
type host func(func())

// listen greets every connection with its name and where it was going.
func listen(t *testing.T, at host, name, addr string) {
	t.Helper()
	var l net.Listener
	var err error
	at(func() { l, err = net.Listen("tcp", addr) })
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dst, err := OriginalDst(c)
			if errors.Is(err, ErrNotRedirected) {
				fmt.Fprintf(c, "%s", name)
			} else {
				fmt.Fprintf(c, "%s for %v %v", name, dst, err)
			}
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

type dialOption func(*net.Dialer)

func marked(mark int) dialOption {
	return func(d *net.Dialer) {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
			}), err)
		}
	}
}

func from(addr string) dialOption {
	return func(d *net.Dialer) { d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(addr)} }
}

// reach dials and returns who answered.
func reach(t *testing.T, at host, addr string, opts ...dialOption) string {
	t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second}
	for _, o := range opts {
		o(&d)
	}
	var c net.Conn
	var err error
	at(func() { c, err = d.DialContext(context.Background(), "tcp", addr) })
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// expect checks who answers at each address.
func expect(t *testing.T, at host, want map[string]string, opts ...dialOption) {
	t.Helper()
	for addr, who := range want {
		if got := reach(t, at, addr, opts...); got != who {
			t.Errorf("%s: answered by %q, want %q", addr, got, who)
		}
	}
}

// hosts returns both hosts with everything that listens on them.
func hosts(t *testing.T) (here, there host) {
	t.Helper()
	p, err := newPeer()
	if err != nil {
		t.Fatal(err)
	}
	here, there = func(f func()) { f() }, p.do
	for _, l := range []struct{ name, port string }{
		{"outbound proxy", "15001"}, {"inbound proxy", "15006"}, {"dns proxy", "15053"}, {"program", "8080"}, {"status", "15021"},
	} {
		listen(t, here, l.name, ":"+l.port)
	}
	for _, port := range []string{"80", "5432", "53"} {
		listen(t, there, "peer", ":"+port)
	}
	t.Cleanup(func() {
		if err := Remove(Namespace{}); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return here, there
}

func sidecar(change func(*Sidecar)) Sidecar {
	s := DefaultSidecar()
	if change != nil {
		change(&s)
	}
	return s
}

func install(t *testing.T, s interface{ Apply(Namespace) error }) {
	t.Helper()
	if err := s.Apply(Namespace{}); err != nil {
		t.Fatal(err)
	}
}

func TestSidecarOutbound(t *testing.T) {
	here, _ := hosts(t)
	install(t, sidecar(func(s *Sidecar) {
		s.ExcludeOutbound = []uint16{5432}
		s.PassMark = 0x539
	}))
	expect(t, here, map[string]string{
		there4 + ":80":          "outbound proxy for " + there4 + ":80 <nil>",
		"[" + there6 + "]:80":   "outbound proxy for [" + there6 + "]:80 <nil>",
		there4 + ":5432":        "peer",
		there4 + ":53":          "outbound proxy for " + there4 + ":53 <nil>",
		"127.0.0.1:8080":        "program",
		"[::1]:8080":            "program",
		here4 + ":8080":         "program",
		"127.0.0.1:15001":       "outbound proxy",
		"[" + there6 + "]:5432": "peer",
		"[" + here6 + "]:8080":  "program",
	})
	expect(t, here, map[string]string{there4 + ":80": "peer", "[" + there6 + "]:80": "peer"}, marked(0x539))
}

func TestSidecarLeavesExcludedRangesAlone(t *testing.T) {
	here, _ := hosts(t)
	install(t, sidecar(func(s *Sidecar) {
		s.ExcludeOutboundCIDRs = []netip.Prefix{netip.MustParsePrefix("10.99.0.0/30"), netip.MustParsePrefix("fd99::2/127")}
	}))
	expect(t, here, map[string]string{there4 + ":80": "peer", "[" + there6 + "]:80": "peer"})
	install(t, sidecar(func(s *Sidecar) {
		s.ExcludeOutboundCIDRs = []netip.Prefix{netip.MustParsePrefix("10.99.0.4/30"), netip.MustParsePrefix("fd99::4/127")}
	}))
	expect(t, here, map[string]string{there4 + ":80": "outbound proxy for " + there4 + ":80 <nil>"})
}

func TestProxysOwnConnectionsPass(t *testing.T) {
	here, _ := hosts(t)
	for _, s := range []Sidecar{
		sidecar(func(s *Sidecar) { s.ProxyUID = 0; s.DNSPort = 15053 }),
		sidecar(func(s *Sidecar) { s.ProxyGID = 0; s.DNSPort = 15053 }),
	} {
		install(t, s)
		expect(t, here, map[string]string{
			there4 + ":80":        "peer",
			"[" + there6 + "]:80": "peer",
			there4 + ":53":        "peer",
			"127.0.0.1:8080":      "program",
			"[::1]:8080":          "program",
			// A call that comes back to this machine comes in at the door.
			here4 + ":8080":        "inbound proxy for " + here4 + ":8080 <nil>",
			"[" + here6 + "]:8080": "inbound proxy for [" + here6 + "]:8080 <nil>",
		})
		expect(t, here, map[string]string{here4 + ":8080": "program"}, from("127.0.0.6"))
	}
}

func TestSidecarInbound(t *testing.T) {
	_, there := hosts(t)
	install(t, sidecar(nil))
	expect(t, there, map[string]string{
		here4 + ":8080":         "inbound proxy for " + here4 + ":8080 <nil>",
		"[" + here6 + "]:8080":  "inbound proxy for [" + here6 + "]:8080 <nil>",
		here4 + ":7":            "inbound proxy for " + here4 + ":7 <nil>",
		here4 + ":15021":        "status",
		"[" + here6 + "]:15021": "status",
		here4 + ":15020":        "refused",
	})
	install(t, sidecar(func(s *Sidecar) { s.InboundPort = 0 }))
	expect(t, there, map[string]string{here4 + ":8080": "program"})
}

func TestSidecarDNS(t *testing.T) {
	here, _ := hosts(t)
	install(t, sidecar(func(s *Sidecar) { s.DNSPort = 15053 }))
	expect(t, here, map[string]string{
		there4 + ":53":        "dns proxy for " + there4 + ":53 <nil>",
		"[" + there6 + "]:53": "dns proxy for [" + there6 + "]:53 <nil>",
	})
	pc, err := net.ListenPacket("udp4", "127.0.0.1:15053")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	c, err := net.Dial("udp4", there4+":53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 32)
	_ = pc.SetDeadline(time.Now().Add(5 * time.Second))
	n, client, err := pc.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.WriteTo(b[:n], client); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(b); err != nil || string(b[:n]) != "question" {
		t.Errorf("the answer: %q %v", b[:n], err)
	}
}

func TestProgram(t *testing.T) {
	here, there := hosts(t)
	install(t, Program{OutboundPort: 15001, DNSPort: 15053, Local: []netip.Addr{netip.MustParseAddr(here4), netip.MustParseAddr(here6)}})
	expect(t, here, map[string]string{
		there4 + ":80":         "outbound proxy for " + there4 + ":80 <nil>",
		"[" + there6 + "]:80":  "outbound proxy for [" + there6 + "]:80 <nil>",
		there4 + ":53":         "dns proxy for " + there4 + ":53 <nil>",
		"127.0.0.1:8080":       "program",
		"127.0.0.9:8080":       "program",
		here4 + ":8080":        "program",
		"[" + here6 + "]:8080": "program",
	})
	var pc net.PacketConn
	var err error
	there(func() { pc, err = net.ListenPacket("udp", ":4433") })
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	for _, to := range []string{there4 + ":4433", "[" + there6 + "]:4433"} {
		c, err := net.Dial("udp", to)
		if err == nil {
			if _, err = c.Write([]byte("hello")); err == nil {
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				_, err = c.Read(make([]byte, 1))
			}
			c.Close()
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a datagram to %s: %v, want a refusal", to, err)
		}
	}
	_ = pc.SetReadDeadline(time.Now())
	if n, _, err := pc.ReadFrom(make([]byte, 8)); err == nil {
		t.Errorf("%d bytes came through", n)
	}
}

func TestApplyInAnotherNamespace(t *testing.T) {
	_, there := hosts(t)
	p, err := newPeer()
	if err != nil {
		t.Fatal(err)
	}
	listen(t, there, "their proxy", ":15001")
	ns := Namespace{FD: p.ns}
	if err := sidecar(nil).Apply(ns); err != nil {
		t.Fatal(err)
	}
	expect(t, there, map[string]string{here4 + ":8080": "their proxy for " + here4 + ":8080 <nil>"})
	if err := Remove(ns); err != nil {
		t.Fatal(err)
	}
	if err := Remove(ns); err != nil {
		t.Errorf("once more: %v", err)
	}
	expect(t, there, map[string]string{here4 + ":8080": "program"})
}

func TestOriginalDstOfOtherThings(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := OriginalDst(a); err == nil || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("of a pipe: %v", err)
	}
}
