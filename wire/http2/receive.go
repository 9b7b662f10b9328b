package http2

import "slices"

// Receiver is told what happens on a stream, as it happens, instead of a
// goroutine that waits for it. It is called by the goroutine that read or wrote
// the connection, without any lock of the connection, and must not block; calls
// for one stream may come from two goroutines at a time. What it wants to send
// goes into the batch.
//
// The bytes, and the head but for a request's, are views that end with the
// call.
type Receiver interface {
	// ReceiveHead brings a response's header section, interim ones first, or
	// the trailers. False refuses it, as for ReceiveData.
	ReceiveHead(b *Batch, s *Stream, h *Head, end bool) bool
	// ReceiveData brings a part of a body. Consumed must be told when it has
	// gone. False means that the receiver has left the stream to a handler.
	ReceiveData(b *Batch, s *Stream, p []byte, end bool) bool
	// ReceiveReset says that the stream is over: reset by the peer, at fault, or
	// dead with its connection.
	ReceiveReset(b *Batch, s *Stream, err error)
	// Sent says that n bytes more of those that Send kept have gone out.
	Sent(b *Batch, s *Stream, n int)
}

// event is what a receiver is to be told when the lock has been given up.
type event struct {
	s    *Stream
	r    Receiver
	sent int
	err  error
}

// OnStream has f called, by the reader, for every stream that begins, instead
// of a goroutine with the handler. f must call Attach or Serve before it
// returns. It must be set before Run.
func (c *Conn) OnStream(f func(*Batch, *Stream)) { c.onStream = f }

// Attach makes r the stream's receiver.
func (s *Stream) Attach(r Receiver) {
	s.c.mu.Lock()
	s.receiver = r
	s.c.mu.Unlock()
}

// Serve takes the stream from its receiver and has f handle it, in a goroutine
// of its own, as NewServer's handlers do. Bytes that the receiver was given
// count as read. Only for servers.
func (s *Stream) Serve(f func(*Stream)) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.receiver, s.handler = nil, f
	if n := s.held - s.passing; n > 0 {
		s.held = s.passing
		s.ackLocked(n)
		c.wake()
	}
	if s.refs == 0 {
		s.startLocked()
	}
}

func (s *Stream) startLocked() {
	f := s.handler
	s.handler = nil
	s.c.handlers.Go(func() { s.c.serve(s, f) })
}

// unrefLocked ends the use of a stream outside of the lock.
func (c *Conn) unrefLocked(s *Stream) {
	if s.refs--; s.refs > 0 {
		return
	}
	switch {
	case s.left:
		s.recycle()
	case s.handler != nil:
		s.startLocked()
	}
}

// Leave ends a receiver's use of the stream, which the caller must not touch
// any more. A stream that has not ended is reset.
func (s *Stream) Leave(b *Batch, code ErrCode) {
	c := s.c
	c.mu.Lock()
	s.receiver = nil
	c.resetLocked(s, code, errLeft)
	c.releaseLocked(s.held + len(s.data) - s.off)
	s.held = 0
	s.left = true
	if c.server {
		c.running--
	}
	if s.refs == 0 {
		s.recycle()
	}
	pending := c.pendingLocked() > 0
	c.mu.Unlock()
	if pending {
		b.add(c)
	}
}

// errLeft is what nobody gets to see.
var errLeft = &StreamError{Code: Cancel, Reason: "reset by this end"}

// recycle forgets a stream that nobody refers to any more.
func (s *Stream) recycle() {
	if s.blocked {
		c := s.c
		c.blocked = slices.DeleteFunc(c.blocked, func(o *Stream) bool { return o == s })
	}
	s.queue.clear()
	data := s.data[:0]
	if cap(data) > keepBuffer {
		data = nil
	}
	list := s.head.List
	list.Reset()
	*s = Stream{wakeRead: s.wakeRead, wakeWrite: s.wakeWrite, data: data}
	s.head.List = list
	drainSignal(s.wakeRead)
	drainSignal(s.wakeWrite)
	streamPool.Put(s)
}

// OpenReceived is Open for a stream with a receiver.
func (c *Conn) OpenReceived(b *Batch, h *Head, end bool, r Receiver) (*Stream, error) {
	c.mu.Lock()
	s, err := c.openLocked(h, end)
	if err == nil {
		s.receiver = r
	}
	c.mu.Unlock()
	if err == nil {
		b.add(c)
	}
	return s, err
}

// SendHead sends a header section: see WriteHead. Trailers follow what Send
// has kept.
func (s *Stream) SendHead(b *Batch, h *Head, end bool) error {
	c := s.c
	c.mu.Lock()
	err := s.sendErrorLocked()
	switch {
	case err != nil:
	case s.queued() > 0:
		s.queueTrailers, s.queueEnd = h.clone(), true
	default:
		c.encodeLocked(s, h, end)
	}
	c.mu.Unlock()
	if err == nil {
		b.add(c)
	}
	return err
}

// Send sends a part of a body without waiting, and the message's end with end.
// What the peer's windows do not let through is kept, and kept says how much
// that is; the receiver's Sent tells when it has gone.
func (s *Stream) Send(b *Batch, p []byte, end bool) (kept int, err error) {
	c := s.c
	c.mu.Lock()
	if err := s.sendErrorLocked(); err != nil {
		c.mu.Unlock()
		return 0, err
	}
	switch {
	case s.queued() > 0:
	case c.lendLocked(b, s, p, end):
		p, end = nil, false
	default:
		p, end = s.sendLocked(p, end)
	}
	if kept = len(p); kept > 0 || end {
		s.queue.push(p)
		s.queueEnd = end
		c.blockLocked(s)
	}
	c.mu.Unlock()
	b.add(c)
	return kept, nil
}

// sendLocked sends as much as the windows allow and returns what is left.
func (s *Stream) sendLocked(p []byte, end bool) ([]byte, bool) {
	for len(p) > 0 || end {
		n := s.sendableLocked(len(p))
		if n == 0 && len(p) > 0 {
			break
		}
		last := end && n == len(p)
		s.c.appendDataLocked(s, p[:n], last)
		p = p[n:]
		if last {
			end = false
		}
	}
	return p, end
}

// queued is how many bytes wait for the peer's windows.
func (s *Stream) queued() int { return s.queue.size }

// Kept is how many bytes Send has kept that have not gone out yet.
func (s *Stream) Kept() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.queued()
}

// blockLocked notes that a stream waits for room.
func (c *Conn) blockLocked(s *Stream) {
	if !s.blocked {
		s.blocked = true
		c.blocked = append(c.blocked, s)
	}
}

// unblockLocked lets every stream that waits for room look again.
func (c *Conn) unblockLocked() {
	list := c.blocked
	c.blocked = c.blocked[:0]
	for _, s := range list {
		s.blocked = false
		s.roomLocked()
	}
	clear(list[len(c.blocked):])
}

// roomLocked lets a stream send what waits, as far as there is room.
func (s *Stream) roomLocked() {
	if s.queued() == 0 {
		s.wakeWriter()
		return
	}
	before := s.queued()
	if s.sendErrorLocked() == nil {
		s.sendQueueLocked()
	} else {
		s.queue.clear() // it can't go anywhere any more
	}
	if s.queued() > 0 {
		s.c.blockLocked(s)
	} else if t := s.queueTrailers; t != nil && s.sendErrorLocked() == nil {
		s.queueTrailers = nil
		s.c.encodeLocked(s, t, true)
	}
	if n := before - s.queued(); n > 0 {
		s.c.noteLocked(s, event{sent: n})
	}
}

// sendQueueLocked sends as much of what waits as the windows allow.
func (s *Stream) sendQueueLocked() {
	c, q := s.c, &s.queue
	for q.size > 0 {
		p := q.head.bytes()
		n := s.sendableLocked(len(p))
		if n == 0 {
			return
		}
		end := n == q.size && s.queueEnd && s.queueTrailers == nil
		if c.vector != nil && n == len(p) && n >= minLoan {
			c.lendChunkLocked(s, q.pop(), end)
			continue
		}
		c.appendDataLocked(s, p[:n], end)
		q.skip(n)
	}
}

// noteLocked has the stream's receiver, if there is one, told of e.
func (c *Conn) noteLocked(s *Stream, e event) {
	if s.receiver == nil {
		return
	}
	e.s, e.r = s, s.receiver
	s.refs++
	c.events = append(c.events, e)
}

// deliver tells receivers what has been noted for them. The caller holds no lock.
func (c *Conn) deliver(b *Batch) {
	for {
		c.mu.Lock()
		list := c.events
		c.events = nil
		c.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for _, e := range list {
			if e.err != nil {
				e.r.ReceiveReset(b, e.s, e.err)
			} else {
				e.r.Sent(b, e.s, e.sent)
			}
		}
		c.mu.Lock()
		for _, e := range list {
			c.unrefLocked(e.s)
		}
		c.mu.Unlock()
	}
}

// Consumed says that n bytes, which ReceiveData brought, have gone where they
// were to go, so that the peer may send more.
func (s *Stream) Consumed(b *Batch, n int) {
	if n == 0 {
		return
	}
	c := s.c
	c.mu.Lock()
	s.held -= n
	before := len(c.out)
	s.ackLocked(n)
	pending := len(c.out) > before
	c.mu.Unlock()
	if pending {
		b.add(c)
	}
}

// clone copies a head, whose views may end.
func (h *Head) clone() *Head {
	c := &Head{Status: h.Status, ContentLength: h.ContentLength}
	for i := range h.Fields {
		f := &h.Fields[i]
		if !f.Removed && !f.Hop {
			c.AddID(f.ID, slices.Clone(f.Name), slices.Clone(f.Value))
		}
	}
	return c
}
