package http2

// A loan is a DATA frame, or several that follow each other, that goes out from the very buffer that it was read into:
// what one connection's reader passes on to another connection is the same but for the stream's number in the frame's
// header, which is written over the old one. The reader lends while it handles a burst of frames and flushes all that it
// has lent to before it reads again, so that nobody holds a loan for longer.
//
// What can't be passed on like that, because the peer's windows or its socket are full, waits in chunks, which go out in
// the same way.
type loan struct {
	at  int // it goes out before out[at:]
	p   []byte
	own *chunk // which holds p; nil if it is in a reader's buffer
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
	appendFrameHeader(f[:0], len(p), frameData, endFlag(end), s.id)
	c.lender = b
	c.lent += len(f)
	if l := c.lastLoan(); l != nil && l.at == len(c.out) && l.own == nil && follows(l.p, f) {
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

// lendChunkLocked sends the body part that a chunk holds, which belongs to the connection from now on.
func (c *Conn) lendChunkLocked(s *Stream, k *chunk, end bool) {
	n := k.to - k.from
	k.from -= frameHeaderLen
	appendFrameHeader(k.b[k.from:k.from], n, frameData, endFlag(end), s.id)
	c.loans = append(c.loans, loan{at: len(c.out), p: k.bytes(), own: k})
	c.lent += frameHeaderLen + n
	c.sentDataLocked(s, n, end)
}

// gatherLocked turns the bytes taken from out and the loans between them into pieces to write. They belong to the
// writer.
func (c *Conn) gatherLocked(out []byte) *pieces {
	g, at := &c.going, 0
	for i := range c.loans {
		l := &c.loans[i]
		if l.at > at {
			g.add(out[at:l.at], nil)
			at = l.at
		}
		g.add(l.p, l.own)
	}
	if at < len(out) {
		g.add(out[at:], nil)
	}
	c.forgetLoansLocked()
	return g
}

func (c *Conn) forgetLoansLocked() {
	clear(c.loans)
	c.loans, c.lent, c.lender = c.loans[:0], 0, nil
}

// pieces are bytes to be written one after the other, some of them in chunks, which belong to them.
type pieces struct {
	list   [][]byte
	chunks []*chunk // of the pieces at the same places; nil for other memory
}

func (g *pieces) add(p []byte, k *chunk) {
	g.list = append(g.list, p)
	g.chunks = append(g.chunks, k)
}

// keep adds a copy of p.
func (g *pieces) keep(p []byte) {
	for len(p) > 0 {
		last := len(g.list) - 1
		if last < 0 || g.chunks[last] == nil || g.chunks[last].to == len(g.chunks[last].b) {
			k := takeChunk(len(p))
			g.add(k.bytes(), k)
			last++
		}
		n := g.chunks[last].fill(p)
		g.list[last] = g.list[last][:len(g.list[last])+n]
		p = p[n:]
	}
}

// moveRest moves what is left after n bytes to another list, with copies of what is in other memory than chunks.
func (g *pieces) moveRest(to *pieces, n int) {
	for i, p := range g.list {
		k := min(n, len(p))
		n -= k
		switch p = p[k:]; {
		case len(p) == 0:
		case g.chunks[i] == nil:
			to.keep(p)
		default:
			to.add(p, g.chunks[i])
			g.chunks[i] = nil
		}
	}
	g.drop()
}

// drop forgets the pieces and gives the chunks back.
func (g *pieces) drop() {
	for _, k := range g.chunks {
		if k != nil {
			k.give()
		}
	}
	clear(g.list)
	clear(g.chunks)
	g.list, g.chunks = g.list[:0], g.chunks[:0]
}

// advance drops n bytes from the front of v.
func advance(v [][]byte, n int) [][]byte {
	for len(v) > 0 && n >= len(v[0]) {
		n -= len(v[0])
		v = v[1:]
	}
	if n > 0 {
		v[0] = v[0][n:]
	}
	return v
}
