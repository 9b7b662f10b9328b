package sock

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// accepted is a connection that a listener of Accepting has accepted. After Close its deadlines stay in the past.
type accepted struct {
	file          *os.File
	rc            syscall.RawConn // the file's
	local, remote netip.AddrPort
	closed        atomic.Bool
	reaper        *reaper
}

// Read implements net.Conn.
func (a *accepted) Read(p []byte) (int, error) {
	n, err := a.file.Read(p)
	return n, a.reason(err)
}

// Write implements net.Conn.
func (a *accepted) Write(p []byte) (int, error) {
	n, err := a.file.Write(p)
	return n, a.reason(err)
}

// LocalAddr implements net.Conn.
func (a *accepted) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(a.local) }

// RemoteAddr implements net.Conn.
func (a *accepted) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(a.remote) }

// AddrPorts are both addresses, without making objects of them.
func (a *accepted) AddrPorts() (local, remote netip.AddrPort) { return a.local, a.remote }

// SetDeadline implements net.Conn.
func (a *accepted) SetDeadline(t time.Time) error { return a.set((*os.File).SetDeadline, t) }

// SetReadDeadline implements net.Conn.
func (a *accepted) SetReadDeadline(t time.Time) error { return a.set((*os.File).SetReadDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (a *accepted) SetWriteDeadline(t time.Time) error { return a.set((*os.File).SetWriteDeadline, t) }

func (a *accepted) set(deadline func(*os.File, time.Time) error, t time.Time) error {
	if a.closed.Load() {
		return net.ErrClosed
	}
	return deadline(a.file, t)
}

// SyscallConn implements syscall.Conn. Waits end with os.ErrDeadlineExceeded when the connection is closed, too; who uses it
// must tell that apart, as Conn does.
func (a *accepted) SyscallConn() (syscall.RawConn, error) { return a.rc, nil }

// CloseWrite ends the sending side.
func (a *accepted) CloseWrite() error { return a.shutdown(syscall.SHUT_WR) }

// Close implements net.Conn.
func (a *accepted) Close() error {
	if a.closed.Swap(true) {
		return net.ErrClosed
	}
	return a.file.Close()
}

// closeSoon is Close for connections that have been served: the peer sees the end at once, and so does whoever waits; the
// descriptor is closed with others a little later. Until then nobody else gets its number.
func (a *accepted) closeSoon() error {
	if a.closed.Swap(true) {
		return net.ErrClosed
	}
	_ = a.file.SetDeadline(longAgo) // fails only where nobody can wait
	err := a.shutdown(syscall.SHUT_RDWR)
	if errors.Is(err, syscall.ENOTCONN) { // the peer has reset it
		err = nil
	}
	a.reaper.add(a.file)
	return err
}

func (a *accepted) shutdown(how int) error {
	var errno syscall.Errno
	err := a.rc.Control(func(fd uintptr) { errno = rawShutdown(fd, how) })
	if err == nil && errno != 0 {
		err = os.NewSyscallError("shutdown", errno)
	}
	return a.reason(err)
}

// reason is what an error of the file means for a connection.
func (a *accepted) reason(err error) error {
	if err == nil || !a.closed.Load() || errors.Is(err, syscall.ENOTCONN) {
		return err
	}
	return net.ErrClosed
}

// How many descriptors wait to be closed at once, and how long. Fewer wait where the process has few: one of reapShare.
const (
	reapAtOnce = 64
	reapShare  = 64
	reapAfter  = 100 * time.Millisecond
)

// reaper closes the descriptors of connections that have ended, many at a time: only the os package can take them out
// of the runtime's poller, and it tells the scheduler of each close. Closing waits for whoever is inside a callback of
// that connection, so a goroutine of its own does it, which has nothing else to wait for; it ends when the batch is closed.
type reaper struct {
	atOnce int

	mu    sync.Mutex // guards what follows
	dead  []*os.File
	timer *time.Timer
	ended bool // nothing is to wait any more
}

// batch is how many descriptors may wait.
func batch() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1
	}
	return int(min(max(limit.Cur/reapShare, 1), reapAtOnce))
}

// add closes f soon.
func (r *reaper) add(f *os.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead == nil {
		r.dead = make([]*os.File, 0, r.atOnce)
	}
	r.dead = append(r.dead, f)
	switch n := len(r.dead); {
	case r.ended, n == r.atOnce:
		r.reapAfterLocked(0)
	case n == 1:
		r.reapAfterLocked(reapAfter)
	}
}

// hasten closes all that waits as soon as possible, because descriptors run out.
func (r *reaper) hasten() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.dead) > 0 {
		r.reapAfterLocked(0)
	}
}

// end closes all that waits, and from now on whatever comes, as soon as possible.
func (r *reaper) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if len(r.dead) > 0 {
		r.reapAfterLocked(0)
	}
}

func (r *reaper) reapAfterLocked(d time.Duration) {
	if r.timer == nil {
		r.timer = time.AfterFunc(d, r.reap)
		return
	}
	r.timer.Reset(d)
}

func (r *reaper) reap() {
	r.mu.Lock()
	dead := r.dead
	r.dead = nil
	r.mu.Unlock()
	for _, f := range dead {
		_ = f.Close() // the connection has ended before
	}
}
