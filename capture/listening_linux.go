package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// There is no event for "a port began to listen", so it is asked for: often
// while a program starts, seldom when it takes its time.
const (
	listenPollFast  = 2 * time.Millisecond
	listenPollSlow  = 20 * time.Millisecond
	listenFastPolls = 1000
)

// Listening waits until the program listens on a TCP port. It makes no
// connection. It fails when ctx ends or the program does.
func (n *Namespace) Listening(ctx context.Context, port uint16) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for polls := 0; ; polls++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on port %d: %w", n.program, port, context.Cause(ctx))
		case <-n.done:
			return fmt.Errorf("%s does not listen on port %d: it has ended: %s", n.program, port, n.exit)
		}
		ok, err := n.diag.listens(port)
		if errors.Is(err, unix.ENOENT) {
			ok, err = n.accepts(ctx, port) // a kernel without inet_diag
		}
		if err != nil {
			return fmt.Errorf("ask whether port %d listens: %w", port, err)
		}
		if ok {
			return nil
		}
		if polls < listenFastPolls {
			timer.Reset(listenPollFast)
		} else {
			timer.Reset(listenPollSlow)
		}
	}
}

func (n *Namespace) accepts(ctx context.Context, port uint16) (bool, error) {
	conn, err := n.Dial(ctx, port)
	if errors.Is(err, unix.ECONNREFUSED) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, conn.Close()
}

// listenQuery asks the kernel which ports listen, over a netlink socket that
// was made inside the namespace and so sees that one.
type listenQuery struct {
	mu   sync.Mutex // guards file: one question and its answers at a time
	file *os.File
	seq  uint32
}

func newListenQuery(f *os.File) (*listenQuery, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("sock_diag socket: %w", err)
	}
	return &listenQuery{file: os.NewFile(uintptr(fd), "sock_diag")}, nil
}

func (q *listenQuery) Close() error { return q.file.Close() }

func (q *listenQuery) listens(port uint16) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		found, err := q.ask(family, port)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// ask sends one inet_diag_req_v2 for listening sockets on a port.
// The layout is linux/inet_diag.h's.
func (q *listenQuery) ask(family byte, port uint16) (found bool, err error) {
	const tcpListen = 10
	q.seq++
	req := make([]byte, unix.NLMSG_HDRLEN+56)
	binary.NativeEndian.PutUint32(req[0:], uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(req[8:], q.seq)
	body := req[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], 1<<tcpListen)
	binary.BigEndian.PutUint16(body[8:], port)

	raw, err := q.file.SyscallConn()
	if err != nil {
		return false, err
	}
	ctlErr := raw.Control(func(fd uintptr) {
		if err = unix.Sendto(int(fd), req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err == nil {
			found, err = q.answers(int(fd))
		}
	})
	return found, errors.Join(ctlErr, err)
}

// answers reads until the end of the dump, so that the next question finds an
// empty socket. The kernel writes the answers while it takes the question, so reading never waits.
func (q *listenQuery) answers(fd int) (found bool, err error) {
	buf := make([]byte, 8192)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, os.NewSyscallError("recv", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return false, fmt.Errorf("netlink: %w", err)
		}
		for _, m := range msgs {
			if m.Header.Seq != q.seq {
				continue
			}
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return found, nil
			case unix.NLMSG_ERROR:
				if len(m.Data) < 4 {
					return false, errors.New("netlink: a short error")
				}
				return false, unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			case unix.SOCK_DIAG_BY_FAMILY:
				found = true
			}
		}
	}
}
