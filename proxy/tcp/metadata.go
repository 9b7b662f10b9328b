package tcp

import (
	"errors"
	"time"

	"lateen.dev/lateen/proxy/peer"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/sock"
)

// exchange lets both ends tell each other who they are, where they have agreed to by ALPN. It returns when the bytes
// that follow are the connection's own.
func (s *session) exchange(link *upstream.Link) error {
	if link.TLS != nil && s.cluster.MetadataExchange != nil && link.TLS.ALPN == peer.Protocol {
		if err := s.askServer(link.Conn); err != nil {
			return err
		}
	}
	if s.accepted.Protocol() == peer.Protocol && exchanges(s.accepted.Chain) {
		return s.askClient(link.Conn)
	}
	return nil
}

// exchanges tells whether the chain has the metadata exchange filter.
func exchanges(c *plan.FilterChain) bool {
	for i := range c.Filters {
		if _, ok := c.Filters[i].Config.(*plan.MetadataExchange); ok {
			return true
		}
	}
	return false
}

// serverPatience is how long a server may take to tell who it is. It does so when it has seen who we are.
const serverPatience = 5 * time.Second

// askServer tells the server who we are and reads who it is.
func (s *session) askServer(c *sock.Conn) error {
	if _, err := c.Write(s.engine.Self.Preamble); err != nil {
		return err
	}
	c.SetReadDeadline(sock.Now().Add(serverPatience))
	defer c.SetReadDeadline(0)
	labels, err := readPreamble(c)
	switch {
	case errors.Is(err, sock.ErrTimeout), errors.Is(err, peer.ErrNoPreamble):
		return nil
	case err != nil:
		return err
	}
	s.told = labels
	return nil
}

// askClient tells the client who we are and reads who it is. The client says so with its first bytes, which may be
// long in coming if the server speaks first: what the server says meanwhile is passed on.
func (s *session) askClient(server *sock.Conn) error {
	client := s.accepted.Conn
	if _, err := client.Write(s.engine.Self.Preamble); err != nil {
		return err
	}
	type answer struct {
		labels telemetry.Peer
		err    error
	}
	got := make(chan answer, 1)
	go func() {
		labels, err := readPreamble(client)
		got <- answer{labels, err}
		server.Interrupt()
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			if _, err = client.Write(buf[:n]); err == nil {
				s.counters.BToA.Add(int64(n))
				continue
			}
		}
		if !errors.Is(err, sock.ErrInterrupted) {
			// One of the two has ended; the other goroutine must not wait for the client any more.
			client.Abort()
		}
		a := <-got
		if a.err == nil {
			s.told = a.labels
		}
		switch {
		case errors.Is(a.err, peer.ErrNoPreamble):
			return nil
		case a.err != nil:
			return a.err
		case !errors.Is(err, sock.ErrInterrupted):
			return err
		}
		return nil
	}
}

// maxPreamble bounds what is read for a preamble.
const maxPreamble = 64<<10 + 8

// readPreamble reads a preamble and puts back what follows it.
func readPreamble(c *sock.Conn) (telemetry.Peer, error) {
	b := make([]byte, 0, 2<<10)
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(2*cap(b), maxPreamble+1)), b...)
		}
		n, err := c.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if n == 0 {
			c.Unread(b)
			return telemetry.Peer{}, err
		}
		labels, n, err := peer.ParsePreamble(b)
		if n > 0 {
			b = b[n:]
		}
		if n > 0 || err != nil {
			if len(b) > 0 {
				c.Unread(b)
			}
			return labels, err
		}
	}
}
