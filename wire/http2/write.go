package http2

import (
	"errors"
	"os"
	"runtime"
	"time"
)

// unlockAndFlush ends a critical section that appended to out. A lone stream
// writes at once; where there are several the write loop gathers their frames.
func (c *Conn) unlockAndFlush() {
	if c.writing || c.stuck || c.lender != nil || len(c.streams) > 1 {
		c.mu.Unlock()
		c.wake()
		return
	}
	c.flushLocked()
	look := len(c.events) > 0 || c.closed != nil
	c.mu.Unlock()
	if look {
		c.wake()
	}
}

// writeLoop writes what others appended, until the connection has ended.
func (c *Conn) writeLoop() {
	var b Batch
	for range c.signal {
		runtime.Gosched() // let those who are about to append do so: one write for all
		c.mu.Lock()
		c.flushLocked()
		over := c.closed != nil && !c.writing && c.lender == nil // whoever writes wakes us again
		drained := over && c.closed == errDrained
		noted := len(c.events) > 0
		c.mu.Unlock()
		if noted {
			c.deliver(&b)
			b.Flush()
		}
		if drained {
			c.transport.Close() // wakes the reader
		}
		if over {
			return
		}
	}
}

// deadliner is a transport on which a write can be bounded.
type deadliner interface{ SetWriteDeadline(time.Time) error }

// writeTimeout bounds how long a peer may take nothing.
const writeTimeout = 30 * time.Second

// flushLocked writes out, giving up the lock meanwhile. Only one goroutine
// writes; others leave their bytes to it.
func (c *Conn) flushLocked() {
	if c.writing || c.lender != nil {
		return
	}
	c.writing = true
	for c.pendingLocked() > 0 || c.stuck {
		p, rest := []byte(nil), c.stuck
		g := &c.rest
		if !rest {
			p = c.takeOutLocked()
			g = c.gatherLocked(p)
		}
		c.mu.Unlock()
		err := c.writeAll(g.list, rest)
		c.mu.Lock()
		g.drop()
		if rest {
			c.stuck = false
		}
		c.wroteLocked(p, err)
		if err != nil {
			break
		}
	}
	c.writing = false
}

// writeAll writes the pieces, waiting as long as it must; full says that it must wait for the first, and that the
// transport itself has something to write, even if there are none.
func (c *Conn) writeAll(v [][]byte, full bool) error {
	for full || len(v) > 0 {
		if !full && len(v) > 1 && c.vector != nil {
			n, again, err := c.vector.TryWriteVector(v)
			if err != nil {
				return err
			}
			v, full = advance(v, n), again
			continue
		}
		var p []byte
		if len(v) > 0 {
			p, v = v[0], v[1:]
		}
		if d, ok := c.transport.(deadliner); ok {
			d.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		if _, err := c.transport.Write(p); err != nil {
			return err
		}
		full = false
	}
	return nil
}

// writeFailedLocked ends the connection; a client reads on for a moment. The
// server may have answered, and closed, before it had read everything: that
// answer is on its way, or here already.
func (c *Conn) writeFailedLocked(err error) {
	if c.server || errors.Is(err, os.ErrDeadlineExceeded) {
		c.failLocked(err)
		c.transport.Close()
		return
	}
	if c.broken != nil || c.closed != nil {
		return
	}
	c.broken, c.draining = err, true
	c.hangUp = time.AfterFunc(lingerTime, func() { c.transport.Close() })
	c.unblockLocked()
}
