package http2

// holdLocked accounts for body bytes that have come and are to be read. The
// connection's window has them back at once, unless too many wait already.
func (c *Conn) holdLocked(n int) {
	limit := int64(c.cfg.ConnWindow) * holdServer
	if !c.server {
		limit = int64(c.cfg.ConnWindow) * holdClient
	}
	if c.held += int64(n); c.held <= limit {
		c.creditLocked(n)
	} else {
		c.withheld += int64(n)
		c.grantLocked()
	}
}

// releaseLocked accounts for body bytes that have been read, or never will be.
func (c *Conn) releaseLocked(n int) {
	c.held -= int64(n)
	if back := min(int64(n), c.withheld); back > 0 {
		c.withheld -= back
		c.creditLocked(int(back))
	}
}

// creditLocked gives body bytes back to the connection's window.
func (c *Conn) creditLocked(n int) {
	c.recvUnacked += uint32(n)
	c.grantLocked()
}

// grantLocked tells the peer of what it has back, once that is worth a frame: half of the window, or of what streams that
// nobody reads have left of it. Those that are read go on as long as there is anything left.
func (c *Conn) grantLocked() {
	if n := int64(c.recvUnacked); n == 0 || 2*n < int64(c.cfg.ConnWindow)-c.withheld {
		return
	}
	c.out = appendWindowUpdate(c.out, 0, c.recvUnacked)
	c.read.window += int64(c.recvUnacked)
	c.recvUnacked = 0
}

// Congested tells that streams which nobody reads hold so much of the connection's window that others would suffer: a new
// one had better go elsewhere.
func (c *Conn) Congested() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.congestedLocked()
}

func (c *Conn) congestedLocked() bool { return 2*c.withheld >= int64(c.cfg.ConnWindow) }
