package listen

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Values of classic BPF that golang.org/x/sys/unix lacks names for in one place.
const (
	tcpFlags  = 13 // offset of the flags in a TCP header
	maskSYN   = 0x12
	onlySYN   = 0x02
	passWhole = 0xffffffff
)

// refuseNew has the kernel drop the packets by which clients open connections to a listening TCP socket, and nothing
// else: whoever is in the middle of opening one comes through, and can still be accepted, before the socket is closed.
// Later clients try again, and are refused. It is best effort: without it those who connect in the moment in which
// the socket is closed see a reset.
func refuseNew(ln net.Listener) {
	tl, ok := ln.(syscall.Conn)
	if !ok || ln.Addr().Network() != "tcp" {
		return
	}
	rc, err := tl.SyscallConn()
	if err != nil {
		return
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: maskSYN},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: onlySYN},
		{Code: unix.BPF_RET | unix.BPF_K, K: passWhole},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}
