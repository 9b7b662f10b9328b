package http2

import (
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/net/http2/hpack"
)

// reader is the receiving half. It belongs to Run's goroutine, except window and
// noise, which the connection's lock guards.
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
	noise    int   // frames that cost us and bring nothing, less what streams and DATA, either way, earn
	emptyRun int
}

// tableSize is the size of the header compression's dynamic table, and
// maxStringBytes bounds one literal.
const tableSize = 4096

func (r *reader) init(c *Conn) {
	r.c, r.first = c, true
	r.window = int64(c.cfg.ConnWindow)
	r.dec = hpack.NewDecoder(tableSize, r.field)
	r.dec.SetMaxStringLength(int(c.cfg.MaxHeaderBytes))
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

// limit counts frames that cost work and bring nothing, which is how floods
// are made of: see Config.
func (r *reader) limit(f *frame) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.limitLocked(f)
}

func (r *reader) limitLocked(f *frame) error {
	cfg := &r.c.cfg
	switch f.typ {
	case frameData, frameHeaders, frameContinuation:
		if len(f.payload) > 0 || f.has(flagEndStream) {
			r.emptyRun = 0
		} else if r.emptyRun++; r.emptyRun > cfg.MaxEmptyFrames {
			return connError(EnhanceYourCalm, "too many empty frames")
		}
		if f.typ == frameHeaders {
			r.calm(noisePerStream)
		}
		if f.typ == frameData && len(f.payload) > 0 {
			r.calm(1)
		}
	case framePing, frameSettings, framePriority, frameWindowUpdate:
		if r.noise++; r.noise > cfg.MaxPings {
			return connError(EnhanceYourCalm, "too many frames of type %d", f.typ)
		}
	}
	if r.c.control > cfg.MaxControlFrames {
		return connError(EnhanceYourCalm, "the peer does not read our answers")
	}
	return nil
}

// calm takes noise back for something useful that the peer has sent.
func (r *reader) calm(n int) {
	if r.noise > 0 {
		r.noise = max(0, r.noise-n)
	}
}

// allowAnswers lets the peer answer a DATA frame that we send with WINDOW_UPDATEs. It may do so later, when its reader
// comes to it, so what it earns is kept, as far as a large window's frames go.
func (r *reader) allowAnswers() { r.noise = max(r.noise-noisePerData, -maxAnswers) }

// noisePerStream is how many control frames each stream earns its peer, and noisePerData what each DATA frame that we
// send does, which is Envoy's max_inbound_window_update_frames_per_data_frame_sent: a peer that reads it in pieces
// sends several, for the stream and for the connection.
const (
	noisePerStream = 20
	noisePerData   = 10
	maxAnswers     = 1 << 16
)

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
		s.unacked += uint32(padding)
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

// strayLocked judges a frame for a stream that is not open: idle is an error
// of the connection, one that we reset a moment ago is none.
func (c *Conn) strayLocked(f *frame, s *Stream) error {
	if s == nil && c.idleStreamLocked(f.stream) {
		return connError(ProtocolError, "a frame for stream %d, which does not exist", f.stream)
	}
	if c.wasResetLocked(f.stream) {
		return nil
	}
	if s != nil {
		return &StreamError{Code: StreamClosed, Reason: "a frame after the end of the message"}
	}
	return connError(StreamClosed, "a frame for stream %d, which is closed", f.stream)
}

// idleStreamLocked says that a stream has never been opened.
func (c *Conn) idleStreamLocked(id uint32) bool {
	ours := (id%2 == 1) != c.server
	if ours {
		return id >= c.nextID
	}
	return id > c.lastID
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

func checkPriority(f *frame) error {
	if f.stream == 0 {
		return connError(ProtocolError, "PRIORITY without a stream")
	}
	if len(f.payload) != 5 {
		return &StreamError{Code: FrameSizeError, Reason: "PRIORITY of a wrong size"}
	}
	return checkDependency(f.stream, f.payload)
}

func checkDependency(stream uint32, p []byte) error {
	if binary.BigEndian.Uint32(p)&maxWindow == stream {
		return &StreamError{Code: ProtocolError, Reason: "a stream depends on itself"}
	}
	return nil
}

// settings takes the peer's SETTINGS (RFC 9113 section 6.5).
func (r *reader) settings(f *frame) error {
	if f.stream != 0 {
		return connError(ProtocolError, "SETTINGS on a stream")
	}
	if f.has(flagAck) {
		if len(f.payload) != 0 {
			return connError(FrameSizeError, "a SETTINGS acknowledgement with a payload")
		}
		return nil
	}
	if len(f.payload)%6 != 0 {
		return connError(FrameSizeError, "SETTINGS of %d bytes", len(f.payload))
	}
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := f.payload; len(p) > 0; p = p[6:] {
		if err := c.settingLocked(settingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	if !c.peer.received {
		c.peer.received = true
	}
	c.out = appendFrameHeader(c.out, 0, frameSettings, flagAck, 0)
	c.control++
	return nil
}

func (c *Conn) settingLocked(id settingID, v uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.enc.setMax(min(v, tableSize))
	case settingEnablePush:
		if v > 1 || (!c.server && v == 1) {
			return connError(ProtocolError, "ENABLE_PUSH is %d", v)
		}
	case settingMaxConcurrentStreams:
		c.peer.maxStreams = v
	case settingInitialWindowSize:
		if v > maxWindow {
			return connError(FlowControlError, "INITIAL_WINDOW_SIZE is %d", v)
		}
		return c.initialWindowLocked(int64(v))
	case settingMaxFrameSize:
		if v < minMaxFrameSize || v > maxMaxFrameSize {
			return connError(ProtocolError, "MAX_FRAME_SIZE is %d", v)
		}
		c.peer.maxFrame = int(min(v, 64<<10)) // longer frames gain nothing and hold up other streams
	case settingEnableConnect:
		if v > 1 {
			return connError(ProtocolError, "ENABLE_CONNECT_PROTOCOL is %d", v)
		}
		c.peer.extendedHeader = v == 1
	}
	return nil
}

// initialWindowLocked changes every open stream's window by the difference.
func (c *Conn) initialWindowLocked(v int64) error {
	delta := v - c.peer.initialWindow
	c.peer.initialWindow = v
	for _, s := range c.streams {
		if s.sendWindow += delta; s.sendWindow > maxWindow {
			return connError(FlowControlError, "INITIAL_WINDOW_SIZE overflows a stream's window")
		}
	}
	if delta > 0 {
		c.unblockLocked()
	}
	return nil
}
