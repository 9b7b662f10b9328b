package http2

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// Stream is one request and its response. See the package comment for who may
// call what at the same time.
type Stream struct {
	c  *Conn
	id uint32

	wakeRead, wakeWrite chan struct{} // capacity 1

	readDeadline, writeDeadline time.Time // set by the stream's users before they wait

	// guarded by c.mu
	head          Head // the peer's header section
	headDone      bool
	interim       []*Head // 1xx that arrived before the response
	trailers      *Head
	data          []byte // received and not yet read, from off
	off           int
	unacked       uint32 // read, and not yet given back to the peer
	window        uint32 // what the peer may send ahead
	recvLeft      int64  // what of it is left
	received      int64  // body bytes so far
	recvEnd       bool
	stopped       bool // nobody will read the rest
	sendEnd       bool
	sendWindow    int64
	err           error
	onReset       func(error)
	receiver      Receiver      // instead of a goroutine
	handler       func(*Stream) // to be started when refs is 0
	refs          int           // uses outside of the lock
	left          bool          // by its receiver
	held          int           // bytes that the receiver was given and has not passed on
	passing       int           // bytes of held that it is being given
	blocked       bool          // in c.blocked
	queue         chunkQueue    // to be sent when there is room
	queueEnd      bool          // the message ends after queue
	queueTrailers *Head         // and with these
	connect       bool          // a CONNECT: its body has no declared length
	noBody        bool          // the response has none, whatever its content-length says
}

var streamPool = sync.Pool{New: func() any {
	return &Stream{wakeRead: make(chan struct{}, 1), wakeWrite: make(chan struct{}, 1)}
}}

func newStream(c *Conn, id uint32) *Stream {
	s, ok := streamPool.Get().(*Stream)
	if !ok {
		panic("the pool of streams holds something else")
	}
	s.c, s.id = c, id
	s.head.Reset()
	s.window = c.firstWindow()
	s.recvLeft = int64(s.window)
	return s
}

// Release gives the stream's memory back. The caller must be the only one who
// still knows it, and must not use it, nor the heads read from it, any more. A
// stream that has not ended is reset. A server's stream is released by the
// connection after its handler returned.
func (s *Stream) Release() {
	s.Reset(Cancel)
	c := s.c
	c.mu.Lock()
	c.releaseLocked(s.held + len(s.data) - s.off)
	s.held = 0
	s.left = true
	if s.refs == 0 {
		s.recycle()
	}
	c.unlockAndFlush()
}

func drainSignal(ch chan struct{}) {
	select {
	case <-ch:
	default:
	}
}

// ID is the stream's number.
func (s *Stream) ID() uint32 { return s.id }

// Conn is the stream's connection.
func (s *Stream) Conn() *Conn { return s.c }

// Head is the peer's header section: the request on a server's stream, where
// it is there from the start, or the response after ReadHead.
func (s *Stream) Head() *Head { return &s.head }

// SetReadDeadline bounds waiting in ReadHead and Read; the zero time is no
// bound. It is called by the goroutine that reads.
func (s *Stream) SetReadDeadline(t time.Time) { s.readDeadline = t }

// SetWriteDeadline bounds waiting in Write. It is called by the goroutine that
// writes.
func (s *Stream) SetWriteDeadline(t time.Time) { s.writeDeadline = t }

// OnReset has f called when the stream is reset by the peer or dies with its
// connection; at once if it is so already. f runs under the connection's lock:
// it must not block, nor call into the connection. nil takes f back.
func (s *Stream) OnReset(f func(error)) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.onReset = f
	if s.err != nil && f != nil {
		f(s.err)
	}
}

// failLocked ends the stream with err.
func (s *Stream) failLocked(err error) {
	if s.err != nil || (s.recvEnd && s.sendEnd) {
		return
	}
	s.err = err
	s.c.noteLocked(s, event{err: err})
	s.wakeReader()
	s.wakeWriter()
	if s.onReset != nil {
		s.onReset(err)
	}
}

func (s *Stream) wakeReader() { wakeUp(s.wakeRead) }
func (s *Stream) wakeWriter() { wakeUp(s.wakeWrite) }

func wakeUp(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// wait blocks until ch is signalled or the deadline passes.
func wait(ch chan struct{}, deadline time.Time) error {
	if deadline.IsZero() {
		<-ch
		return nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-ch:
		return nil
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}

// ReadHead waits for the response's header and returns it. Interim responses
// (1xx), which come before it, are returned first, each once and with its
// status.
func (s *Stream) ReadHead() (interim int, h *Head, err error) {
	for {
		s.c.mu.Lock()
		switch {
		case len(s.interim) > 0:
			h, s.interim = s.interim[0], s.interim[1:]
			s.c.mu.Unlock()
			return h.Status, h, nil
		case s.headDone:
			s.c.mu.Unlock()
			return 0, &s.head, nil
		case s.err != nil:
			err := s.err
			s.c.mu.Unlock()
			return 0, nil, err
		}
		s.c.mu.Unlock()
		if err := wait(s.wakeRead, s.readDeadline); err != nil {
			return 0, nil, err
		}
	}
}

// Ended says that the peer has sent all of its message and that it has been
// read: there is nothing for Read but io.EOF.
func (s *Stream) Ended() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.recvEnd && s.off == len(s.data)
}

// Buffered is how many body bytes Read would give without waiting.
func (s *Stream) Buffered() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return len(s.data) - s.off
}

// Read reads body bytes; io.EOF after the last one.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		s.c.mu.Lock()
		if n := copy(p, s.data[s.off:]); n > 0 {
			s.consumeLocked(n)
			s.c.unlockAndFlush()
			return n, nil
		}
		end, stopped, err := s.recvEnd, s.stopped, s.err
		s.c.mu.Unlock()
		switch {
		case end:
			return 0, io.EOF
		case stopped:
			return 0, errStopped
		case err != nil:
			return 0, err
		case len(p) == 0:
			return 0, nil
		}
		if err := wait(s.wakeRead, s.readDeadline); err != nil {
			return 0, err
		}
	}
}

// errStopped is what Read returns after StopRead.
var errStopped = errors.New("http2 stream: reading was stopped")

// StopRead has a Read that waits, and those that would, return an error. What
// the peer still sends stays within its window. Any goroutine may call it.
func (s *Stream) StopRead() {
	s.c.mu.Lock()
	s.stopped = true
	s.c.mu.Unlock()
	s.wakeReader()
}

// consumeLocked takes n bytes off the buffer and lets the peer send more.
func (s *Stream) consumeLocked(n int) {
	if s.off += n; s.off == len(s.data) {
		s.data, s.off = s.data[:0], 0
	}
	s.ackLocked(n)
}

// ackLocked lets the peer send n bytes more, which have been read.
func (s *Stream) ackLocked(n int) {
	s.returnLocked(n)
	s.c.releaseLocked(n)
}

// returnLocked gives n bytes back to the stream's window.
func (s *Stream) returnLocked(n int) {
	s.unacked += uint32(n)
	if s.unacked >= s.window/2 && !s.recvEnd && s.err == nil {
		more := uint32(0)
		if behind := s.held + len(s.data) - s.off; uint32(behind) <= s.window/4 {
			more = min(s.window, s.c.cfg.StreamWindow-s.window)
		}
		s.window += more
		more += s.unacked
		s.c.out = appendWindowUpdate(s.c.out, s.id, more)
		s.recvLeft += int64(more)
		s.unacked = 0
	}
}

// Trailers are the peer's trailer fields, after Read returned io.EOF; nil if
// there were none.
func (s *Stream) Trailers() *Head {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.trailers
}

// errSendEnded is a bug of the caller: writing after the end.
var errSendEnded = errors.New("http2 stream: the message has been sent already")

// WriteHead sends a header section: the response, an interim one (1xx, without
// end), or with end after a body the trailers.
func (s *Stream) WriteHead(h *Head, end bool) error {
	c := s.c
	c.mu.Lock()
	if err := s.sendErrorLocked(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.encodeLocked(s, h, end)
	c.unlockAndFlush()
	return nil
}

func (s *Stream) sendErrorLocked() error {
	if s.err != nil {
		return s.err
	}
	if s.sendEnd {
		return errSendEnded
	}
	return s.c.broken
}

// Write sends body bytes, waiting for the peer's windows as long as it must.
func (s *Stream) Write(p []byte) (int, error) { return s.write(p, false) }

// WriteEnd sends the last body bytes, if any, and ends the message.
func (s *Stream) WriteEnd(p []byte) error {
	_, err := s.write(p, true)
	return err
}

func (s *Stream) write(p []byte, end bool) (int, error) {
	c, sent := s.c, 0
	for {
		c.mu.Lock()
		if err := s.sendErrorLocked(); err != nil {
			c.mu.Unlock()
			return sent, err
		}
		all := len(p)
		p, end = s.sendLocked(p, end)
		sent += all - len(p)
		done := len(p) == 0 && !end
		if !done {
			c.blockLocked(s)
		}
		c.unlockAndFlush()
		if done {
			return sent, nil
		}
		if err := wait(s.wakeWrite, s.writeDeadline); err != nil {
			return sent, err
		}
	}
}

// sendableLocked is how many bytes may go out in one frame now.
func (s *Stream) sendableLocked(want int) int {
	c := s.c
	if c.pendingLocked() >= maxPending || c.control+c.heads+c.bodies >= c.cfg.MaxFrames {
		c.full = true
		return 0
	}
	return int(max(0, min(int64(want), s.sendWindow, c.sendWindow, int64(c.peer.maxFrame))))
}

func (c *Conn) appendDataLocked(s *Stream, p []byte, end bool) {
	if c.vector != nil && len(p) >= minChunk && len(p) <= chunkBytes {
		k := takeChunk(len(p))
		k.fill(p)
		c.lendChunkLocked(s, k, end)
		return
	}
	c.out = append(appendFrameHeader(c.out, len(p), frameData, endFlag(end), s.id), p...)
	c.sentDataLocked(s, len(p), end)
}

func endFlag(end bool) uint8 {
	if end {
		return flagEndStream
	}
	return 0
}

// sentDataLocked accounts for a DATA frame that is on its way.
func (c *Conn) sentDataLocked(s *Stream, n int, end bool) {
	s.sendWindow -= int64(n)
	c.sendWindow -= int64(n)
	c.bodies++
	c.read.allowAnswers(n)
	if end {
		s.sendEnd = true
		c.finishLocked(s)
	}
}

// Reset ends the stream at once in both directions. It does nothing to one
// that has ended.
func (s *Stream) Reset(code ErrCode) {
	c := s.c
	c.mu.Lock()
	c.resetLocked(s, code, &StreamError{Code: code, Reason: "reset by this end"})
	c.unlockAndFlush()
}
