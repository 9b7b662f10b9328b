package http2

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"lateen.dev/lateen/wire/header"
)

// fieldOverhead is what RFC 9113 section 6.5.2 adds to each field's size.
const fieldOverhead = 32

// maxFragments bounds how many CONTINUATION frames a header may have.
const maxFragments = 32

func (r *reader) headers(f *frame) error {
	if f.stream == 0 || (r.c.server && f.stream%2 == 0) || (!r.c.server && f.stream%2 == 1 && f.stream >= r.c.opened()) {
		return connError(ProtocolError, "HEADERS on stream %d", f.stream)
	}
	if err := f.unpad(); err != nil {
		return err
	}
	if f.has(flagPriority) {
		if len(f.payload) < 5 {
			return connError(FrameSizeError, "HEADERS without its priority")
		}
		if err := checkDependency(f.stream, f.payload); err != nil {
			r.headErr = err // the section must still be decoded
		}
		f.payload = f.payload[5:]
	}
	r.blockStream, r.blockEnd, r.fragments = f.stream, f.has(flagEndStream), 0
	if f.has(flagEndHeaders) {
		return r.section(f.payload)
	}
	r.block = append(r.block[:0], f.payload...)
	return nil
}

func (c *Conn) opened() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nextID
}

func (r *reader) continuation(f *frame) error {
	if r.blockStream == 0 {
		return connError(ProtocolError, "CONTINUATION without a header section")
	}
	r.fragments++
	r.block = append(r.block, f.payload...)
	if r.fragments > maxFragments || len(r.block) > 2*int(r.c.cfg.MaxHeaderBytes) {
		return connError(EnhanceYourCalm, "a header section of more than %d bytes or %d frames", 2*r.c.cfg.MaxHeaderBytes, maxFragments)
	}
	if !f.has(flagEndHeaders) {
		return nil
	}
	err := r.section(r.block)
	if cap(r.block) > keepBuffer {
		r.block = nil
	}
	return err
}

// section decodes a complete header section and gives it to its stream. It is
// decoded even if nobody wants it: the compression's state must not drift.
func (r *reader) section(block []byte) error {
	id, end := r.blockStream, r.blockEnd
	r.blockStream = 0
	c := r.c
	c.mu.Lock()
	s := c.streams[id]
	received, headDone := false, false
	if s != nil {
		received, headDone = s.receiver != nil, s.headDone
		s.refs++ // its handler may end meanwhile: nobody else is to get it while it is decoded into
	}
	c.mu.Unlock()
	fresh := s == nil && c.server && id > c.lastID
	switch {
	case fresh:
		s = newStream(c, id)
		r.head = &s.head
	case s != nil && !headDone:
		r.head = &s.head
		r.head.Reset()
	case received:
		r.head = &r.scratch
		r.head.Reset()
	default: // trailers, or a stray
		r.head = new(Head)
		r.head.Reset()
	}
	err := r.decode(block)
	if err == nil {
		err, r.headErr = r.headErr, nil
	} else if fresh {
		return err
	}
	switch {
	case fresh:
		return r.accept(s, end, err)
	case s == nil:
		return r.stray(id, err)
	}
	return r.moreHeaders(s, r.head, end, err)
}

// stray ends a header section that is for no stream. err is what is wrong with its compression, or with its fields, which
// nobody would have looked at.
func (r *reader) stray(id uint32, err error) error {
	var broken *ConnError
	if errors.As(err, &broken) {
		return err
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.strayLocked(&frame{typ: frameHeaders, stream: id}, nil)
}

func (r *reader) decode(block []byte) error {
	if _, err := r.dec.Write(block); err != nil {
		return connError(CompressionError, "%v", err)
	}
	if err := r.dec.Close(); err != nil {
		return connError(CompressionError, "%v", err)
	}
	return nil
}

// field takes one decoded field. Errors are kept for the end of the section.
func (r *reader) field(f hpack.HeaderField) {
	h := r.head
	h.size += uint32(len(f.Name) + len(f.Value) + fieldOverhead)
	if r.headErr != nil {
		return
	}
	if h.size > r.c.cfg.MaxHeaderBytes || len(h.Fields) >= r.c.cfg.MaxHeaderFields {
		r.headErr = &StreamError{Code: ProtocolError, Reason: "the header is too large"}
		return
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		r.headErr = h.addPseudo(f.Name, bytesOf(f.Value))
		return
	}
	v := &r.vetted[vettedSlot(f.Name, f.Value)]
	if v.is(f.Name, f.Value) {
		h.pseudoEnded = true
		h.AddID(v.id, bytesOf(f.Name), bytesOf(f.Value))
		return
	}
	at := len(h.Fields)
	if r.headErr = h.addField(bytesOf(f.Name), bytesOf(f.Value)); r.headErr == nil && len(f.Value) <= vettedValue {
		if id := h.Fields[at].ID; id != header.ContentLength && id != header.TE {
			*v = vetted{name: f.Name, value: f.Value, id: id}
		}
	}
}

// vetted is a field that has been found valid before. The decoder's tables give
// the same strings for a field that comes again, so that it is known by where
// they lie.
type vetted struct {
	name, value string
	id          header.ID
}

const (
	vettedSize  = 64
	vettedValue = 128 // longest value, so that little is held on to
)

func vettedSlot(name, value string) uintptr {
	n, v := uintptr(unsafe.Pointer(unsafe.StringData(name))), uintptr(unsafe.Pointer(unsafe.StringData(value)))
	return (n>>3 ^ n>>9 ^ v>>4 ^ v>>10) % vettedSize
}

func (v *vetted) is(name, value string) bool {
	return len(v.name) == len(name) && len(v.value) == len(value) && len(name) > 0 &&
		unsafe.StringData(v.name) == unsafe.StringData(name) && unsafe.StringData(v.value) == unsafe.StringData(value)
}

// accept begins a stream of the client's.
func (r *reader) accept(s *Stream, end bool, err error) error {
	c := r.c
	if err == nil {
		err = s.head.checkRequest(c.cfg.EnableConnect)
	}
	if err == nil && end && s.head.ContentLength > 0 {
		err = malformed("content-length without a body")
	}
	s.head.joinCookies(cookieName)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID = s.id
	if err != nil {
		return err
	}
	if c.draining && c.goAway {
		c.rememberResetLocked(s.id) // its body may be on its way
		return nil                  // the client was told that this stream would not be looked at
	}
	if uint32(len(c.streams)) >= c.cfg.MaxConcurrentStreams {
		return &StreamError{Code: RefusedStream, Reason: "too many streams"}
	}
	if c.running >= int(c.cfg.MaxConcurrentStreams)+c.cfg.MaxResets {
		return connError(EnhanceYourCalm, "streams are opened and reset too fast")
	}
	s.headDone, s.recvEnd = true, end
	s.connect = string(s.head.Method) == "CONNECT"
	s.sendWindow = c.peer.initialWindow
	c.streams[s.id] = s
	c.running++
	if c.onStream == nil {
		c.handlers.Go(func() { c.serve(s, c.handler) })
		return nil
	}
	s.refs++
	c.mu.Unlock()
	c.onStream(&r.batch, s)
	c.mu.Lock()
	c.unrefLocked(s)
	return nil
}

func (c *Conn) serve(s *Stream, handler func(*Stream)) {
	defer func() {
		s.Release()
		c.mu.Lock()
		c.running--
		c.mu.Unlock()
	}()
	handler(s)
}

// moreHeaders takes a response, an interim response, or trailers, with what was found wrong with it. It ends the use of
// the stream that section began.
func (r *reader) moreHeaders(s *Stream, h *Head, end bool, err error) error {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.unrefLocked(s)
	if err != nil {
		return err
	}
	if c.streams[s.id] != s {
		return nil // it has just ended from our side
	}
	if s.recvEnd {
		return &StreamError{Code: StreamClosed, Reason: "HEADERS after the end of the message"}
	}
	if !s.headDone {
		return r.responseLocked(s, h, end)
	}
	if !end || h.Status != 0 || h.Method != nil || h.Path != nil || h.Scheme != nil || h.Authority != nil {
		return malformed("trailers that are none")
	}
	if s.receiver == nil {
		if h == &r.scratch {
			h = h.clone()
		}
		s.trailers = h
		return s.endReceiveLocked()
	}
	if err := s.endReceiveLocked(); err != nil {
		return err
	}
	if !r.headLocked(s, h, end) && !s.left {
		s.trailers = h.clone()
	}
	c.unrefLocked(s)
	return nil
}

// headLocked gives a header section to the stream's receiver. The caller ends
// the use of the stream.
func (r *reader) headLocked(s *Stream, h *Head, end bool) bool {
	to := s.receiver
	s.refs++
	r.c.mu.Unlock()
	taken := to.ReceiveHead(&r.batch, s, h, end)
	r.c.mu.Lock()
	return taken
}

func (r *reader) responseLocked(s *Stream, h *Head, end bool) error {
	if !h.statusSeen || h.Method != nil || h.Path != nil || h.Scheme != nil || h.Authority != nil || h.Protocol != nil {
		return malformed("a response has a status and no other pseudo field")
	}
	if h.Status == 101 {
		return malformed("101 does not exist in HTTP/2")
	}
	if h.Status < 200 {
		if end || len(s.interim) >= maxInterim {
			return malformed("interim responses")
		}
		if s.receiver != nil {
			r.headLocked(s, h, false)
			r.c.unrefLocked(s)
			return nil
		}
		// The head's own memory is for the response that follows.
		early := &Head{Status: h.Status, ContentLength: -1}
		for i := range h.Fields {
			early.AddID(h.Fields[i].ID, h.Fields[i].Name, h.Fields[i].Value)
		}
		s.interim = append(s.interim, early)
		s.wakeReader()
		return nil
	}
	s.headDone = true
	if end {
		if err := s.endReceiveLocked(); err != nil {
			return err
		}
	}
	if s.receiver != nil {
		r.headLocked(s, h, end)
		r.c.unrefLocked(s)
		return nil
	}
	s.wakeReader()
	return nil
}

// maxInterim bounds the interim responses that wait to be read.
const maxInterim = 16

// streamFault resets a stream, and the connection of a peer that makes too
// many faults.
func (c *Conn) streamFault(id uint32, fault *StreamError) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tooManyResets() {
		return connError(EnhanceYourCalm, "too many faulty streams")
	}
	if s := c.streams[id]; s != nil {
		c.resetLocked(s, fault.Code, fault)
		return nil
	}
	c.rememberResetLocked(id)
	c.out = appendReset(c.out, id, fault.Code)
	c.control++
	return nil
}

// peerReset takes RST_STREAM.
func (c *Conn) peerReset(f *frame) error {
	if f.stream == 0 {
		return connError(ProtocolError, "RST_STREAM without a stream")
	}
	if len(f.payload) != 4 {
		return connError(FrameSizeError, "RST_STREAM of %d bytes", len(f.payload))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.stream]
	if s == nil {
		if c.idleStreamLocked(f.stream) {
			return connError(ProtocolError, "RST_STREAM for stream %d, which does not exist", f.stream)
		}
		return nil
	}
	code := ErrCode(binary.BigEndian.Uint32(f.payload))
	if c.server {
		if c.tooManyResets() {
			return connError(EnhanceYourCalm, "streams are reset too fast")
		}
	}
	delete(c.streams, f.stream)
	if code == NoError && s.headDone && !c.server {
		// The server has answered and does not want the rest of the request: RFC
		// 9113 section 8.1. The response stays readable.
		s.sendEnd = true
	}
	s.failLocked(&StreamError{Code: code, Remote: true})
	c.idleLocked()
	return nil
}

// ping answers PING, and notes the answer to ours.
func (c *Conn) ping(f *frame) error {
	if f.stream != 0 {
		return connError(ProtocolError, "PING on a stream")
	}
	if len(f.payload) != 8 {
		return connError(FrameSizeError, "PING of %d bytes", len(f.payload))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) {
		if [8]byte(f.payload) == aliveData {
			c.answeredLocked()
			return nil
		}
		if pinged := c.pinged; pinged != nil && [8]byte(f.payload) == c.pingData {
			c.pinged = nil
			pinged()
		}
		return nil
	}
	c.out = append(appendFrameHeader(c.out, 8, framePing, flagAck, 0), f.payload...)
	c.control++
	return nil
}

// peerGoAway takes GOAWAY: no new streams, and those that the peer will not
// look at can go elsewhere.
func (c *Conn) peerGoAway(f *frame) error {
	if f.stream != 0 {
		return connError(ProtocolError, "GOAWAY on a stream")
	}
	if len(f.payload) < 8 {
		return connError(FrameSizeError, "GOAWAY of %d bytes", len(f.payload))
	}
	last := binary.BigEndian.Uint32(f.payload) & maxWindow
	code := ErrCode(binary.BigEndian.Uint32(f.payload[4:]))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	for id, s := range c.streams {
		if !c.server && id > last {
			delete(c.streams, id)
			s.failLocked(&StreamError{Code: RefusedStream, Remote: true})
		}
	}
	if code != NoError {
		return &ConnError{Code: code, Reason: string(f.payload[8:min(len(f.payload), 264)]), Remote: true}
	}
	c.idleLocked()
	return nil
}

// windowUpdate takes WINDOW_UPDATE.
func (c *Conn) windowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return connError(FrameSizeError, "WINDOW_UPDATE of %d bytes", len(f.payload))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.windowUpdateLocked(f)
}

func (c *Conn) windowUpdateLocked(f *frame) error {
	n := int64(binary.BigEndian.Uint32(f.payload) & maxWindow)
	if f.stream == 0 {
		if c.sendWindow += n; n == 0 || c.sendWindow > maxWindow {
			code := FlowControlError
			if n == 0 {
				code = ProtocolError
			}
			return connError(code, "WINDOW_UPDATE by %d", n)
		}
		c.unblockLocked()
		return nil
	}
	s := c.streams[f.stream]
	if s == nil {
		if c.idleStreamLocked(f.stream) {
			return connError(ProtocolError, "WINDOW_UPDATE for stream %d, which does not exist", f.stream)
		}
		return nil
	}
	if n == 0 {
		return &StreamError{Code: ProtocolError, Reason: "WINDOW_UPDATE by 0"}
	}
	if s.sendWindow += n; s.sendWindow > maxWindow {
		return &StreamError{Code: FlowControlError, Reason: "WINDOW_UPDATE overflows the window"}
	}
	if s.blocked {
		s.roomLocked()
	}
	return nil
}
