package hcm

import (
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// pump passes the rest of a request's body on while the response is being awaited or copied.
type pump struct {
	s        *stream
	up       exchange.Upstream
	done     chan struct{}
	stopped  atomic.Bool  // by join
	last     atomic.Int64 // when the last piece came, a sock.Instant
	ended    atomic.Bool  // the last piece has come
	complete atomic.Int64 // when the request was complete, a sock.Instant

	// what the goroutine leaves behind
	received int64
	end      sock.Instant
	whole    bool
}

func (s *stream) startPump(up exchange.Upstream) *pump {
	p := &pump{s: s, up: up, done: make(chan struct{})}
	s.pump = p
	go p.run()
	return p
}

func (p *pump) run() {
	defer close(p.done)
	defer p.s.m.engine.contain("request body")
	s := p.s
	for {
		s.down.Deadline(0)
		piece, err := s.down.Next(true, s.router.framed)
		if err != nil {
			if !p.stopped.Load() {
				// The client has failed in the middle of its request; nobody waits for an answer.
				s.gone.Store(true)
				p.up.Cancel()
			}
			return
		}
		p.received += int64(len(piece.Data))
		p.last.Store(int64(sock.Now()))
		// Before the server can have it, so that an answer to the whole request is never taken for an early one.
		p.ended.Store(piece.End)
		s.countIn(piece)
		s.keepPiece(piece) // the main goroutine looks at it only after join
		// Whoever reads will see why it can't be written. What was kept is whole even so, for another try.
		err = p.up.Write(piece, s.requestTrailers(piece))
		if piece.End {
			p.whole, p.end = true, sock.Now()
			p.complete.Store(int64(p.end))
		}
		if err != nil || piece.End {
			return
		}
	}
}

// join ends the pump, by force if the request isn't complete, and takes over what it counted.
func (p *pump) join() {
	select {
	case <-p.done:
	default:
		p.stopped.Store(true)
		p.s.down.Stop()
		p.up.Cancel()
		<-p.done
	}
	s := p.s
	s.pump = nil
	s.bodyIn += p.received
	s.router.whole = s.router.whole || p.whole
	if p.whole {
		s.rec.RequestReceived = p.end.Sub(s.start)
	} else {
		s.router.keeping = false // the rest can't be read any more
	}
}

// announceClose tells an HTTP/1 client, with the response's head, that the connection ends with this exchange, because
// the rest of its request isn't waited for. A response may begin before the request is complete and both go on; but
// nobody knows at this point, and a client that writes another request into an end that it wasn't told of has lost it.
//
// A client whose upgrade or tunnel is refused may have sent what belongs into it, which must not be read as a request.
func (s *stream) announceClose() {
	switch {
	case s.http1 == nil:
	case s.req.Upgrade || s.req.Method == http1.MethodConnect:
		s.http1.CloseAfter()
	case s.router.whole:
	case s.pump != nil && !s.pump.ended.Load(), s.pump == nil && !s.http1.Finish():
		s.http1.CloseAfter()
	}
}

// pumpedLately tells whether the client has sent something within the idle timeout, so that the exchange isn't idle.
func (s *stream) pumpedLately() bool {
	if s.pump == nil || s.router.deadline != 0 && sock.Now() >= s.router.deadline {
		return false
	}
	last := sock.Instant(s.pump.last.Load())
	return last != 0 && sock.Now().Sub(last) < max(s.router.idle, time.Millisecond)
}
