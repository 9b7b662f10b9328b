package capture

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The supply asks for a batch when few are left; a batch is at most maxHanded.
const (
	supplyLow   = 4
	supplyBatch = 16
)

// supply holds unconnected sockets that were made inside the namespace.
type supply struct {
	ctx context.Context // ends with the namespace
	ask func(n int) error

	mu     sync.Mutex
	free   []int
	asked  bool          // a request is under way
	failed error         // why the last request brought none
	more   chan struct{} // closed and replaced at every answer
	closed bool
}

func newSupply(ctx context.Context, ask func(int) error) *supply {
	return &supply{ctx: ctx, ask: ask, more: make(chan struct{})}
}

// add takes over the answer to a request: sockets, or why there are none.
func (s *supply) add(fds []int, failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		message{fds: fds}.closeFDs()
		return
	}
	s.asked, s.failed = false, failed
	s.free = append(s.free, fds...)
	close(s.more)
	s.more = make(chan struct{})
}

func (s *supply) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	message{fds: s.free}.closeFDs()
	s.free = nil
}

// take returns a socket, waiting for the keeper to make one if none is left.
func (s *supply) take(ctx context.Context) (int, error) {
	for {
		fd, need, more := s.try()
		if need {
			// Outside the lock: the answer comes through add.
			if err := s.ask(supplyBatch); err != nil && fd < 0 {
				return -1, err
			}
		}
		if fd >= 0 {
			return fd, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return -1, context.Cause(ctx)
		case <-s.ctx.Done():
			return -1, net.ErrClosed
		}
		if err := s.failure(); err != nil {
			return -1, err
		}
	}
}

func (s *supply) try() (fd int, need bool, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd = -1
	if last := len(s.free) - 1; last >= 0 {
		fd, s.free = s.free[last], s.free[:last]
	}
	if len(s.free) < supplyLow && !s.asked && !s.closed {
		s.asked, need = true, true
	}
	return fd, need, s.more
}

func (s *supply) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) > 0 {
		return nil
	}
	return s.failed
}

// Dial connects to a port of the program, at 127.0.0.1 or else at ::1. The
// connection is a *net.TCPConn.
func (n *Namespace) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	conn, err := connect(ctx, n.supply4, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
	if errors.Is(err, unix.ECONNREFUSED) && n.hasIPv6() {
		if conn6, err6 := connect(ctx, n.supply6, &unix.SockaddrInet6{Port: int(port), Addr: [16]byte{15: 1}}); err6 == nil {
			return conn6, nil
		}
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)}, Err: err}
	}
	return conn, nil
}

// connect connects a socket of the supply and hands it to the runtime's poller.
func connect(ctx context.Context, s *supply, to unix.Sockaddr) (net.Conn, error) {
	fd, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, to)
	f := os.NewFile(uintptr(fd), "tcp") // non-blocking, so the poller takes it
	defer f.Close()                     // FileConn has its own duplicate
	if errors.Is(err, unix.EINPROGRESS) {
		err = awaitConnect(ctx, f)
	}
	if err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f)
}

// awaitConnect waits for the answer. On loopback it comes at once, unless the
// program's queue of new connections is full.
func awaitConnect(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var result error
	err = raw.Write(func(fd uintptr) bool {
		soErr, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			result = err
		case soErr != 0:
			result = unix.Errno(soErr)
		default:
			_, err := unix.Getpeername(int(fd))
			return err == nil // else there is no answer yet
		}
		return true
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, result)
}
