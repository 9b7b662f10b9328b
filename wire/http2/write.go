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
	for len(c.out) > 0 || c.stuck {
		p, rest := []byte(nil), c.stuck
		if rest {
			p, c.rest = c.rest, nil
		} else {
			p = c.takeOutLocked()
		}
		c.mu.Unlock()
		if d, ok := c.transport.(deadliner); ok {
			d.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		_, err := c.transport.Write(p)
		c.mu.Lock()
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
