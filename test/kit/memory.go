package kit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/upstream"
)

// memory is a Network without sockets of the network: connections are pairs of sockets that know nothing of addresses, and
// a table says who gets the other end.
type memory struct {
	mu     sync.Mutex // guards what follows
	places map[netip.Addr]*memoryPlace
	port   uint16 // the last one that a client had
}

// Memory makes a Network in memory, in which our own proxies run, inside this process.
func Memory() (Network, error) { return &memory{places: map[netip.Addr]*memoryPlace{}}, nil }

// Place implements Network.
func (n *memory) Place(_ string, addr netip.Addr) (Place, error) {
	p := &memoryPlace{network: n, addr: addr, listeners: map[uint16]*memoryListener{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.places[addr] = p
	return p, nil
}

// Close implements Network.
func (n *memory) Close() error { return nil }

func (n *memory) at(addr netip.Addr) *memoryPlace {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.places[addr]
}

func (n *memory) clientPort() uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.port = max(n.port+1, 30000)
	return n.port
}

// memoryPlace is a host's place in memory.
type memoryPlace struct {
	network *memory
	addr    netip.Addr

	mu        sync.Mutex // guards what follows
	listeners map[uint16]*memoryListener
	// outbound and inbound are the proxy's, once the host is captured.
	outbound, inbound *memoryListener
	captured          bool
}

// Listen implements Place.
func (p *memoryPlace) Listen(address string) (net.Listener, error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	l := newMemoryListener(netip.AddrPortFrom(p.addr, a.Port()))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners[a.Port()] = l
	return l, nil
}

// Dial implements Place.
func (p *memoryPlace) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	captured, out := p.captured && p.outbound != nil, p.outbound
	p.mu.Unlock()
	if captured && to.Addr() != p.addr && !to.Addr().IsLoopback() {
		return out.dial(ctx, p.addr, p.network.clientPort(), to)
	}
	return p.deliver(ctx, to)
}

// deliver connects to whoever has the address, its proxy before its program.
func (p *memoryPlace) deliver(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if to.Addr() == p.addr || to.Addr().IsLoopback() {
		return p.program(ctx, to)
	}
	other := p.network.at(to.Addr())
	if other == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	}
	other.mu.Lock()
	in := other.inbound
	if !other.captured {
		in = nil
	}
	other.mu.Unlock()
	if in != nil {
		return in.dial(ctx, p.addr, p.network.clientPort(), to)
	}
	return other.programFrom(ctx, p.addr, to)
}

func (p *memoryPlace) program(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return p.programFrom(ctx, netip.AddrFrom4([4]byte{127, 0, 0, 6}), to)
}

func (p *memoryPlace) programFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	l := p.listeners[to.Port()]
	p.mu.Unlock()
	if l == nil {
		return nil, refused()
	}
	return l.dial(ctx, from, p.network.clientPort(), to)
}

func refused() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// Capture implements Place.
func (p *memoryPlace) Capture(bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.captured = true
	return nil
}

// Start implements Place.
func (p *memoryPlace) Start(*exec.Cmd) error {
	return errors.New("a network in memory has no place for processes")
}

// sockets are what the host's proxy accepts from.
func (p *memoryPlace) sockets(h *Host) map[string][]listen.Socket {
	out := map[string][]listen.Socket{}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !h.Gateway {
		p.outbound, p.inbound = newMemoryListener(netip.AddrPortFrom(p.addr, outboundPort)), newMemoryListener(netip.AddrPortFrom(p.addr, inboundPort))
		out["virtualOutbound"] = []listen.Socket{{Listener: p.outbound, OriginalDst: originalDst}}
		out["virtualInbound"] = []listen.Socket{{Listener: p.inbound, OriginalDst: originalDst}}
	}
	for _, port := range h.Opens {
		l := newMemoryListener(netip.AddrPortFrom(p.addr, port))
		p.listeners[port] = l
		out["0.0.0.0_"+strconv.Itoa(int(port))] = []listen.Socket{{Listener: l, OriginalDst: originalDst}}
	}
	return out
}

// upstream reaches the endpoints of a cluster.
func (p *memoryPlace) upstream(cluster string) upstream.Dialer {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, fmt.Errorf("address: %w", err)
		}
		if strings.HasPrefix(cluster, "inbound|") || strings.HasPrefix(cluster, "InboundPassthroughCluster") {
			return p.program(ctx, to)
		}
		if to.Addr() == p.addr { // the program calls its own service
			return p.inbound.dial(ctx, p.addr, p.network.clientPort(), to)
		}
		return p.deliver(ctx, to)
	}
}

func originalDst(c net.Conn) (netip.AddrPort, error) {
	m, ok := c.(*memoryConn)
	if !ok {
		return netip.AddrPort{}, errors.New("the connection is not the kit's")
	}
	return m.local, nil
}

// memoryListener hands over the other ends of connections.
type memoryListener struct {
	addr  netip.AddrPort
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// backlog is how many connections wait to be accepted.
const backlog = 128

func newMemoryListener(addr netip.AddrPort) *memoryListener {
	return &memoryListener{addr: addr, conns: make(chan net.Conn, backlog), done: make(chan struct{})}
}

// dial connects to the listener, for a client that means to reach to.
func (l *memoryListener) dial(ctx context.Context, from netip.Addr, port uint16, to netip.AddrPort) (net.Conn, error) {
	select {
	case <-l.done:
		return nil, refused()
	default:
	}
	a, b, err := socketPair()
	if err != nil {
		return nil, err
	}
	source := netip.AddrPortFrom(from, port)
	server := &memoryConn{UnixConn: b, local: to, remote: source}
	select {
	case l.conns <- server:
		return &memoryConn{UnixConn: a, local: source, remote: to}, nil
	case <-l.done:
		err = refused()
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, a.Close(), b.Close())
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.conns:
			// Nobody will accept it.
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// memoryConn is one end of a socket pair with the addresses that a connection would have.
type memoryConn struct {
	*net.UnixConn
	local, remote netip.AddrPort
}

// LocalAddr is where the client meant to connect to, on the server's side.
func (c *memoryConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements net.Conn.
func (c *memoryConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func socketPair() (*net.UnixConn, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		// FileConn has made a copy.
		_ = f.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("socket pair: %w", err)
		}
		conns[i], _ = c.(*net.UnixConn)
	}
	return conns[0], conns[1], nil
}
