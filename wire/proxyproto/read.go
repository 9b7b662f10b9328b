package proxyproto

import (
	"fmt"
	"time"

	"lateen.dev/lateen/wire/sock"
)

// Read takes the header off the beginning of a connection; what comes behind it stays. If the first bytes are no
// header they are put back and the error is ErrMissing, so the caller may go on without one where that is allowed. A
// timeout of 0 waits forever. The header's TLVs are the caller's.
func Read(c *sock.Conn, timeout time.Duration) (Header, error) {
	if timeout > 0 {
		c.SetReadDeadline(sock.Now().Add(timeout))
		defer c.SetReadDeadline(0)
	}
	b := make([]byte, 0, 256)
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, MaxSize+1), b...)
		}
		m, err := c.Read(b[len(b):cap(b)])
		if err != nil {
			return Header{}, fmt.Errorf("read PROXY protocol header: %w", err)
		}
		b = b[:len(b)+m]
		h, n, err := Parse(b)
		switch {
		case err != nil:
			c.Unread(b)
			return Header{}, err
		case n > 0:
			if n < len(b) {
				c.Unread(b[n:])
			}
			return h, nil
		}
	}
}
