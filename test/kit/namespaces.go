package kit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lateen.dev/lateen/capture/redirect"
	"lateen.dev/lateen/proxy/upstream"
)

// namespaces is a Network of network namespaces, joined by a bridge that stands in one more.
type namespaces struct {
	hub *namespace

	mu     sync.Mutex // guards what follows
	places []*namespace
}

// Namespaces makes a Network of the kernel's network namespaces. It takes root, at least inside a user namespace: see
// Main.
func Namespaces() (Network, error) {
	hub, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("network namespaces (root is needed, or a user namespace): %w", err)
	}
	n := &namespaces{hub: hub}
	err = hub.inside(func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		bridge.Name = "hub"
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
		return setUp("hub", netip.PrefixFrom(hubAddr(), prefixBits))
	})
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Hub is the place that all hosts are connected to.
func (n *namespaces) Hub() Place { return n.hub }

// Place implements Network.
func (n *namespaces) Place(name string, addr netip.Addr) (Place, error) {
	p, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	n.mu.Lock()
	n.places = append(n.places, p)
	cable := "host" + strconv.Itoa(len(n.places))
	n.mu.Unlock()
	err = n.hub.inside(func() error { return plug(cable, p.fd) })
	if err == nil {
		err = p.inside(func() error { return setUpHost(addr) })
	}
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return p, nil
}

// plug lays a cable from the bridge to a namespace.
func plug(cable string, ns int) error {
	bridge, err := netlink.LinkByName("hub")
	if err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}
	veth.Name, veth.MasterIndex = cable, bridge.Attrs().Index
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("cable: %w", err)
	}
	return netlink.LinkSetUp(veth)
}

func setUpHost(addr netip.Addr) error {
	if err := setUp("eth0", netip.PrefixFrom(addr, prefixBits)); err != nil {
		return err
	}
	// Virtual addresses of services lead here when nothing captures them.
	if err := netlink.RouteAdd(&netlink.Route{Gw: hubAddr().AsSlice()}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	// A gateway's proxy is no root, and opens the ports that its Gateways name.
	return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
}

func setUp(device string, addrs ...netip.Prefix) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	for _, a := range addrs {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}); err != nil {
			return fmt.Errorf("%s on %s: %w", a, device, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// Close implements Network.
func (n *namespaces) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, p := range append(n.places, n.hub) {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// namespace is a network namespace, alive as long as its thread, its open file and its sockets and processes are.
type namespace struct {
	fd   int
	work chan func()
	done chan struct{}
}

func newNamespace() (*namespace, error) {
	p := &namespace{work: make(chan func()), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine. Children are started from it, so that they end with it too.
		runtime.LockOSThread()
		defer close(p.done)
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			p.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if err == nil {
			err = setUp("lo")
		}
		started <- err
		for f := range p.work {
			f()
		}
	}()
	if err := <-started; err != nil {
		close(p.work)
		<-p.done
		return nil, err
	}
	return p, nil
}

// inside runs f on the namespace's own thread.
func (p *namespace) inside(f func() error) error {
	result := make(chan error, 1)
	p.work <- func() { result <- f() }
	return <-result
}

// beside runs f on a thread of its own in the namespace, for what may take long.
func (p *namespace) beside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is of no use elsewhere
		if err := unix.Setns(p.fd, unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("entering a network namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

func (p *namespace) close() error {
	close(p.work)
	<-p.done
	return unix.Close(p.fd)
}

// Listen implements Place.
func (p *namespace) Listen(address string) (net.Listener, error) {
	var l net.Listener
	err := p.inside(func() error {
		var err error
		l, err = net.Listen("tcp4", address)
		return err
	})
	return l, err
}

// ListenPacket opens a UDP socket.
func (p *namespace) ListenPacket(address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := p.inside(func() error {
		var err error
		c, err = net.ListenPacket("udp4", address)
		return err
	})
	return c, err
}

// Dial implements Place.
func (p *namespace) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := p.beside(func() error {
		var d net.Dialer
		var err error
		c, err = d.DialContext(ctx, "tcp4", to.String())
		return err
	})
	return c, err
}

// Capture implements Place.
func (p *namespace) Capture(inbound bool) error {
	rules := redirect.DefaultSidecar()
	rules.PassMark = passMark
	if !inbound {
		rules.InboundPort, rules.OutboundPort = 0, 0
	}
	return rules.Apply(redirect.Namespace{FD: p.fd})
}

// Start implements Place.
func (p *namespace) Start(cmd *exec.Cmd) error {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if hasUser() {
		attr.Credential = &syscall.Credential{Uid: proxyUser, Gid: proxyUser}
	}
	cmd.SysProcAttr = attr
	return p.inside(cmd.Start)
}

// hasUser says whether the proxy's user exists: it doesn't in a user namespace that maps one user only.
func hasUser() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	var inside, outside, count int
	_, err = fmt.Sscan(string(data), &inside, &outside, &count)
	return err == nil && inside <= proxyUser && proxyUser-inside < count
}

// unshare runs this very program again in a user and network namespace in which it is root, and returns its exit code,
// if it isn't root; otherwise again is false.
func unshare() (code int, again bool) {
	if os.Geteuid() == 0 {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	case err != nil:
		fmt.Fprintf(os.Stderr, "tests with network namespaces need root or user namespaces: %v\n", err)
		return 1, true
	}
	return 0, true
}

// markedDialer dials so that what it opens is not captured.
func markedDialer(string) upstream.Dialer {
	d := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, passMark) }), err)
	}}
	return d.DialContext
}
