package sock

import (
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// rawTransport moves bytes inside callbacks of syscall.RawConn, with raw system calls on the non-blocking descriptor.
//
// What it leans on, tested by edge_test.go: on Linux the runtime's poller is edge-triggered, and RawConn.Read forgets
// a readiness that came earlier only once, before it calls the callback for the first time. So
//   - the first call of a callback must look at the socket, and so must whoever returns to it from elsewhere;
//   - when a later call returns false after a short read, which shows that the socket was empty, nothing that comes
//     afterwards is lost, and no read is needed to see that nothing is there. (A FIN that came together with the last
//     bytes is the exception: it makes no edge of its own. See Conn's doubt.)
//
// The descriptor is used only inside callbacks, which hold a reference to it, so Close from elsewhere can't make us
// write into somebody else's connection.
type rawTransport struct {
	c  *Conn
	rc syscall.RawConn

	// What the read callbacks work on: fields, because closures would be allocated.
	rp      []byte
	rn      int
	rerr    error
	wbuf    []byte
	reply   Reply
	step    exchangeStep
	session Session
	next    Next
	// seasoned is set after the first time that a read found nothing. One-shot clients send their FIN with their only
	// request; reading once more after the first request finds it at once.
	seasoned bool
	fd       uintptr // the descriptor, for Answer inside the serving callback

	readFn, exchangeFn, serveFn func(fd uintptr) bool
	checkFn                     func(fd uintptr)

	// What the write callback works on.
	wa, wb  []byte
	werr    error
	wwaits  bool
	iov     [2]syscall.Iovec
	writeFn func(fd uintptr) bool
	tryN    int
	tryFn   func(fd uintptr) bool
	// What several pieces are written from at once.
	vector   []syscall.Iovec
	vectored bool
	large    bool
}

type exchangeStep uint8

const (
	stepCheck exchangeStep = iota
	stepWrite
	stepRead
)

func newTransport(c *Conn) transport {
	rc := c.RawConn()
	if rc == nil {
		return &netTransport{c: c}
	}
	t := &rawTransport{c: c, rc: rc}
	t.readFn, t.exchangeFn, t.serveFn, t.writeFn = t.onRead, t.onExchange, t.onServe, t.onWrite
	t.checkFn, t.tryFn = t.onCheck, t.onTry
	return t
}

// read implements transport.
func (t *rawTransport) read(p []byte) (int, error) {
	t.rp, t.rn, t.rerr = p, 0, nil
	err := t.rc.Read(t.readFn)
	t.rp = nil
	if err != nil {
		return 0, err
	}
	return t.rn, t.rerr
}

func (t *rawTransport) onRead(fd uintptr) bool {
	n, errno := rawRead(fd, t.rp)
	switch {
	case errno == syscall.EAGAIN:
		t.c.arm()
		return false
	case errno != 0:
		t.rerr = os.NewSyscallError("read", errno)
	case n == 0:
		t.rerr = io.EOF
	default:
		t.rn = n
	}
	return true
}

// writeRead implements transport.
func (t *rawTransport) writeRead(w []byte, r Reply) (int, bool, error) {
	t.wbuf, t.reply, t.rn, t.rerr, t.step = w, r, 0, nil, stepCheck
	err := t.rc.Read(t.exchangeFn)
	t.wbuf, t.reply, t.rp = nil, nil, nil
	if err != nil {
		return 0, t.step == stepRead, err
	}
	return t.rn, t.step == stepRead, t.rerr
}

// onExchange checks and writes when it is called first, and reads when it is called because the socket has become
// readable.
func (t *rawTransport) onExchange(fd uintptr) bool {
	if t.step == stepRead {
		t.rp = t.reply.Space()
		return t.onRead(fd)
	}
	if t.onCheck(fd); t.rerr != nil {
		return true
	}
	t.step = stepRead
	if n, errno := rawWrite(fd, t.wbuf); errno != syscall.EAGAIN && errno != 0 {
		t.rerr = os.NewSyscallError("write", errno)
		return true
	} else if n = max(n, 0); n < len(t.wbuf) {
		// The write lock is another one than the read lock, which this callback holds.
		if t.rerr = t.write(t.wbuf[n:], nil); t.rerr != nil {
			return true
		}
	}
	t.reply.Sent()
	t.c.arm()
	return false
}

// check implements transport.
func (t *rawTransport) check() error {
	t.rerr = nil
	if err := t.rc.Control(t.checkFn); err != nil {
		return err
	}
	return t.rerr
}

// onCheck makes sure that nothing has come since the last exchange: a FIN, a reset, or bytes that would be taken for
// the answer to the next request. What comes after it makes an edge that the wait will see.
func (t *rawTransport) onCheck(fd uintptr) {
	var p [1]byte
	for t.rerr == nil {
		n, errno := rawPeek(fd, p[:])
		switch {
		case errno == syscall.EAGAIN:
			return
		case errno != 0 || n == 0 || t.c.layer == nil:
			t.rerr = ErrStale
		default:
			t.rerr = t.checkLayer(fd)
		}
	}
}

func (t *rawTransport) checkLayer(fd uintptr) error {
	buf := cipherPool.Get().(*cipherBuf)
	defer cipherPool.Put(buf)
	n, errno := rawRead(fd, buf.b)
	if errno != 0 || n == 0 {
		return ErrStale
	}
	return t.c.unsolicited(buf.b[:n])
}

// write implements transport. For Answer inside the serving callback the descriptor is held already, and only if the
// socket is full does the poller have to be asked.
func (t *rawTransport) write(a, b []byte) error {
	t.wa, t.wb, t.werr = a, b, nil
	var err error
	if !t.c.answering || !t.onWrite(t.fd) {
		err = t.rc.Write(t.writeFn)
	}
	if err == nil {
		err = t.werr
	}
	if t.wwaits && err == nil {
		t.wwaits = false
		_ = t.c.nc.SetWriteDeadline(time.Time{})
	}
	t.wa, t.wb = nil, nil
	t.iov = [2]syscall.Iovec{}
	return t.c.writeLapsed(err)
}

// onWrite writes until everything is written or the socket is full. The deadline is set only when it is full, and
// moved whenever something could be written since.
func (t *rawTransport) onWrite(fd uintptr) bool {
	for len(t.wa) > 0 || len(t.wb) > 0 {
		n, errno := t.writeOnce(fd)
		if errno == syscall.EAGAIN {
			t.wwaits = true
			t.c.startWriteTimer()
			return false
		}
		if errno != 0 {
			t.werr = os.NewSyscallError("write", errno)
			return true
		}
		k := min(n, len(t.wa))
		t.wa, t.wb = t.wa[k:], t.wb[n-k:]
	}
	return true
}

// tryWrite implements transport.
func (t *rawTransport) tryWrite(p []byte) (int, error) {
	t.wa, t.tryN, t.werr = p, 0, nil
	err := t.rc.Write(t.tryFn)
	t.wa = nil
	if err == nil {
		err = t.werr
	}
	return t.tryN, t.c.writeLapsed(err)
}

// tryWriteVector implements transport.
func (t *rawTransport) tryWriteVector(v [][]byte) (int, error) {
	all := 0
	for _, p := range v[:min(len(v), maxVector)] {
		io := syscall.Iovec{Base: unsafe.SliceData(p)}
		io.SetLen(len(p))
		t.vector = append(t.vector, io)
		all += len(p)
	}
	t.vectored, t.large, t.tryN, t.werr = true, all > largeIO, 0, nil
	err := t.rc.Write(t.tryFn)
	t.vectored = false
	clear(t.vector)
	t.vector = t.vector[:0]
	if err == nil {
		err = t.werr
	}
	return t.tryN, t.c.writeLapsed(err)
}

// maxVector is the kernel's UIO_MAXIOV.
const maxVector = 1024

// onTry writes once, whatever comes of it.
func (t *rawTransport) onTry(fd uintptr) bool {
	var n int
	var errno syscall.Errno
	if t.vectored {
		n, errno = rawIO(syscall.SYS_WRITEV, fd, unsafe.Pointer(unsafe.SliceData(t.vector)), len(t.vector), t.large)
	} else {
		n, errno = rawWrite(fd, t.wa)
	}
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		t.werr = os.NewSyscallError("write", errno)
	default:
		t.tryN = n
	}
	return true
}

func (t *rawTransport) writeOnce(fd uintptr) (int, syscall.Errno) {
	switch {
	case len(t.wb) == 0:
		return rawWrite(fd, t.wa)
	case len(t.wa) == 0:
		return rawWrite(fd, t.wb)
	}
	t.iov[0].Base, t.iov[1].Base = &t.wa[0], &t.wb[0]
	t.iov[0].SetLen(len(t.wa))
	t.iov[1].SetLen(len(t.wb))
	return rawWritev(fd, t.iov[:], len(t.wa)+len(t.wb) > largeIO)
}

// serve implements transport.
func (t *rawTransport) serve(s Session) (Next, error) {
	t.session, t.next, t.rerr = s, Wait, nil
	t.c.inline = true
	t.c.hold()
	err := t.rc.Read(t.serveFn)
	t.c.inline = false
	t.session = nil
	if closed := t.c.release(); closed != nil {
		return Wait, closed
	}
	if err != nil {
		return Wait, err
	}
	return t.next, t.rerr
}

// onServe reads and serves until the socket is empty.
func (t *rawTransport) onServe(fd uintptr) bool {
	t.fd = fd
	for {
		n, full, errno := t.fill(fd)
		switch {
		case errno == syscall.EAGAIN:
			t.seasoned = true
			return t.park(false)
		case errno != 0:
			t.rerr = os.NewSyscallError("read", errno)
		case n == 0:
			t.rerr = io.EOF
		default:
			t.next, t.rerr = t.dispatch(n)
		}
		if t.rerr != nil {
			t.park(false)
			return true
		}
		if t.next != Wait {
			return true
		}
		if !full && t.seasoned {
			return t.park(true)
		}
	}
}

// fill reads once, into the session's memory or into that for ciphertext, and says whether there may be more.
func (t *rawTransport) fill(fd uintptr) (n int, full bool, errno syscall.Errno) {
	var space []byte
	if t.c.layer != nil {
		space = t.c.cipherSpace()
	} else {
		space = t.session.Space()
	}
	n, errno = rawRead(fd, space)
	return n, n == len(space), errno
}

// dispatch gives n bytes to the session.
func (t *rawTransport) dispatch(n int) (Next, error) {
	if t.c.layer != nil {
		t.c.layer.Feed(t.c.cipher.b[:n])
		return t.c.serveOpened(t.session)
	}
	t.c.rx.Add(int64(n))
	return t.session.Serve(n), nil
}

// park prepares for waiting without holding a buffer.
func (t *rawTransport) park(doubt bool) bool {
	t.session.Park()
	t.c.releaseCipher()
	t.c.waiting.doubt = doubt
	t.c.arm()
	return false
}

// gone implements transport: it asks the kernel whether the peer has closed its side or reset the connection.
func (t *rawTransport) gone() bool {
	gone := false
	err := t.rc.Control(func(fd uintptr) { gone = hungUp(fd) })
	return gone || err != nil
}

// farewell implements transport. It uses no field that a writer might be using.
func (t *rawTransport) farewell(p []byte) {
	_ = t.rc.Write(func(fd uintptr) bool {
		rawLast(fd, p)
		return true
	})
}

// shutdown implements transport.
func (t *rawTransport) shutdown() error {
	var errno syscall.Errno
	err := t.rc.Control(func(fd uintptr) { errno = rawShutdown(fd, syscall.SHUT_RDWR) })
	if err == nil && errno != 0 && errno != syscall.ENOTCONN {
		err = os.NewSyscallError("shutdown", errno)
	}
	return err
}

// largeIO is where a system call copies enough to tell the scheduler about it.
const largeIO = 128 << 10

func rawRead(fd uintptr, p []byte) (int, syscall.Errno) {
	return rawIO(syscall.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p), len(p) > largeIO)
}

func rawWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	return rawIO(syscall.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p), len(p) > largeIO)
}

func rawWritev(fd uintptr, v []syscall.Iovec, large bool) (int, syscall.Errno) {
	return rawIO(syscall.SYS_WRITEV, fd, unsafe.Pointer(unsafe.SliceData(v)), len(v), large)
}

// rawLast writes, as far as there is room, what is followed by the end at once: both go out in one packet.
func rawLast(fd uintptr, p []byte) {
	const flags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL | msgMore
	for {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			flags, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}

// msgMore is MSG_MORE.
const msgMore = 0x8000

func rawShutdown(fd uintptr, how int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SHUTDOWN, fd, uintptr(how), 0)
	return errno
}

// rawIO makes one of the system calls that take a descriptor, a pointer and a length. Descriptors are non-blocking, so
// the scheduler needn't know about it unless much is copied.
func rawIO(call, fd uintptr, p unsafe.Pointer, n int, large bool) (int, syscall.Errno) {
	for {
		var r uintptr
		var errno syscall.Errno
		if large {
			r, _, errno = syscall.Syscall(call, fd, uintptr(p), uintptr(n))
		} else {
			r, _, errno = syscall.RawSyscall(call, fd, uintptr(p), uintptr(n))
		}
		if errno != syscall.EINTR {
			return int(r), errno
		}
	}
}

// rawPeek looks at the first byte without taking it.
func rawPeek(fd uintptr, p []byte) (int, syscall.Errno) {
	const flags = syscall.MSG_PEEK | syscall.MSG_DONTWAIT
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), flags, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// pollFD is the kernel's struct pollfd.
type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

// Events of poll(2) that mean the peer has closed.
const (
	pollErr   = 0x8
	pollHup   = 0x10
	pollRDHup = 0x2000
)

func hungUp(fd uintptr) bool {
	p := pollFD{fd: int32(fd), events: pollRDHup}
	var now syscall.Timespec
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
		uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return errno == 0 && n > 0 && p.revents&(pollErr|pollHup|pollRDHup) != 0
}
