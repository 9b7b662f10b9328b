package http2

import (
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/net/http2/hpack"
)

// reader is the receiving half. It belongs to Run's goroutine, except window and
// what counts frames, which the connection's lock guards.
type reader struct {
	c       *Conn
	dec     *hpack.Decoder
	preface int // bytes of the client's preface still to come

	buf   []byte
	have  int // bytes of buf that wait for the rest of their frame
	small int // reads in a row that buf was far too large for

	// The header section that is being received.
	block       []byte // fragments, when it came in several frames
	blockStream uint32 // 0: none
	blockEnd    bool
	fragments   int
	head        *Head
	headErr     error
	scratch     Head // for trailers that a receiver looks at once
	vetted      [vettedSize]vetted

	batch Batch // what the frames of one read have made

	window   int64 // what the peer may still send on the connection
	first    bool  // no frame yet: SETTINGS must come first
	noise    int   // PING and SETTINGS, which cost us and bring nothing, less what streams and DATA earn
	emptyRun int

	// What has come, and what it is allowed by: streams opened by either end, and DATA frames sent.
	priorities, updates, opened, sent uint64
}

// tableSize is the size of the header compression's dynamic table unless something else is agreed upon, and maxTableSize
// how large ours may become.
const (
	tableSize    = 4096
	maxTableSize = 64 << 10
)

func (r *reader) init(c *Conn) {
	r.c, r.first = c, true
	r.window = int64(c.cfg.ConnWindow)
	r.dec = hpack.NewDecoder(tableSize, r.field)
	// A peer that has not read our settings yet may still fill a table of the usual size.
	r.dec.SetAllowedMaxDynamicTableSize(max(tableSize, c.cfg.HeaderTable))
	most := c.cfg.MaxHeaderBytes
	if n := c.cfg.MaxFieldBytes; n > 0 {
		most = min(most, n)
	}
	r.dec.SetMaxStringLength(int(most))
}

// loop reads until the connection ends.
func (r *reader) loop(in io.Reader) error {
	r.buf = make([]byte, minRead)
	for {
		n, err := in.Read(r.buf[r.have:])
		if n > 0 {
			end := r.have + n
			used, ferr := r.feed(r.buf[:end])
			r.c.burst(&r.batch) // before the buffer is used again: see loan
			if ferr != nil {
				return ferr
			}
			r.makeRoom(used, end)
		}
		if err != nil {
			return r.readError(err)
		}
	}
}

// makeRoom prepares the buffer, of which the bytes up to end were filled and those up to used are of no more use, for
// the next read.
func (r *reader) makeRoom(used, end int) {
	rest := r.buf[used:end]
	switch size := len(r.buf); {
	case end == size && size < maxRead:
		r.buf = make([]byte, min(2*size, maxRead))
		r.small = 0
	case end > size/8 || size == minRead:
		r.small = 0
	case r.small < smallReads:
		r.small++
	default:
		r.buf = make([]byte, size/2)
		r.small = 0
	}
	r.have = copy(r.buf, rest)
}

// readError prefers the reason why somebody closed the transport.
func (r *reader) readError(err error) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.closed != nil {
		return r.c.closed
	}
	if errors.Is(err, io.EOF) && (r.have > 0 || r.blockStream != 0) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// burst ends what the frames of one read have begun.
func (c *Conn) burst(b *Batch) {
	c.mu.Lock()
	pending, noted := c.pendingLocked() > 0, len(c.events) > 0
	c.mu.Unlock()
	if noted {
		c.deliver(b)
	}
	if pending {
		b.add(c)
	}
	b.Flush()
}

// feed handles all complete frames in b and says how many bytes they were.
func (r *reader) feed(b []byte) (int, error) {
	all := len(b)
	b, err := r.takePreface(b)
	if err != nil {
		return 0, err
	}
	for r.preface == 0 {
		n, err := r.windowUpdates(b)
		if err != nil {
			return 0, err
		}
		b = b[n:]
		f, size, complete, err := parseFrame(b, minMaxFrameSize)
		if err != nil {
			return 0, err
		}
		if !complete {
			break
		}
		if err := r.frame(&f); err != nil {
			return 0, err
		}
		b = b[size:]
	}
	return all - len(b), nil
}

// takePreface checks the client's preface as far as it has come.
func (r *reader) takePreface(b []byte) ([]byte, error) {
	if r.preface == 0 {
		return b, nil
	}
	n := min(len(b), r.preface)
	at := len(preface) - r.preface
	if string(b[:n]) != preface[at:at+n] {
		return nil, connError(ProtocolError, "no HTTP/2 preface")
	}
	r.preface -= n
	return b[n:], nil
}

// frame handles one frame. A StreamError from below resets that stream only.
func (r *reader) frame(f *frame) error {
	if r.first && (f.typ != frameSettings || f.has(flagAck)) {
		return connError(ProtocolError, "the first frame is not SETTINGS")
	}
	r.first = false
	if r.blockStream != 0 && (f.typ != frameContinuation || f.stream != r.blockStream) {
		return connError(ProtocolError, "a header section was interrupted")
	}
	if f.typ != frameData { // which looks by itself
		if err := r.limit(f); err != nil {
			return err
		}
	}
	if err := r.dispatch(f); err != nil {
		return r.failed(f, err)
	}
	return nil
}

// failed resets the stream, where only that is at fault.
func (r *reader) failed(f *frame, err error) error {
	var fault *StreamError
	if errors.As(err, &fault) {
		return r.c.streamFault(f.stream, fault)
	}
	return err
}

func (r *reader) dispatch(f *frame) error {
	switch f.typ {
	case frameData:
		return r.data(f)
	case frameHeaders:
		return r.headers(f)
	case frameContinuation:
		return r.continuation(f)
	case framePriority:
		return checkPriority(f)
	case frameRSTStream:
		return r.c.peerReset(f)
	case frameSettings:
		return r.settings(f)
	case framePing:
		return r.c.ping(f)
	case frameGoAway:
		return r.c.peerGoAway(f)
	case frameWindowUpdate:
		return r.c.windowUpdate(f)
	case framePushPromise:
		return connError(ProtocolError, "PUSH_PROMISE was switched off")
	}
	return nil // frames of unknown types are ignored: RFC 9113 section 5.5
}

func (r *reader) data(f *frame) error {
	if f.stream == 0 {
		return connError(ProtocolError, "DATA without a stream")
	}
	size := len(f.payload)
	if err := f.unpad(); err != nil {
		return err
	}
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := r.limitLocked(f); err != nil {
		return err
	}
	if r.window -= int64(size); r.window < 0 {
		return connError(FlowControlError, "more DATA than the connection's window")
	}
	s := c.streams[f.stream]
	if s == nil || s.recvEnd {
		c.creditLocked(size)
		return c.strayLocked(f, s)
	}
	if err := s.admitLocked(size, len(f.payload), f.has(flagEndStream)); err != nil {
		c.creditLocked(size)
		return err
	}
	if padding := size - len(f.payload); padding > 0 {
		c.creditLocked(padding)
		s.returnLocked(padding)
	}
	c.holdLocked(len(f.payload))
	if s.receiver == nil {
		s.append(f.payload)
		s.wakeReader()
	} else {
		if size == len(f.payload) {
			r.batch.offer = f.whole
		}
		r.passLocked(s, f.payload, f.has(flagEndStream))
		r.batch.offer = nil
	}
	return nil
}

// admitLocked accounts for a DATA frame of so many bytes, of which payload are
// the body's.
func (s *Stream) admitLocked(size, payload int, end bool) error {
	if s.recvLeft -= int64(size); s.recvLeft < 0 {
		return &StreamError{Code: FlowControlError, Reason: "more DATA than the stream's window"}
	}
	if !s.headDone {
		return &StreamError{Code: ProtocolError, Reason: "DATA before the response header"}
	}
	s.received += int64(payload)
	if end {
		return s.endReceiveLocked()
	}
	if s.head.ContentLength >= 0 && s.received > s.head.ContentLength && !s.connect {
		return &StreamError{Code: ProtocolError, Reason: "more DATA than content-length"}
	}
	return nil
}

// passLocked gives a part of a body to the stream's receiver, or to the handler
// that has taken its place meanwhile.
func (r *reader) passLocked(s *Stream, p []byte, end bool) {
	c, to := r.c, s.receiver
	s.refs++
	s.held += len(p)
	s.passing = len(p)
	c.mu.Unlock()
	taken := to.ReceiveData(&r.batch, s, p, end)
	c.mu.Lock()
	s.passing = 0
	if !taken && !s.left {
		s.held -= len(p)
		s.append(p)
	}
	c.unrefLocked(s)
}

// append keeps body bytes until they are read; the window bounds how many.
func (s *Stream) append(p []byte) {
	if s.off > 0 && len(s.data)+len(p) > cap(s.data) {
		s.data = s.data[:copy(s.data, s.data[s.off:])]
		s.off = 0
	}
	s.data = append(s.data, p...)
}

// endReceiveLocked notes that the peer has sent its message.
func (s *Stream) endReceiveLocked() error {
	if n := s.head.ContentLength; n >= 0 && n != s.received && !s.connect && !(s.noBody && s.received == 0) && s.head.Status != 304 {
		return &StreamError{Code: ProtocolError, Reason: "the body is not as long as content-length says"}
	}
	s.recvEnd = true
	s.wakeReader()
	s.c.finishLocked(s)
	return nil
}

// windowUpdates handles the WINDOW_UPDATEs at the start of b, of which a client that reads a large body in small pieces
// sends hundreds at a time, under one lock, and says how many bytes they were. Others are left to frame.
func (r *reader) windowUpdates(b []byte) (used int, err error) {
	if r.first || r.blockStream != 0 || !isWindowUpdate(b) {
		return 0, nil
	}
	c := r.c
	c.mu.Lock()
	for isWindowUpdate(b[used:]) {
		f := frame{typ: frameWindowUpdate, stream: binary.BigEndian.Uint32(b[used+5:]) & maxWindow,
			payload: b[used+frameHeaderLen : used+windowUpdateLen]}
		used += windowUpdateLen
		if err = r.limitLocked(&f); err == nil {
			err = c.windowUpdateLocked(&f)
		}
		if err != nil {
			c.mu.Unlock()
			return used, r.failed(&f, err)
		}
	}
	c.mu.Unlock()
	return used, nil
}

// windowUpdateLen is the length of a WINDOW_UPDATE, all in all.
const windowUpdateLen = frameHeaderLen + 4

// isWindowUpdate says that b begins with a WINDOW_UPDATE as it should be.
func isWindowUpdate(b []byte) bool {
	return len(b) >= windowUpdateLen && b[2] == 4 && frameType(b[3]) == frameWindowUpdate && b[0]|b[1] == 0
}
