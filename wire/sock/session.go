package sock

import (
	"errors"
	"io"
	"os"
)

// Next is what a Session wants after a call.
type Next uint8

// The three.
const (
	// Wait: everything that could be done has been done; wait for more bytes. The session may keep an incomplete
	// head.
	Wait Next = iota
	// Detach: the session must read in the middle of a request. Serve is called again with n = 0 and CanRead true.
	// Allowed only while CanRead is false, and before any effect.
	Detach
	// Close: the connection is finished.
	Close
)

// Session handles what comes in on a connection. All calls are made by the goroutine that called Conn.Serve.
type Session interface {
	// Space returns memory to read into, which must not be empty. It is called when bytes are about to be read, never
	// while the connection idles, so it is the place to take a buffer from a pool.
	Space() []byte
	// Serve is called after n bytes were put at the beginning of what Space returned last; n is 0 after Detach.
	Serve(n int) Next
	// Park is called when the connection is about to wait. If the session holds no unread bytes it is the place to
	// give its buffer back.
	Park()
	// Wake is called when a wait has ended without bytes: ErrTimeout after the read deadline, ErrInterrupted after
	// Interrupt or Nudge. CanRead is true. It returns Wait, having set a new deadline if it wants one, or Close.
	Wake(cause error) Next
}

// Serve reads from the connection and hands the bytes to s until s returns Close, which gives nil, or until the
// connection ends or fails. io.EOF means that the peer has closed in order. Serve doesn't close the connection.
func (c *Conn) Serve(s Session) error {
	for {
		next, err := c.serveHeld(s)
		if err == nil && next == Wait {
			next, err = c.t.serve(s)
		}
		for err == nil && next == Detach {
			next = s.Serve(0)
		}
		if err != nil {
			if next, err = c.wake(s, err); err != nil {
				return err
			}
		}
		if next == Close {
			return nil
		}
	}
}

// wake tells the session about a wait that ended without bytes, and returns every other error.
func (c *Conn) wake(s Session, err error) (Next, error) {
	if c.waiting.nudged.Load() && errors.Is(err, os.ErrDeadlineExceeded) && !c.waiting.aborted.Load() {
		c.waiting.nudged.Store(false)
		c.setTimer(c.waiting.deadline)
		return s.Wake(ErrInterrupted), nil
	}
	switch err = c.lapsed(err); err {
	case nil:
		return Wait, nil
	case ErrTimeout, ErrInterrupted:
		return s.Wake(err), nil
	case io.EOF:
		return Close, err
	}
	return Close, c.fail("read", err)
}

// serveHeld serves what was put back by Unread, and what the layer holds already, for which no edge will come: its
// handshake may have read ahead, and so may a session that read by itself.
func (c *Conn) serveHeld(s Session) (Next, error) {
	for len(c.prefix) > 0 {
		n := copy(s.Space(), c.prefix)
		c.skipPrefix(n)
		if next := s.Serve(n); next != Wait {
			return next, nil
		}
	}
	if c.layer == nil {
		return Wait, nil
	}
	return c.serveOpened(s)
}

// serveOpened serves all that the layer can decrypt without more ciphertext.
func (c *Conn) serveOpened(s Session) (Next, error) {
	for {
		n, err := c.layer.Open(s.Space())
		if ferr := c.flushLayer(); ferr != nil {
			return Close, ferr
		}
		if n > 0 {
			c.rx.Add(int64(n))
			if next := s.Serve(n); next != Wait {
				return next, nil
			}
			continue
		}
		if err == ErrMore {
			return Wait, nil
		}
		if err != nil {
			return Close, err
		}
	}
}
