package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	soOriginalDst    = 80 // SO_ORIGINAL_DST, linux/netfilter_ipv4.h
	ip6tOriginalDst  = 80 // IP6T_SO_ORIGINAL_DST, linux/netfilter_ipv6/ip6_tables.h
	sockaddrPortByte = 2  // the port's place in sockaddr_in and sockaddr_in6
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
// IPv6Mreq is read because it is a getter for 20 bytes; the kernel fills in a
// sockaddr_in of 16.
func originalDst4(fd int) (netip.AddrPort, error) {
	sa, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b := sa.Multiaddr
	addr := netip.AddrFrom4([4]byte(b[4:8]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[sockaddrPortByte:])), nil
}

// originalDst6 reads a sockaddr_in6 through the getter that starts with one.
func originalDst6(fd int) (netip.AddrPort, error) {
	sa, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, ip6tOriginalDst)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := sa.Addr.Port // network byte order in a host integer
	return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr.Addr), port<<8|port>>8), nil
}
