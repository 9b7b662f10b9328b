package sock

// TryWrite writes what the socket takes without waiting. It returns how many bytes of p it has taken charge of, and
// whether Write must be called to go on: with the rest of p, or with nothing when all of p was taken but some of it is
// still on its way through a layer.
func (c *Conn) TryWrite(p []byte) (n int, again bool, err error) {
	if c.layer != nil {
		n, again, err = c.tryWriteLayer(p)
	} else {
		n, err = c.t.tryWrite(p)
		again = n < len(p)
	}
	c.tx.Add(int64(n))
	if err != nil {
		return n, false, c.fail("write", err)
	}
	return n, again, nil
}

// Gathers says whether TryWriteVector is of use: on plain connections.
func (c *Conn) Gathers() bool { return c.layer == nil }

// TryWriteVector is TryWrite for several pieces, which go out one after the other in one system call. It is for plain
// connections; again means that not all was taken.
func (c *Conn) TryWriteVector(v [][]byte) (n int, again bool, err error) {
	n, err = c.t.tryWriteVector(v)
	c.tx.Add(int64(n))
	if err != nil {
		return n, false, c.fail("write", err)
	}
	all := 0
	for _, p := range v {
		all += len(p)
	}
	return n, n < all, nil
}

// tryWriteLayer is TryWrite with a layer. What was sealed must go out in its order, so a rest of it is kept.
func (c *Conn) tryWriteLayer(p []byte) (n int, again bool, err error) {
	buf := sealPool.Get().(*cipherBuf)
	defer sealPool.Put(buf)
	c.sealMu.Lock()
	defer c.sealMu.Unlock()
	for n < len(p) && len(c.sealed) == 0 {
		k := min(len(p)-n, sealSize)
		out, err := c.layer.Seal(buf.b[:0], p[n:n+k])
		if err != nil {
			return n, false, err
		}
		buf.b = out[:0]
		n += k
		sent, err := c.t.tryWrite(out)
		if err != nil {
			return n, false, err
		}
		c.sealed = append(c.sealed, out[sent:]...)
	}
	return n, n < len(p) || len(c.sealed) > 0, nil
}

// writeSealed writes what TryWrite has left. The caller holds sealMu.
func (c *Conn) writeSealed() error {
	if len(c.sealed) == 0 {
		return nil
	}
	p := c.sealed
	c.sealed = nil
	return c.t.write(p, nil)
}
