package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lateen.dev/lateen/capture/redirect"
)

// The names under which the executable runs again.
const (
	stubName   = "lateen-namespace"
	keeperName = "lateen-keeper"
)

// The descriptors that stub and keeper inherit.
const (
	linkFD = 3
	specFD = 4
)

// IsStub says whether a command line is that of the stub or the keeper, which
// Start makes; main must then do nothing but exit with StubMain's result.
func IsStub(args []string) bool {
	return len(args) > 0 && (args[0] == stubName || args[0] == keeperName)
}

// StubMain is the life of the first process inside: set up, drop capabilities,
// keep the program. It returns the exit code.
func StubMain(args []string) int {
	// Capabilities belong to threads; the one that drops them must be the one
	// that executes the keeper, and the program's death signal hangs on the
	// thread that started it.
	runtime.LockOSThread()
	if args[0] == keeperName {
		return keep()
	}
	if stage, err := setUp(); err != nil {
		return reportFailure(stage, err)
	}
	if err := dropCapabilities(); err != nil {
		return reportFailure(stageDrop, err)
	}
	err := dropOnAllThreads()
	if errors.Is(err, unix.ENOTSUP) {
		// With cgo the runtime doesn't know all threads. Executing itself
		// again leaves only this one, and comes back to the keeper's branch.
		argv := append([]string{keeperName}, args[1:]...)
		return reportFailure(stageKeeper, unix.Exec("/proc/self/exe", argv, keeperEnv()))
	}
	if err != nil {
		return reportFailure(stageDrop, err)
	}
	return keep()
}

// reportFailure tells the caller, if there still is one.
func reportFailure(stage string, err error) int {
	if l, lerr := newLink(os.NewFile(linkFD, "caller")); lerr == nil {
		_ = l.send(failedMessage(stage, err))
	}
	return 1
}

// setUp makes the namespace ready and gives its sockets to the caller.
func setUp() (stage string, err error) {
	hasIPv6, err := bringUpLoopback()
	if err != nil {
		return stageDevice, err
	}
	rules := redirect.Program{OutboundPort: OutboundPort, DNSPort: DNSPort}
	rules.Local = append(rules.Local, ProgramIPv4, ProgramIPv6)
	hideSockets(resolverSockets())
	if err := rules.Apply(redirect.Namespace{}); err != nil {
		return stageRules, err
	}
	return stageSockets, handOver(hasIPv6)
}

// bringUpLoopback makes every address reachable through lo, so that a
// connection anywhere gets as far as the packet rules. The source address must
// be one that may talk to the world, which 127.0.0.1 may not.
func bringUpLoopback() (hasIPv6 bool, err error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return false, fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return false, fmt.Errorf("lo up: %w", err)
	}
	v4, v6 := ProgramIPv4.AsSlice(), ProgramIPv6.AsSlice()
	if err := addAddress(lo, v4, 32); err != nil {
		return false, err
	}
	if err := addAddress(lo, v6, 128); err == nil {
		hasIPv6 = true
	} else if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return false, err // other errors mean that the kernel has IPv6 and it should work
	}
	// Best effort: a container may have /proc/sys read-only, and then the
	// program needs a port above 1023, as it would outside.
	_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
	return hasIPv6, nil
}

// addAddress adds the address and a default route that uses it.
func addAddress(lo netlink.Link, ip net.IP, bits int) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)}, Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		return fmt.Errorf("address %s: %w", ip, err)
	}
	anywhere := &net.IPNet{IP: make(net.IP, len(ip)), Mask: net.CIDRMask(0, bits)}
	route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: anywhere, Src: ip}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("default route from %s: %w", ip, err)
	}
	return nil
}

// handOver opens the sockets and gives them to the caller, who then has the
// only descriptors of them.
func handOver(hasIPv6 bool) error {
	fds := make([]int, handedDNSUDP6, handedDNSUDP6+1)
	for i := range fds {
		fds[i] = -1
	}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	var err error
	if fds[handedOutbound], err = listenTCP(hasIPv6, OutboundPort); err != nil {
		return fmt.Errorf("port %d: %w", OutboundPort, err)
	}
	if fds[handedDNSTCP], err = listenTCP(hasIPv6, DNSPort); err != nil {
		return fmt.Errorf("port %d: %w", DNSPort, err)
	}
	// Not the unspecified address: an answer must come from the address that
	// the query was redirected to, or it is not translated back.
	if fds[handedDNSUDP4], err = bindSocket(unix.SOCK_DGRAM, &unix.SockaddrInet4{Port: DNSPort, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	if fds[handedDiag], err = unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG); err != nil {
		return fmt.Errorf("sock_diag: %w", err)
	}
	if hasIPv6 {
		fd, err := bindSocket(unix.SOCK_DGRAM, &unix.SockaddrInet6{Port: DNSPort, Addr: [16]byte{15: 1}})
		if err != nil {
			return fmt.Errorf("DNS over IPv6: %w", err)
		}
		fds = append(fds, fd)
	}
	head := []byte{msgReady, 0, 0, 0, 0}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(linkFD, head, unix.UnixRights(fds...), nil, 0))
}

// listenTCP listens on both families where there are both. Nothing but the
// program can reach it, so it may listen on every address.
func listenTCP(hasIPv6 bool, port int) (int, error) {
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: port}
	if hasIPv6 {
		sa = &unix.SockaddrInet6{Port: port}
	}
	fd, err := bindSocket(unix.SOCK_STREAM, sa)
	if err != nil {
		return -1, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("listen", err)
	}
	return fd, nil
}

func bindSocket(kind int, sa unix.Sockaddr) (int, error) {
	family := unix.AF_INET
	if _, six := sa.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if family == unix.AF_INET6 {
		v6only := 1
		if kind == unix.SOCK_STREAM {
			v6only = 0
		}
		err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, v6only)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sa))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// secureBits, from linux/securebits.h, each with its lock (the bit above):
// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE on, KEEP_CAPS off.
const secureBits = 0b11<<0 | 0b11<<2 | 0b10<<4 | 0b11<<6

// dropCapabilities leaves the calling thread, and what it executes, without any
// capability or a way to gain one, even as user 0.
func dropCapabilities() error {
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // past the last one that the kernel knows
		}
		if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0); err != nil {
		return fmt.Errorf("securebits: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("ambient capabilities: %w", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

// dropOnAllThreads takes the capabilities from the other threads, too. They
// execute nothing, so the rest of dropCapabilities is not for them.
func dropOnAllThreads() error {
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	none := &[2]unix.CapUserData{}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(none)), 0)
	if errno != 0 {
		return fmt.Errorf("capset on all threads: %w", errno)
	}
	_, _, errno = syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("no_new_privs on all threads: %w", errno)
	}
	return nil
}
