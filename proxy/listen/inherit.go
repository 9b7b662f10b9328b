package listen

import (
	"fmt"
	"net"
	"syscall"

	"lateen.dev/lateen/proxy/plan"
)

// Keyed is a listening socket that another process may go on with.
type Keyed struct {
	Key      string
	Listener net.Listener
}

// keyOf is the same in both processes: a socket is known by its address, and one whose port the kernel chose by its
// listener, too.
func keyOf(l *plan.Listener, a *plan.Address) string {
	switch {
	case a.Path != "":
		return "unix " + a.Path
	case a.IP.Port() == 0:
		return "tcp " + a.IP.String() + " " + l.Name
	}
	return "tcp " + a.IP.String()
}

// Sockets are those that the listeners in force accept from, but for those that were given.
func (s *Server) Sockets() []Keyed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Keyed
	for _, a := range s.active {
		l := a.current.Load().listener
		if a.given || s.stopped[class(l)] {
			continue
		}
		for i := range a.sockets {
			list = append(list, Keyed{keyOf(l, &l.Addresses[i]), a.sockets[i].Listener})
		}
	}
	return list
}

// Begin lets listeners accept that Options.Hold kept from it.
func (s *Server) Begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = false
	for _, a := range s.held {
		if !a.closed.Load() {
			s.startLocked(a)
		}
	}
	s.held = nil
}

// bind opens an address of a listener, or takes it over from the process before.
func (s *Server) bind(l *plan.Listener, a *plan.Address) (net.Listener, error) {
	if s.opts.Inherit != nil {
		if ln := s.opts.Inherit(keyOf(l, a)); ln != nil {
			return adopt(l, ln)
		}
	}
	return open(s.ctx, l, a)
}

// adopt gives an inherited socket the options that the listener has now.
func adopt(l *plan.Listener, ln net.Listener) (net.Listener, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return ln, nil
	}
	rc, err := sc.SyscallConn()
	if err == nil {
		err = control(l, rc)
	}
	if err != nil {
		_ = ln.Close() // nothing was accepted from it
		return nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(true)
	}
	return ln, nil
}
