package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	soOriginalDst   = 80 // SO_ORIGINAL_DST, linux/netfilter_ipv4.h
	ip6tOriginalDst = 80 // IP6T_SO_ORIGINAL_DST, linux/netfilter_ipv6/ip6_tables.h
)

// ErrNotRedirected: the connection was made to the listener itself.
var ErrNotRedirected = errors.New("the connection was not redirected")

// OriginalDst tells where a redirected TCP connection was going. A connection
// that no rule has turned gives ErrNotRedirected.
func OriginalDst(conn net.Conn) (netip.AddrPort, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("original destination of a %T: no socket beneath", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", err)
	}
	local, _ := conn.LocalAddr().(*net.TCPAddr)
	var dst netip.AddrPort
	var getErr error
	if err := raw.Control(func(fd uintptr) {
		if local != nil && local.IP.To4() == nil {
			dst, getErr = originalDst6(int(fd))
		} else {
			dst, getErr = originalDst4(int(fd))
		}
	}); err != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", err)
	}
	if errors.Is(getErr, unix.ENOENT) {
		return netip.AddrPort{}, ErrNotRedirected
	}
	if getErr != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", getErr)
	}
	if local != nil {
		at := local.AddrPort() // an IPv4 address in IPv6's clothes on a dual-stack socket
		if dst == netip.AddrPortFrom(at.Addr().Unmap(), at.Port()) {
			return netip.AddrPort{}, ErrNotRedirected
		}
	}
	return dst, nil
}

// originalDst4 also serves IPv4 connections accepted on a dual-stack socket.
func originalDst4(fd int) (netip.AddrPort, error) {
	var sa unix.RawSockaddrInet4
	err := getsockopt(fd, unix.SOL_IP, soOriginalDst, unsafe.Pointer(&sa), unsafe.Sizeof(sa))
	return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), hostOrder(sa.Port)), err
}

func originalDst6(fd int) (netip.AddrPort, error) {
	var sa unix.RawSockaddrInet6
	err := getsockopt(fd, unix.SOL_IPV6, ip6tOriginalDst, unsafe.Pointer(&sa), unsafe.Sizeof(sa))
	return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), hostOrder(sa.Port)), err
}

// getsockopt doesn't tell Go's scheduler, whose monitor thread would wake up for each connection: the call can't block.
func getsockopt(fd int, level, option uintptr, value unsafe.Pointer, room uintptr) error {
	size := uint32(room)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, option, uintptr(value), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// hostOrder reads a port in network byte order.
func hostOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
