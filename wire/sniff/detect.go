package sniff

import (
	"errors"
	"io"
	"sync"
	"time"

	"lateen.dev/lateen/wire/sock"
)

// Result is what Detect has found.
type Result struct {
	Kind  Kind
	Hello Hello
	// TimedOut says that the client had not said enough in time: perhaps it waits for the server to speak first.
	TimedOut bool
}

// pool holds memory to read into; what has been read is copied before it is put back into the connection.
var pool = sync.Pool{New: func() any { return &scratch{} }}

type scratch struct{ b [MaxBytes]byte }

// Detect reads until the protocol is clear, or timeout has passed, and puts what it has read back in front of c. A
// timeout of 0 waits for the client forever, as Istio's protocolDetectionTimeout of 0s does: a protocol in which the
// server speaks first then hangs, so its port must be declared. A client that says nothing in time, or closes early,
// is Raw; that is no error.
func Detect(c *sock.Conn, timeout time.Duration) (Result, error) {
	s := pool.Get().(*scratch)
	defer pool.Put(s)
	if timeout > 0 {
		c.SetReadDeadline(sock.Now().Add(timeout))
		defer c.SetReadDeadline(0)
	}
	var r Result
	n := 0
	for {
		m, err := c.Read(s.b[n:])
		n += m
		var decided bool
		r.Kind, decided = Classify(s.b[:n], &r.Hello)
		if err == nil && !decided && n < len(s.b) {
			continue
		}
		if n > 0 {
			c.Unread(append([]byte(nil), s.b[:n]...))
		}
		if errors.Is(err, sock.ErrTimeout) {
			r.TimedOut = true
			err = nil
		}
		if err == io.EOF && n > 0 {
			err = nil // the one who reads on will see it again
		}
		return r, err
	}
}
