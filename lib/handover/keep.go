package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is the process that has the post.
type Holder struct {
	// Sockets are what a successor may take.
	Sockets func() []Socket
	// Release stops accepting, and closes this process's copies of the sockets without ending them.
	Release func()
	// Failed is told why a successor did not take over; may be nil.
	Failed func(error)
}

// Keep serves successors, one at a time, until one has taken over, which gives nil, or ctx ends.
func (p *Post) Keep(ctx context.Context, h Holder) error {
	stop := context.AfterFunc(ctx, func() { _ = p.control.SetDeadline(time.Unix(1, 0)) }) // fails only once it is closed
	defer stop()
	for {
		c, err := p.control.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close() // it finds nobody
			}
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("hot restart: %w", err)
		}
		err = p.serve(ctx, c, h)
		_ = c.Close() // all has been said
		if err == nil {
			return nil
		}
		if h.Failed != nil && ctx.Err() == nil {
			h.Failed(err)
		}
	}
}

// serve hands the sockets to a process, and waits until that is ready to accept.
func (p *Post) serve(ctx context.Context, c *net.UnixConn, h Holder) error {
	if err := sameUser(c); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(p.o.Patience)); err != nil {
		return err
	}
	if err := expect(c, wantSockets); err != nil {
		return err
	}
	if err := p.give(c, h.Sockets()); err != nil {
		return err
	}
	// How long it takes to get ready is the successor's matter; if it dies the connection ends.
	if err := c.SetDeadline(time.Time{}); err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if err := expect(c, wantRelief); err != nil {
		return err
	}
	p.control.SetUnlinkOnClose(false)
	h.Release()
	// It is in charge now, whether it hears this or not.
	_ = send(c, message{}, nil)
	return nil
}

func expect(c *net.UnixConn, want string) error {
	m, files, err := receive(c)
	closeFiles(files)
	switch {
	case err != nil:
		return err
	case m.Want != want:
		return fmt.Errorf("message: %q is asked for, not %q", m.Want, want)
	}
	return nil
}

// give sends the sockets, and the post's own.
func (p *Post) give(c *net.UnixConn, sockets []Socket) error {
	sockets = append([]Socket{{controlKey, p.control}}, sockets...)
	for len(sockets) > 0 {
		n := min(len(sockets), maxFiles)
		if err := p.giveSome(c, sockets[:n], n < len(sockets)); err != nil {
			return err
		}
		sockets = sockets[n:]
	}
	return nil
}

func (p *Post) giveSome(c *net.UnixConn, sockets []Socket, more bool) error {
	m := message{Epoch: p.epoch, More: more}
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd) // the message has its own
		}
	}()
	for _, s := range sockets {
		fd, err := Copy(s.Listener)
		if err != nil {
			return fmt.Errorf("socket %q: %w", s.Key, err)
		}
		fds = append(fds, fd)
		m.Keys = append(m.Keys, s.Key)
	}
	return send(c, m, fds)
}

// Copy duplicates the descriptor of a listener or a connection. os.File's way of doing that would make the socket block,
// for the one who uses it, too.
func Copy(of any) (int, error) {
	sc, ok := of.(syscall.Conn)
	if !ok {
		return 0, errors.New("it has no descriptor")
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var derr error
	if err := rc.Control(func(old uintptr) { fd, derr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, err
	}
	return fd, derr
}
