package sock

import "time"

// netTransport moves bytes with net.Conn's methods. It works with every net.Conn.
type netTransport struct{ c *Conn }

func (t *netTransport) read(p []byte) (int, error) {
	t.c.arm()
	n, err := t.c.nc.Read(p)
	if n > 0 {
		return n, nil // an error comes again with the next read
	}
	return 0, err
}

func (t *netTransport) write(a, b []byte) error {
	t.c.startWriteTimer()
	_, err := t.c.nc.Write(a)
	if err == nil && len(b) > 0 {
		_, err = t.c.nc.Write(b)
	}
	return t.c.writeLapsed(err)
}

// tryWrite takes nothing: there is no way to write without waiting.
func (t *netTransport) tryWrite([]byte) (int, error) { return 0, nil }

func (t *netTransport) tryWriteVector([][]byte) (int, error) { return 0, nil }

func (t *netTransport) writeRead(w []byte, r Reply) (int, bool, error) {
	if err := t.write(w, nil); err != nil {
		return 0, true, err
	}
	r.Sent()
	n, err := t.read(r.Space())
	return n, true, err
}

// serve reads once, with the session's buffer held while it waits: there is no way to wait without one.
func (t *netTransport) serve(s Session) (Next, error) {
	c := t.c
	if c.layer != nil {
		n, err := t.read(c.cipherSpace())
		if err != nil {
			s.Park()
			return Wait, err
		}
		c.layer.Feed(c.cipher.b[:n])
		next, err := c.serveOpened(s)
		if next == Wait && err == nil {
			c.releaseCipher()
			s.Park()
		}
		return next, err
	}
	n, err := t.read(s.Space())
	if err != nil {
		s.Park()
		return Wait, err
	}
	c.rx.Add(int64(n))
	next := s.Serve(n)
	if next == Wait {
		s.Park()
	}
	return next, nil
}

func (t *netTransport) check() error { return nil }

func (t *netTransport) gone() bool { return false }

// shutdown is never needed where nothing is held.
func (t *netTransport) shutdown() error { return t.c.nc.Close() }

// farewellTime is how long farewell waits for room, where that can't be seen.
const farewellTime = 10 * time.Millisecond

// farewell implements transport.
func (t *netTransport) farewell(p []byte) {
	_ = t.c.nc.SetWriteDeadline(time.Now().Add(farewellTime))
	_, _ = t.c.nc.Write(p)
}
