package http2

// A loan is a DATA frame, or several that follow each other, that goes out from the very buffer that it was read into:
// what one connection's reader passes on to another connection is the same but for the stream's number in the frame's
// header, which is written over the old one. The reader lends while it handles a burst of frames and flushes all that it
// has lent to before it reads again, so that nobody holds a loan for longer.
type loan struct {
	at int // it goes out before out[at:]
	p  []byte
}

// minLoan is how long a frame must be to be lent; shorter ones are copied, so that writes don't consist of crumbs.
const minLoan = 1 << 10

// vectorWriter is a transport that may be able to write several pieces at once, without waiting.
type vectorWriter interface {
	Gathers() bool
	TryWriteVector(v [][]byte) (n int, again bool, err error)
}

// lendLocked sends the body p of the frame that the batch's reader is passing on without a copy, if that is possible. It
// must be all of that frame. Nobody else writes the connection until the lender has: it does so soon, and writes what
// others have to say, too.
func (c *Conn) lendLocked(b *Batch, s *Stream, p []byte, end bool) bool {
	f := b.offer
	if c.vector == nil || len(p) < minLoan || len(f) != frameHeaderLen+len(p) || &f[frameHeaderLen] != &p[0] {
		return false
	}
	if c.writing || c.stuck || c.lender != nil && c.lender != b || s.sendableLocked(len(p)) < len(p) {
		return false
	}
	b.offer = nil
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	appendFrameHeader(f[:0], len(p), frameData, flags, s.id)
	c.lender = b
	c.lent += len(f)
	if l := c.lastLoan(); l != nil && l.at == len(c.out) && follows(l.p, f) {
		l.p = l.p[:len(l.p)+len(f)]
	} else {
		c.loans = append(c.loans, loan{at: len(c.out), p: f})
	}
	c.sentDataLocked(s, len(p), end)
	return true
}

func (c *Conn) lastLoan() *loan {
	if len(c.loans) == 0 {
		return nil
	}
	return &c.loans[len(c.loans)-1]
}

// follows says that next lies right behind p, in the same buffer.
func follows(p, next []byte) bool {
	n := len(p)
	return cap(p)-n >= len(next) && &p[:n+1][n] == &next[0]
}

// pendingLocked is how many bytes wait to be written.
func (c *Conn) pendingLocked() int { return len(c.out) + c.lent }

// gatherLocked turns the bytes taken from out and the loans between them into pieces to write. They belong to the
// writer until dropLocked.
func (c *Conn) gatherLocked(out []byte) [][]byte {
	at := 0
	for i := range c.loans {
		l := &c.loans[i]
		if l.at > at {
			c.pieces = append(c.pieces, out[at:l.at])
			at = l.at
		}
		c.pieces = append(c.pieces, l.p)
	}
	if at < len(out) {
		c.pieces = append(c.pieces, out[at:])
	}
	clear(c.loans)
	c.loans, c.lent, c.lender = c.loans[:0], 0, nil
	return c.pieces
}

// dropLocked forgets the pieces.
func (c *Conn) dropLocked() {
	clear(c.pieces)
	c.pieces = c.pieces[:0]
}

// appendRest appends what is left of the pieces after n bytes.
func appendRest(dst []byte, pieces [][]byte, n int) []byte {
	for _, p := range pieces {
		k := min(n, len(p))
		dst = append(dst, p[k:]...)
		n -= k
	}
	return dst
}
