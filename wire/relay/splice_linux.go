package relay

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lateen.dev/lateen/wire/sock"
)

const (
	// pipeSize is what a pipe is asked to hold. An unprivileged user's pipes may hold 64 MiB together; when that is
	// used up they stay at the kernel's default.
	pipeSize    = 256 << 10
	spliceMax   = 1 << 20
	spliceFlags = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE
	// pauseTime is how long a flow may pause before its pipe is given back.
	pauseTime = 200 * time.Millisecond
)

// bulk splices from one socket to the other through a pipe, which it has only while the flow goes on.
type bulk struct {
	src, dst       *sock.Conn
	srcRaw, dstRaw syscall.RawConn
	drain, pump    func(fd uintptr) bool

	pipe *pipe
	// The result of the callbacks above.
	n    int
	err  error
	full bool // the destination had to be waited for
}

func newBulk(src, dst *sock.Conn) mover {
	if src.Encrypted() || dst.Encrypted() {
		return nil
	}
	b := &bulk{src: src, dst: dst, srcRaw: src.RawConn(), dstRaw: dst.RawConn()}
	if b.srcRaw == nil || b.dstRaw == nil {
		return nil
	}
	b.drain, b.pump = b.onReadable, b.onWritable
	return b
}

// move implements mover.
func (b *bulk) move(d *direction) error {
	p, err := takePipe()
	if err != nil {
		return nil // no descriptor left for a pipe: the buffer will do
	}
	b.pipe = p
	for {
		n, err := b.fill()
		if err == sock.ErrTimeout {
			b.pipe.give()
			return nil
		}
		if err != nil {
			b.pipe.close()
			return fmt.Errorf("splice from %v: %w", b.src.RemoteAddr(), err)
		}
		if n == 0 {
			// The end, which Serve reads once more, and so tells apart from a socket that can't be spliced.
			b.pipe.give()
			return nil
		}
		d.r.touch()
		if err := b.empty(n); err != nil {
			b.pipe.close()
			return fmt.Errorf("splice to %v: %w", b.dst.RemoteAddr(), err)
		}
		d.count.Add(int64(n))
		d.r.spliced.Add(int64(n))
		b.src.Moved(b.dst, int64(n))
	}
}

// fill moves bytes into the pipe, waiting for them until the flow is taken for paused.
func (b *bulk) fill() (int, error) {
	b.src.SetReadDeadline(sock.Now().Add(pauseTime))
	for {
		err := b.srcRaw.Read(b.drain)
		if err == nil {
			return b.n, b.err
		}
		if err = b.src.Lapsed(err); err != nil {
			return 0, err
		}
	}
}

func (b *bulk) onReadable(fd uintptr) bool {
	n, err := splice(int(fd), b.pipe.w, spliceMax)
	if err == unix.EAGAIN {
		b.src.Arm()
		return false
	}
	if err == unix.EINVAL {
		n, err = 0, nil // not spliceable: see move
	}
	b.n, b.err = n, os.NewSyscallError("splice", err)
	return true
}

// empty moves n bytes out of the pipe.
func (b *bulk) empty(n int) error {
	for n > 0 {
		b.n, b.err = n, nil
		if err := b.dstRaw.Write(b.pump); err != nil {
			return err
		}
		if b.full {
			b.full = false
			b.dst.DisarmWrite()
		}
		if b.err != nil {
			return b.err
		}
		n -= b.n
	}
	return nil
}

func (b *bulk) onWritable(fd uintptr) bool {
	n, err := splice(b.pipe.r, int(fd), b.n)
	if err == unix.EAGAIN {
		b.full = true
		b.dst.ArmWrite()
		return false
	}
	b.n, b.err = n, os.NewSyscallError("splice", err)
	return true
}

// splice tells the scheduler: it may move a megabyte.
func splice(from, to, n int) (int, error) {
	for {
		moved, err := unix.Splice(from, nil, to, nil, n, spliceFlags)
		if err != unix.EINTR {
			return int(max(moved, 0)), err
		}
	}
}

// pipe is a pipe and its place in the pool.
type pipe struct {
	r, w    int
	cleanup runtime.Cleanup
}

// pipes keeps empty pipes. One that the garbage collector takes out of the pool is closed by its cleanup.
var pipes sync.Pool

func takePipe() (*pipe, error) {
	if p, ok := pipes.Get().(*pipe); ok {
		return p, nil
	}
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	p := &pipe{r: fd[0], w: fd[1]}
	// Refused when the user's share is used up; the pipe is smaller then.
	_, _ = unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize)
	p.cleanup = runtime.AddCleanup(p, closePair, fd)
	return p, nil
}

// give returns an empty pipe to the pool.
func (p *pipe) give() { pipes.Put(p) }

// close closes a pipe that may hold bytes.
func (p *pipe) close() {
	p.cleanup.Stop()
	closePair([2]int{p.r, p.w})
}

func closePair(fd [2]int) {
	// Nothing can be done about a pipe that fails to close, and nothing was to be kept in it.
	_ = unix.Close(fd[0])
	_ = unix.Close(fd[1])
}
