package sock

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Accepting returns a listener that takes ln's place and owns it: it accepts and closes TCP connections with raw system
// calls. The runtime's monitor thread sleeps while nothing runs, and the first call that the scheduler is told of wakes
// it, for a millisecond in which it looks around every 20 µs; accept4, setsockopt and close through the net package
// do that once or more often for each connection.
//
// Connections have TCP_NODELAY and the keep-alive probes that are asked for.
func Accepting(ln *net.TCPListener, keepAlive net.KeepAliveConfig) (net.Listener, error) {
	rc, err := ln.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	own := -1
	l := &listener{TCPListener: ln, keepAlive: keepAlive, reaper: reaper{atOnce: batch()}}
	var errno syscall.Errno
	err = rc.Control(func(fd uintptr) {
		if errno = l.prepare(fd); errno == 0 {
			var n uintptr
			n, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
			own = int(n)
		}
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	// The net package lets nobody wait for a listener in a callback; the os package does.
	l.file = os.NewFile(uintptr(own), "listener")
	if l.rc, err = l.file.SyscallConn(); err != nil {
		_ = l.file.Close() // nobody has it
		return nil, fmt.Errorf("accept: %w", err)
	}
	l.acceptFn = l.onAccept
	return l, nil
}

// listener is what Accepting returns.
type listener struct {
	*net.TCPListener
	keepAlive net.KeepAliveConfig
	// each says that connections don't get the listener's options from the kernel.
	each   bool
	file   *os.File
	rc     syscall.RawConn
	closed atomic.Bool
	reaper reaper

	mu       sync.Mutex // guards what follows, which acceptFn works on
	acceptFn func(fd uintptr) bool
	from, at syscall.RawSockaddrAny
	size     uint32
	fd       int
	errno    syscall.Errno
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errno = 0
	err := l.rc.Read(l.acceptFn)
	switch {
	case err != nil && l.closed.Load():
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	case err != nil:
		return nil, fmt.Errorf("accept: %w", err)
	case l.errno != 0:
		return nil, os.NewSyscallError("accept4", l.errno)
	}
	a := &accepted{remote: addressOf(&l.from), reaper: &l.reaper}
	l.size = uint32(unsafe.Sizeof(l.at))
	if _, _, errno := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(l.fd), uintptr(unsafe.Pointer(&l.at)), uintptr(unsafe.Pointer(&l.size))); errno == 0 {
		a.local = addressOf(&l.at)
	}
	if l.each {
		// A connection that has ended already says so when it is read.
		_ = setOptions(uintptr(l.fd), l.keepAlive)
	}
	a.file = os.NewFile(uintptr(l.fd), "connection")
	if a.rc, err = a.file.SyscallConn(); err != nil {
		_ = a.file.Close() // nobody has it
		return nil, fmt.Errorf("accept: %w", err)
	}
	return a, nil
}

func (l *listener) onAccept(fd uintptr) bool {
	for {
		l.size = uint32(unsafe.Sizeof(l.from))
		n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&l.from)), uintptr(unsafe.Pointer(&l.size)),
			syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case syscall.EAGAIN:
			return false
		case syscall.EINTR, syscall.ECONNABORTED:
			continue
		case syscall.EMFILE, syscall.ENFILE:
			l.reaper.hasten()
		}
		l.fd, l.errno = int(n), errno
		return true
	}
}

// SetDeadline bounds Accept.
func (l *listener) SetDeadline(t time.Time) error { return l.file.SetDeadline(t) }

// Close implements net.Listener.
func (l *listener) Close() error {
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	err := l.TCPListener.Close()
	if cerr := l.file.Close(); err == nil {
		err = cerr
	}
	l.reaper.end()
	return err
}

// prepare sets what connections are to have on the listening socket: on Linux they get it from there. Those of a
// multipath socket don't.
func (l *listener) prepare(fd uintptr) syscall.Errno {
	protocol, size := int32(0), uint32(unsafe.Sizeof(int32(0)))
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, syscall.SO_PROTOCOL,
		uintptr(unsafe.Pointer(&protocol)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || protocol != syscall.IPPROTO_TCP {
		l.each = true
		return 0
	}
	return setOptions(fd, l.keepAlive)
}

func setOptions(fd uintptr, k net.KeepAliveConfig) syscall.Errno {
	var failed syscall.Errno
	set := func(level, option uintptr, value int32) {
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, fd, level, option, uintptr(unsafe.Pointer(&value)),
			unsafe.Sizeof(value), 0); failed == 0 {
			failed = errno
		}
	}
	set(syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if !k.Enable {
		set(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 0)
		return failed
	}
	seconds := func(d time.Duration, otherwise int32) int32 {
		if d <= 0 {
			return otherwise
		}
		return int32((d + time.Second - 1) / time.Second)
	}
	set(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
	set(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, seconds(k.Idle, keepAliveSeconds))
	set(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, seconds(k.Interval, keepAliveSeconds))
	count := int32(k.Count)
	if count <= 0 {
		count = keepAliveCount
	}
	set(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, count)
	return failed
}

// What the net package takes for zero.
const (
	keepAliveSeconds = 15
	keepAliveCount   = 9
)

// addressOf reads what the kernel has written.
func addressOf(sa *syscall.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case syscall.AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkPort(&in.Port))
	case syscall.AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		ip := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 {
			ip = ip.WithZone(zoneName(in.Scope_id))
		}
		return netip.AddrPortFrom(ip, networkPort(&in.Port))
	}
	return netip.AddrPort{}
}

func networkPort(p *uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(p))
	return uint16(b[0])<<8 | uint16(b[1])
}

// zoneName is for link-local addresses only.
func zoneName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}
