package listen

import (
	"context"
	"time"

	"lateen.dev/lateen/lib/drain"
	"lateen.dev/lateen/proxy/plan"
)

// settleTime is how long a listener that stops goes on accepting those whose handshake was under way.
const settleTime = 100 * time.Millisecond

// class is a listener's place in stopped.
func class(l *plan.Listener) int {
	if l.Direction == plan.Inbound {
		return 0
	}
	return 1
}

// order is what asks the listener's connections to end.
func (s *Server) order(l *plan.Listener) *drain.Order {
	if class(l) == 0 {
		return &s.inbound
	}
	return &s.others
}

func (s *Server) generation(l *plan.Listener) *generation {
	return &generation{listener: l, drain: drain.NewUnder(s.order(l))}
}

// retire drains a generation: its connections end when they may, and are cut off when the drain time has passed.
func (s *Server) retire(g *generation) {
	g.drain.Begin()
	for _, h := range g.drain.Holders() {
		if acc, ok := h.(*Accepted); ok {
			acc.tell(false)
		}
	}
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.opts.DrainTime)
		defer cancel()
		if g.drain.Wait(ctx) != nil && s.ctx.Err() == nil {
			s.cutOff(g)
		}
	})
}

// cutOff closes the connections of a drained generation.
func (s *Server) cutOff(g *generation) {
	for _, h := range g.drain.Holders() {
		if acc, ok := h.(*Accepted); ok {
			_ = acc.Conn.Close() // whoever uses it finds out, which is what counts
		}
	}
}

// hold ties a connection to the configuration that is in force, or to that of a listener which has just been removed.
func (s *Server) hold(a *active, g *generation, acc *Accepted) *generation {
	for !g.drain.Hold(acc) {
		next := a.current.Load()
		if next != g {
			g = next
			continue
		}
		// The listener was removed, and drained, after this connection had been accepted: it is served all the same.
		g = s.generation(g.listener)
		g.drain.Hold(acc)
		s.retire(g)
		break
	}
	return g
}

// Drain asks connections to come to their end: responses say so, and HTTP/2 clients are told at once. New connections
// are still accepted, so that nobody is turned away before the word has spread. inboundOnly leaves out the listeners
// of other directions.
func (s *Server) Drain(inboundOnly bool) {
	s.inbound.Begin()
	if !inboundOnly {
		s.others.Begin()
	}
	s.tell(false)
}

// Undrain takes Drain back.
func (s *Server) Undrain() {
	s.inbound.Cancel()
	s.others.Cancel()
}

// Draining tells whether Drain was called, for any direction.
func (s *Server) Draining() bool { return s.inbound.Standing() || s.others.Standing() }

// Hurry has HTTP connections closed that wait for a request.
func (s *Server) Hurry() {
	s.inbound.Hurry()
	s.others.Hurry()
	s.tell(true)
}

// tell has connections look whether they are to end.
func (s *Server) tell(hurry bool) {
	for _, acc := range s.connections() {
		if acc.Drain.Draining() {
			acc.tell(hurry)
		}
	}
}

// connections are those that are being served.
func (s *Server) connections() []*Accepted {
	var list []*Accepted
	for i := range s.conns {
		c := &s.conns[i]
		c.mu.Lock()
		for acc := range c.open {
			if acc.ready.Load() {
				list = append(list, acc)
			}
		}
		c.mu.Unlock()
	}
	return list
}

// Stop has listeners accept what has connected, and then no more. Clients that come later are refused by the kernel.
// inboundOnly leaves out the listeners of other directions. It doesn't wait.
func (s *Server) Stop(inboundOnly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked(inboundOnly, stopSocket)
}

// Release gives up the listening sockets, which another process has too: it accepts what has connected.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked(false, (*active).release)
}

func (s *Server) stopLocked(inboundOnly bool, stop func(*active)) {
	s.stopped[0] = true
	s.stopped[1] = s.stopped[1] || !inboundOnly
	for name, r := range s.reserved {
		if s.stopped[class(r.current.Load().listener)] {
			s.unreserveLocked(name)
		}
	}
	for _, a := range s.active {
		if s.stopped[class(a.current.Load().listener)] && !a.stopping.Swap(true) {
			stop(a)
		}
	}
}

// stopSocket makes accept sweep up what has connected: the kernel takes no new connection, and the wait for those
// that are under way is bounded.
func stopSocket(a *active) {
	for i := range a.sockets {
		ln := a.sockets[i].Listener
		refuseNew(ln)
		d, ok := ln.(interface{ SetDeadline(time.Time) error })
		if !ok || d.SetDeadline(time.Now().Add(settleTime)) != nil {
			_ = ln.Close() // there is no other way to stop it
		}
	}
}

// release closes sockets that another process goes on with.
func (a *active) release() {
	a.closed.Store(true)
	for i := range a.sockets {
		ln := a.sockets[i].Listener
		if u, ok := ln.(interface{ SetUnlinkOnClose(bool) }); ok {
			u.SetUnlinkOnClose(false)
		}
		_ = ln.Close() // the socket itself lives on
	}
}

// Shutdown stops accepting, lets connections come to their end, and closes what is left when ctx ends. It returns
// when every goroutine has ended.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	s.Hurry()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.conwg.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.cancel()
	s.abandon()
	<-done
	s.wg.Wait()
	return err
}

// end takes no more plans, and stops accepting.
func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.holding {
		// The process before this one goes on with the sockets, which are to be left as they are.
		s.stopLocked(false, (*active).release)
		return
	}
	s.stopLocked(false, stopSocket)
}

// abandon closes all that is left.
func (s *Server) abandon() {
	s.mu.Lock()
	for _, a := range s.active {
		s.closeSockets(a)
	}
	s.mu.Unlock()
	for i := range s.conns {
		c := &s.conns[i]
		c.mu.Lock()
		for acc := range c.open {
			_ = acc.Conn.Close() // whoever uses it finds out, which is what counts
		}
		c.mu.Unlock()
	}
}
