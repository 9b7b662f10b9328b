package hcm

import "lateen.dev/lateen/proxy/exchange"

// messages counts the length-prefixed messages of a gRPC body as its pieces pass.
type messages struct {
	count  int64
	prefix [5]byte
	have   int   // bytes of the prefix that have come
	left   int64 // bytes of the message that are still to come
}

// feed looks at a piece. Framed pieces aren't counted: gRPC isn't spoken over HTTP/1.
func (m *messages) feed(p exchange.Piece) {
	if p.Framed {
		return
	}
	for b := p.Data; len(b) > 0; {
		if m.left > 0 {
			n := min(m.left, int64(len(b)))
			m.left -= n
			b = b[n:]
			continue
		}
		n := copy(m.prefix[m.have:], b)
		m.have += n
		b = b[n:]
		if m.have == len(m.prefix) {
			m.have = 0
			m.count++
			m.left = int64(m.prefix[1])<<24 | int64(m.prefix[2])<<16 | int64(m.prefix[3])<<8 | int64(m.prefix[4])
		}
	}
}

// countIn counts the request's messages, if the manager has the filter for it and the request is gRPC.
func (s *stream) countIn(p exchange.Piece) {
	if s.grpc && s.m.filter.grpc {
		s.messagesIn.feed(p)
	}
}

// countOut counts the response's messages.
func (s *stream) countOut(p exchange.Piece) {
	if s.grpc && s.m.filter.grpc {
		s.messagesOut.feed(p)
	}
}
