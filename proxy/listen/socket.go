package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/sock"
)

// Socket is a listening socket that a listener accepts from.
type Socket struct {
	Listener net.Listener
	// OriginalDst tells where an accepted connection meant to go; nil asks the kernel where the listener's filters
	// want that (SO_ORIGINAL_DST).
	OriginalDst func(net.Conn) (netip.AddrPort, error)
}

// open binds an address of a listener.
func open(ctx context.Context, l *plan.Listener, a *plan.Address) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, rc syscall.RawConn) error { return control(l, rc) }}
	if k := keepAliveOf(l); k.Enable {
		lc.KeepAlive, lc.KeepAliveConfig = 0, k
	}
	lc.SetMultipathTCP(false) // as in Envoy, unless it is asked for
	if a.Path == "" {
		ln, err := lc.Listen(ctx, "tcp", a.IP.String())
		if err == nil {
			err = queues(l, ln)
		}
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
		return ln, nil
	}
	// A socket file that a process before us left would be in the way.
	if a.Path[0] != '@' {
		if c, err := net.DialTimeout("unix", a.Path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("listener %s: %s is in use", l.Name, a.Path)
		}
		if err := os.Remove(a.Path); err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
	}
	ln, err := lc.Listen(ctx, "unix", a.Path)
	if err == nil && a.Mode != 0 && a.Path[0] != '@' {
		err = os.Chmod(a.Path, fs.FileMode(a.Mode))
	}
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	return ln, nil
}

func keepAliveOf(l *plan.Listener) net.KeepAliveConfig {
	k := l.KeepAlive
	if k == nil {
		return net.KeepAliveConfig{}
	}
	return net.KeepAliveConfig{Enable: true, Idle: k.Time, Interval: k.Interval, Count: int(k.Probes)}
}

// givenKeepAlive is what connections of sockets that were given have: the net package's.
var givenKeepAlive = net.KeepAliveConfig{Enable: true}

// quicken has a socket accept as sock.Accepting does, if it is a TCP socket.
func (s *Server) quicken(a *active, sk *Socket) {
	tl, ok := sk.Listener.(*net.TCPListener)
	if !ok {
		return
	}
	keepAlive := keepAliveOf(a.current.Load().listener)
	if a.given {
		keepAlive = givenKeepAlive
	}
	ln, err := sock.Accepting(tl, keepAlive)
	if err != nil {
		s.opts.Logger.Warn("listener accepts the slower way", "listener", a.name, "error", err)
		return
	}
	sk.Listener = ln
}

func control(l *plan.Listener, rc syscall.RawConn) error {
	var err error
	set := func(fd uintptr, level, option int) {
		if err == nil {
			err = unix.SetsockoptInt(int(fd), level, option, 1)
		}
	}
	cerr := rc.Control(func(fd uintptr) {
		if l.Transparent {
			set(fd, unix.SOL_IP, unix.IP_TRANSPARENT)
		}
		if l.Freebind {
			set(fd, unix.SOL_IP, unix.IP_FREEBIND)
		}
	})
	if err == nil {
		err = cerr
	}
	return err
}

// queues sets how long the queues of a listening socket may become. Calling listen again is the way to change it.
func queues(l *plan.Listener, ln net.Listener) error {
	sc, ok := ln.(syscall.Conn)
	if !ok || l.Backlog == 0 && l.TCPFastOpenQueue == 0 {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var berr, ferr error
	err = rc.Control(func(fd uintptr) {
		if l.Backlog > 0 {
			berr = os.NewSyscallError("listen", unix.Listen(int(fd), l.Backlog))
		}
		if n := l.TCPFastOpenQueue; n > 0 {
			ferr = os.NewSyscallError("setsockopt TCP_FASTOPEN", unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN, int(min(n, 1<<16))))
		}
	})
	return errors.Join(err, berr, ferr)
}

// kernelOriginalDst asks the kernel where a redirected connection was going.
func kernelOriginalDst(nc net.Conn) (netip.AddrPort, error) {
	at, _ := addrPorts(nc)
	sc, ok := nc.(syscall.Conn)
	if !ok || !at.IsValid() {
		return netip.AddrPort{}, nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", err)
	}
	var dst netip.AddrPort
	var gerr error
	err = rc.Control(func(fd uintptr) { dst, gerr = getOriginalDst(int(fd), at) })
	if err == nil {
		err = gerr
	}
	return dst, err
}

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST.
const soOriginalDst = 80

func getOriginalDst(fd int, at netip.AddrPort) (netip.AddrPort, error) {
	var sa unix.RawSockaddrInet6 // or RawSockaddrInet4, which is shorter
	level := uintptr(unix.IPPROTO_IP)
	if at.Addr().Is6() {
		level = unix.IPPROTO_IPV6
	}
	size := uint32(unsafe.Sizeof(sa))
	// Raw, as it can't block: see sock.Accepting.
	if _, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, soOriginalDst,
		uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", errno)
	}
	if at.Addr().Is6() {
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), sa.Port>>8|sa.Port<<8), nil
	}
	sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
	return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), sa4.Port>>8|sa4.Port<<8), nil
}

// descriptorOf is the number of a connection's descriptor, or -1.
func descriptorOf(nc net.Conn) int {
	n := -1
	if sc, ok := nc.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			_ = rc.Control(func(fd uintptr) { n = int(fd) }) // fails only on a closed connection
		}
	}
	return n
}

// addrPorts are a connection's addresses.
func addrPorts(nc net.Conn) (local, remote netip.AddrPort) {
	if known, ok := nc.(interface {
		AddrPorts() (local, remote netip.AddrPort)
	}); ok {
		return known.AddrPorts()
	}
	return addrPort(nc.LocalAddr()), addrPort(nc.RemoteAddr())
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
