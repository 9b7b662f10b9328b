package http2

import (
	"errors"
	"io"
	"sync"
	"time"

	"lateen.dev/lateen/wire/header"
)

// Transport is the byte stream below: a TCP or TLS connection.
type Transport interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
}

const (
	// minRead and maxRead are what one read may bring: a connection that fills
	// its buffer gets a larger one, up to several of the longest frames, which it
	// holds exactly, so that none is cut off and moved; one that needs only an
	// eighth of it for smallReads reads gets a smaller one.
	minRead    = 8 << 10
	maxRead    = 7 * (frameHeaderLen + minMaxFrameSize)
	smallReads = 100
	// maxPending is how many bytes may wait for the transport before writers of
	// bodies have to wait.
	maxPending = 256 << 10
	// keepBuffer is the largest buffer that is kept for reuse without need.
	keepBuffer = 64 << 10
	// recentResets is how many streams that we reset are remembered: frames for
	// them are on their way and no error.
	recentResets = 128
)

// Conn is one end of a connection.
type Conn struct {
	transport Transport
	server    bool
	cfg       Config
	handler   func(*Stream) // servers only
	onStream  func(*Batch, *Stream)
	handlers  sync.WaitGroup
	try       tryWriter    // the transport, if it can
	vector    vectorWriter // the same

	read reader // belongs to Run's goroutine

	signal chan struct{} // capacity 1: there is something to write

	mu      sync.Mutex // guards all below
	streams map[uint32]*Stream
	running int // handlers that have not returned
	nextID  uint32
	lastID  uint32 // highest stream that the peer opened

	out, spare []byte
	control    int       // control frames in out
	heads      int       // frames of header sections in out
	bodies     int       // DATA frames in out, or lent
	loans      []loan    // what goes out between the bytes of out
	lent       int       // how many bytes they are
	lender     *Batch    // whose they are, who is to write them; nil if there are none
	going      pieces    // the writer's
	writing    bool      // somebody is writing to the transport
	stuck      bool      // the transport took only a part: rest is the write loop's
	rest       pieces    // what is to be written before out, when stuck; the writer's
	full       bool      // writers of bodies wait for out to shrink
	blocked    []*Stream // that wait for windows or for out to shrink
	events     []event   // for receivers
	enc        *encoder

	sendWindow  int64
	recvUnacked uint32 // to be given back to the peer
	held        int64  // received, and not yet consumed
	withheld    int64  // of those, what is not to be given back before
	peer        peerSettings

	announced bool  // a drain has begun
	draining  bool  // no new streams: GOAWAY was received, or sent for good
	goAway    bool  // we sent the final GOAWAY
	parting   bool  // the client is to close the connection now
	closed    error // why the connection is over
	broken    error // why a client can't write any more, while it still reads
	hangUp    *time.Timer
	refusedBy float64   // resets and stream errors of the peer, less what it let end and what time has forgiven
	refusedAt time.Time // when the last one came
	onIdle    func()
	resets    [recentResets]uint32
	resetAt   int
	pingData  [8]byte
	pinged    func()
	alive     *time.Timer // of the keep-alive; nil without
	asked     bool        // an answer to its PING is awaited
}

// peerSettings are what the peer told.
type peerSettings struct {
	initialWindow  int64
	maxFrame       int
	maxStreams     uint32
	extendedHeader bool
	received       bool
}

// NewServer returns the server's end. handler is called in a goroutine of its
// own for every stream whose request header has arrived; when it returns the
// stream is over, and is reset if the response was not complete.
func NewServer(t Transport, cfg Config, handler func(*Stream)) *Conn {
	c := newConn(t, cfg)
	c.server, c.handler = true, handler
	c.read.preface = len(preface)
	c.out = c.appendHello(c.out)
	return c
}

// NewClient returns the client's end. Run must be running for Open to be of
// use.
func NewClient(t Transport, cfg Config) *Conn {
	c := newConn(t, cfg)
	c.nextID = 1
	c.out = c.appendHello(append(c.out, preface...))
	return c
}

func newConn(t Transport, cfg Config) *Conn {
	c := &Conn{
		transport: t, cfg: cfg.withDefaults(), signal: make(chan struct{}, 1), streams: map[uint32]*Stream{},
		enc: newEncoder(), sendWindow: initialWindow,
		peer: peerSettings{initialWindow: initialWindow, maxFrame: minMaxFrameSize, maxStreams: 100},
	}
	c.try, _ = t.(tryWriter)
	if v, ok := t.(vectorWriter); ok && c.try != nil && v.Gathers() {
		c.vector = v
	}
	c.read.init(c)
	return c
}

// appendHello appends our SETTINGS and the larger connection window.
func (c *Conn) appendHello(dst []byte) []byte {
	var s []byte
	if c.server {
		s = appendSetting(s, settingMaxConcurrentStreams, c.cfg.MaxConcurrentStreams)
		if c.cfg.EnableConnect {
			s = appendSetting(s, settingEnableConnect, 1)
		}
	} else {
		s = appendSetting(s, settingEnablePush, 0)
	}
	if c.cfg.HeaderTable != tableSize {
		s = appendSetting(s, settingHeaderTableSize, c.cfg.HeaderTable)
	}
	s = appendSetting(s, settingInitialWindowSize, c.firstWindow())
	s = appendSetting(s, settingMaxHeaderListSize, c.cfg.MaxHeaderBytes)
	dst = append(appendFrameHeader(dst, len(s), frameSettings, 0, 0), s...)
	if more := c.cfg.ConnWindow - initialWindow; more > 0 {
		dst = appendWindowUpdate(dst, 0, more)
	}
	return dst
}

// firstWindow is the window that a stream begins with.
func (c *Conn) firstWindow() uint32 { return min(c.cfg.StreamWindow, firstWindow) }

// Run reads until the connection ends and returns why: nil after a graceful
// end (the peer closed between streams, or a drain finished). It closes the
// transport, ends all streams, and returns when all handlers have.
func (c *Conn) Run() error {
	var writer sync.WaitGroup
	writer.Go(c.writeLoop)
	c.wake()
	c.startAlive()
	err := c.read.loop(c.transport)
	c.mu.Lock()
	graceful := errors.Is(err, io.EOF) && (len(c.streams) == 0 || c.draining) || c.closed == errDrained
	var fault *ConnError
	if errors.As(err, &fault) && !fault.Remote && c.closed == nil {
		c.out = appendGoAway(c.out, c.lastID, fault.Code, fault.Reason)
	}
	c.failLocked(err)
	if c.hangUp != nil {
		c.hangUp.Stop()
	}
	if c.alive != nil {
		c.alive.Stop()
	}
	c.mu.Unlock()
	c.wake()
	writer.Wait()
	if fault != nil && !fault.Remote && c.cfg.Linger > 0 {
		c.linger()
	}
	c.transport.Close()
	c.deliver(&c.read.batch)
	c.read.batch.Flush()
	c.handlers.Wait()
	if graceful {
		return nil
	}
	return err
}

// What a peer in error may still send before we hang up.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 1 << 20
)

// linger reads on for a moment: closing a TCP connection with unread bytes
// resets it, and the peer might never see our GOAWAY.
func (c *Conn) linger() {
	if w, ok := c.transport.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	d, ok := c.transport.(interface{ SetReadDeadline(time.Time) error })
	if !ok || d.SetReadDeadline(time.Now().Add(c.cfg.Linger)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.transport, lingerBytes) // whatever it was, the connection is over
}

// errDrained ends a connection on which a drain has finished.
var errDrained = errors.New("http2 connection drained")

// Close ends the connection at once. Run returns soon after.
func (c *Conn) Close() {
	c.mu.Lock()
	c.failLocked(io.ErrClosedPipe)
	c.mu.Unlock()
	c.transport.Close()
	c.wake()
}

// failLocked ends every stream with err; the first reason counts.
func (c *Conn) failLocked(err error) {
	if c.closed == nil {
		c.closed, c.draining = err, true
	}
	for id, s := range c.streams {
		delete(c.streams, id)
		s.failLocked(err)
	}
}

// Drain asks the peer to open no more streams, lets those that are open end,
// and then ends the connection. A client only stops opening streams.
func (c *Conn) Drain() {
	c.mu.Lock()
	if c.draining {
		c.mu.Unlock()
		return
	}
	if !c.server {
		c.draining = true
		c.endIfDrainedLocked()
		c.mu.Unlock()
		return
	}
	if c.announced {
		c.mu.Unlock()
		return
	}
	c.announced = true
	// RFC 9113 section 6.8: announce first, and close the door a round trip
	// later, when no stream can be on its way any more.
	c.out = appendGoAway(c.out, maxWindow, NoError, "")
	c.pingData = [8]byte{'d', 'r', 'a', 'i', 'n'}
	c.out = append(appendFrameHeader(c.out, 8, framePing, 0, 0), c.pingData[:]...)
	// A client that reads the announcement in one goroutine may be about to open
	// a stream in another: its answer to the PING goes out first then.
	c.pinged = func() { c.hangUp = c.laterLocked(settleTime, c.finishDrainLocked) }
	c.mu.Unlock()
	c.wake()
}

// How a drain ends: how long after a client has seen the announcement streams
// are still taken, and how long the client may take to close the connection
// that is of no more use. Closing it first could cost a client that still
// writes the sight of the GOAWAY, which says that it may try elsewhere.
const (
	settleTime = 100 * time.Millisecond
	partTime   = time.Second
)

// laterLocked has f called, under the lock, unless the connection has ended.
func (c *Conn) laterLocked(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed == nil {
			f()
			c.signalLocked()
		}
	})
}

func (c *Conn) finishDrainLocked() {
	c.draining, c.goAway = true, true
	c.out = appendGoAway(c.out, c.lastID, NoError, "")
	c.endIfDrainedLocked()
}

// endIfDrainedLocked ends the connection once the last stream is gone.
func (c *Conn) endIfDrainedLocked() {
	if !c.draining || len(c.streams) > 0 || c.closed != nil {
		return
	}
	if c.goAway {
		if !c.parting {
			c.parting = true
			c.hangUp = c.laterLocked(partTime, func() { c.closed = errDrained })
		}
		return
	}
	c.closed = errDrained
	c.signalLocked()
}

// Streams is how many streams are open.
func (c *Conn) Streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// Available is how many more streams Open would give now.
func (c *Conn) Available() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.availableLocked()
}

// Takes says whether Open would give a stream now, and, unless it is wanted anyhow, one that is not congested: see Congested.
func (c *Conn) Takes(anyhow bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.availableLocked() > 0 && (anyhow || !c.congestedLocked())
}

func (c *Conn) availableLocked() int {
	if c.draining || c.closed != nil || c.nextID > maxWindow {
		return 0
	}
	return max(0, int(min(c.peer.maxStreams, maxWindow))-len(c.streams))
}

// RefusesExtendedConnect tells whether the peer, a server, is known to take no extended CONNECT (RFC 8441). Until its
// settings have arrived it may.
func (c *Conn) RefusesExtendedConnect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer.received && !c.peer.extendedHeader
}

// OnIdle has f called whenever the last open stream has ended. It must not
// block, nor call into the connection.
func (c *Conn) OnIdle(f func()) {
	c.mu.Lock()
	c.onIdle = f
	c.mu.Unlock()
}

// Open starts a stream with a request. With end there is no body. ErrRefused
// means that nothing was sent.
func (c *Conn) Open(h *Head, end bool) (*Stream, error) {
	c.mu.Lock()
	s, err := c.openLocked(h, end)
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.unlockAndFlush()
	return s, nil
}

func (c *Conn) openLocked(h *Head, end bool) (*Stream, error) {
	if c.draining || c.closed != nil || c.nextID > maxWindow || uint32(len(c.streams)) >= c.peer.maxStreams {
		return nil, ErrRefused
	}
	s := newStream(c, c.nextID)
	c.nextID += 2
	c.read.opened++
	c.streams[s.id] = s
	s.sendWindow = c.peer.initialWindow
	s.connect = string(h.Method) == "CONNECT"
	s.noBody = string(h.Method) == "HEAD"
	c.encodeLocked(s, h, end)
	return s, nil
}

// encodeLocked appends a header section.
func (c *Conn) encodeLocked(s *Stream, h *Head, end bool) {
	c.enc.begin()
	c.encodePseudo(":method", h.Method)
	c.encodePseudo(":scheme", h.Scheme)
	c.encodePseudo(":authority", h.Authority)
	c.encodePseudo(":path", h.Path)
	c.encodePseudo(":protocol", h.Protocol)
	if h.Status != 0 {
		c.encodeStatus(h.Status)
	}
	for i := range h.Fields {
		c.encodeField(&h.Fields[i])
	}
	c.out = appendHeaderFrames(c.out, c.enc.block, s.id, end, c.peer.maxFrame)
	c.heads += 1 + len(c.enc.block)/(c.peer.maxFrame+1)
	if end {
		s.sendEnd = true
		c.finishLocked(s)
	}
}

func appendHeaderFrames(dst, block []byte, stream uint32, end bool, maxFrame int) []byte {
	typ, flags := frameHeaders, uint8(0)
	if end {
		flags = flagEndStream
	}
	for {
		n := min(len(block), maxFrame)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		dst = append(appendFrameHeader(dst, n, typ, flags, stream), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return dst
		}
		typ, flags = frameContinuation, 0
	}
}

// finishLocked removes a stream that both ends have ended.
func (c *Conn) finishLocked(s *Stream) {
	if !s.sendEnd || !s.recvEnd {
		return
	}
	if c.streams[s.id] == s {
		delete(c.streams, s.id)
		c.refusedBy = max(0, c.refusedBy-1)
		c.idleLocked()
	}
}

func (c *Conn) idleLocked() {
	if len(c.streams) == 0 {
		if c.onIdle != nil {
			c.onIdle()
		}
		c.endIfDrainedLocked()
	}
}

// resetLocked ends a stream from our side.
func (c *Conn) resetLocked(s *Stream, code ErrCode, err error) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	c.rememberResetLocked(s.id)
	c.out = appendReset(c.out, s.id, code)
	c.control++
	s.failLocked(err)
	c.idleLocked()
}

func (c *Conn) rememberResetLocked(id uint32) {
	c.resets[c.resetAt%recentResets] = id
	c.resetAt++
}

func (c *Conn) wasResetLocked(id uint32) bool {
	for _, r := range c.resets {
		if r == id {
			return true
		}
	}
	return false
}

// wake has the write loop look.
func (c *Conn) wake() { c.signalLocked() }

// signalLocked needs no lock; the name says that it may be called under it.
func (c *Conn) signalLocked() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// cookieName is prepared once for joinCookies.
var cookieName = header.NewName("cookie")
