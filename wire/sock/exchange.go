package sock

import (
	"io"
	"time"
)

// Read waits until there are bytes and reads them. At the end of the stream it returns a plain io.EOF; every other
// error is an *Error.
func (c *Conn) Read(p []byte) (int, error) {
	if c.inline {
		return 0, c.fail("read", ErrCannotRead)
	}
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.skipPrefix(n)
		return n, nil
	}
	n, err := c.read(p)
	if err != nil {
		if err == io.EOF {
			return 0, err
		}
		return 0, c.fail("read", err)
	}
	c.rx.Add(int64(n))
	return n, nil
}

func (c *Conn) read(p []byte) (int, error) {
	if c.layer != nil {
		return c.readLayer(p)
	}
	return c.readWire(p)
}

// readWire reads from the transport and waits on where the timer fired early.
func (c *Conn) readWire(p []byte) (int, error) {
	for {
		n, err := c.t.read(p)
		if err == nil {
			return n, nil
		}
		if err = c.lapsed(err); err != nil {
			return 0, err
		}
	}
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.write(p, nil); err != nil {
		return 0, c.fail("write", err)
	}
	return len(p), nil
}

// Answer is Write for the session of Serve on its own connection, which is cheaper inside the serving callback. Nobody
// else may write meanwhile.
func (c *Conn) Answer(p []byte) (int, error) {
	if !c.inline {
		return c.Write(p)
	}
	c.answering = true
	n, err := c.Write(p)
	c.answering = false
	return n, err
}

// Write2 writes all of a, then all of b, in one system call where that is possible.
func (c *Conn) Write2(a, b []byte) error {
	if err := c.write(a, b); err != nil {
		return c.fail("write", err)
	}
	return nil
}

func (c *Conn) write(a, b []byte) error {
	// Counted first: after an error it isn't known how much the peer got, and Error.Written must not promise that it
	// got nothing.
	c.tx.Add(int64(len(a) + len(b)))
	if c.layer != nil {
		return c.writeLayer(a, b)
	}
	return c.t.write(a, b)
}

// Fresh begins an exchange that isn't done with one WriteRead: it checks, at the price of a system call, that the
// connection can still be used. The error's reason is ReasonStale if it can't.
func (c *Conn) Fresh() error {
	c.begin()
	err := c.t.check()
	if err == nil && len(c.prefix) > 0 {
		err = ErrStale
	}
	if err != nil {
		return c.fail("exchange", err)
	}
	return nil
}

// begin marks the beginning of an exchange.
func (c *Conn) begin() {
	c.exchanges++
	c.rxMark, c.txMark = c.rx.Load(), c.tx.Load()
}

// Reply takes the answer of a WriteRead. Its methods are called by the goroutine that called that.
type Reply interface {
	// Sent is called once what was to be written isn't needed any more: before the wait, unless something fails.
	Sent()
	// Space returns memory to read into, which must not be empty. It is called when bytes are about to be read, never
	// while the connection waits, so it is the place to take a buffer from a pool. It may be called again for the same
	// answer, when the first call has found nothing to read.
	Space() []byte
}

// WriteRead is a whole exchange: it checks that the connection can still be used, writes w, waits for an answer and
// reads the beginning of it into memory that it asks r for. It must be the first thing done in an exchange, and is the
// cheapest. Every error is an *Error, the end of the stream too.
func (c *Conn) WriteRead(w []byte, r Reply) (int, error) {
	if c.inline {
		return 0, c.fail("exchange", ErrCannotRead)
	}
	c.begin()
	n, err := c.writeRead(w, r)
	if err != nil {
		return 0, c.fail("exchange", err)
	}
	c.rx.Add(int64(n))
	return n, nil
}

func (c *Conn) writeRead(w []byte, r Reply) (int, error) {
	if len(c.prefix) > 0 {
		return 0, ErrStale
	}
	if c.layer != nil {
		return c.writeReadLayer(w, r)
	}
	return c.writeReadWire(w, r, len(w))
}

// writeReadWire does the exchange on the transport; plain is what the counter of written bytes grows by.
func (c *Conn) writeReadWire(w []byte, r Reply, plain int) (int, error) {
	for {
		n, wrote, err := c.t.writeRead(w, r)
		if wrote {
			c.tx.Add(int64(plain))
		}
		if err == nil {
			return n, nil
		}
		if err = c.lapsed(err); err != nil {
			return 0, err
		}
		if wrote {
			return c.readWire(r.Space())
		}
	}
}

func (c *Conn) writeReadLayer(w []byte, r Reply) (int, error) {
	if len(w) > sealSize/2 {
		// Too much for one piece; rare enough to take the plain way.
		if err := c.t.check(); err != nil {
			return 0, err
		}
		if err := c.write(w, nil); err != nil {
			return 0, err
		}
		r.Sent()
		return c.readLayer(r.Space())
	}
	c.sealing = sealPool.Get().(*cipherBuf)
	defer (*sealedReply)(c).Sent()
	c.sealMu.Lock()
	out, err := c.layer.Seal(c.sealing.b[:0], w)
	c.sealMu.Unlock()
	if err != nil {
		return 0, err
	}
	c.sealing.b = out[:0]
	r.Sent()
	n, err := c.writeReadWire(out, (*sealedReply)(c), len(w))
	if err != nil {
		c.releaseCipher()
		return 0, err
	}
	c.layer.Feed(c.cipher.b[:n])
	return c.readLayer(r.Space())
}

// sealedReply is the Conn as the Reply of an exchange of ciphertext.
type sealedReply Conn

// Sent implements Reply.
func (r *sealedReply) Sent() {
	if r.sealing != nil {
		sealPool.Put(r.sealing)
		r.sealing = nil
	}
}

// Space implements Reply.
func (r *sealedReply) Space() []byte { return (*Conn)(r).cipherSpace() }

// Linger closes so that the peer can still read what was written last though it is sending: it ends the sending side,
// then discards what comes until the peer closes, d has passed or limit bytes have come, then closes. Without it a
// reset could overtake an early answer (RFC 9112 section 9.6).
func (c *Conn) Linger(d time.Duration, limit int64) {
	defer c.Close()
	if c.inline || c.CloseWrite() != nil {
		return
	}
	c.Watch(nil)
	c.SetReadDeadline(Now().Add(d))
	buf := cipherPool.Get().(*cipherBuf)
	defer cipherPool.Put(buf)
	for got := int64(0); got < limit; {
		n, err := c.readWire(buf.b)
		if err == ErrInterrupted {
			continue // meant for the exchange that is over
		}
		if err != nil {
			return
		}
		got += int64(n)
	}
}
