package http2

// Batch gathers the connections that have something to write, so that one write
// carries all that a burst of reading has made. A batch belongs to one
// goroutine. Its zero value is empty.
type Batch struct {
	conns []*Conn
	// offer is the DATA frame that a reader is passing on, header and all, in its buffer: see loan.
	offer []byte
}

func (b *Batch) add(c *Conn) {
	for _, o := range b.conns {
		if o == c {
			return
		}
	}
	b.conns = append(b.conns, c)
}

// Flush writes what the connections have, without waiting for a peer that does
// not read: what the socket does not take is left to the connection's own
// goroutine. The caller holds no lock that a Receiver takes.
func (b *Batch) Flush() {
	for len(b.conns) > 0 {
		n := len(b.conns) - 1
		c := b.conns[n]
		b.conns[n] = nil
		b.conns = b.conns[:n]
		c.flushNow(b)
	}
}

// tryWriter is a transport that can write without waiting.
type tryWriter interface {
	TryWrite(p []byte) (n int, again bool, err error)
}

// flushNow writes what the transport takes at once.
func (c *Conn) flushNow(b *Batch) {
	c.mu.Lock()
	if c.writing || c.stuck || c.pendingLocked() == 0 || c.lender != nil && c.lender != b {
		c.mu.Unlock() // whoever writes takes it along
		return
	}
	if c.try == nil {
		c.mu.Unlock()
		c.wake()
		return
	}
	c.writing = true
	for err := error(nil); err == nil && c.pendingLocked() > 0 && !c.stuck; {
		if len(c.loans) == 0 {
			err = c.tryLocked()
		} else {
			err = c.tryLoansLocked()
		}
	}
	c.writing = false
	over, noted, stuck := c.closed != nil, len(c.events) > 0, c.stuck
	c.mu.Unlock()
	if noted {
		c.deliver(b)
	}
	if over || stuck {
		c.wake()
	}
}

// tryLocked writes what others have appended, as far as the transport takes it at once.
func (c *Conn) tryLocked() error {
	p := c.takeOutLocked()
	c.mu.Unlock()
	n, again, err := c.try.TryWrite(p)
	c.mu.Lock()
	if again && err == nil {
		c.stuck = true
		c.rest.keep(p[n:])
	}
	c.wroteLocked(p, err)
	return err
}

// tryLoansLocked does so with loans between that.
func (c *Conn) tryLoansLocked() error {
	p := c.takeOutLocked()
	g := c.gatherLocked(p)
	c.mu.Unlock()
	n, again, err := c.vector.TryWriteVector(g.list)
	c.mu.Lock()
	if again && err == nil {
		c.stuck = true
		g.moveRest(&c.rest, n)
	}
	g.drop()
	c.wroteLocked(p, err)
	return err
}

// takeOutLocked takes what is to be written.
func (c *Conn) takeOutLocked() []byte {
	p := c.out
	c.out, c.control, c.heads, c.bodies = c.spare[:0], 0, 0, 0
	c.spare = nil
	return p
}

// wroteLocked takes note of a write.
func (c *Conn) wroteLocked(p []byte, err error) {
	if cap(p) <= keepBuffer || len(p) >= cap(p)/4 {
		c.spare = p[:0]
	}
	if err != nil {
		c.out, c.stuck = c.out[:0], false
		c.forgetLoansLocked()
		c.rest.drop()
		c.writeFailedLocked(err)
		return
	}
	if c.full && !c.stuck {
		c.full = false
		c.unblockLocked()
	}
}
