package listen

import (
	"errors"
	"net/netip"
	"time"

	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/proxyproto"
	"lateen.dev/lateen/wire/sniff"
	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/tlsconn"
)

// Reasons for which a connection gets no further.
var (
	ErrNoFilterChain = errors.New("no filter chain matches")
	errInspect       = errors.New("listener filters ended the connection")
)

// inspect runs the listener's filters, hands the connection over if its destination is another listener's, chooses
// the chain, and serves the connection.
func (s *Server) inspect(a *active, sk *Socket, acc *Accepted) {
	g := a.current.Load()
	if wantsOriginalDst(g.listener) || sk.OriginalDst != nil {
		s.restore(sk, acc)
	}
	if g.listener.UseOriginalDst && acc.Restored {
		other := s.index.Load().find(acc.Destination)
		if g.listener.Demand != nil && s.index.Load().exact[acc.Destination] == nil {
			other = s.demand(g.listener, acc.Destination)
		}
		if other != nil && other != a {
			a.stats.Handoffs.Add(1)
			a, g = other, other.current.Load()
		}
	}
	g = s.hold(a, g, acc)
	defer g.drain.Drop(acc)
	acc.Listener, acc.Drain, acc.Stats = g.listener, g.drain, a.stats
	acc.ready.Store(true)
	a.stats.CxTotal.Add(1)
	a.stats.CxActive.Add(1)
	defer func() {
		a.stats.CxActive.Add(-1)
		a.stats.CxDestroy.Add(1)
		a.stats.CxLengthMS.Add(time.Since(acc.Start).Milliseconds())
	}()
	// Chosen first and served then: a connection waits in Serve for most of its life, and what is below it on the stack
	// is memory that each idle connection holds.
	if s.choose(acc) {
		s.opts.Serve(acc)
	}
}

func wantsOriginalDst(l *plan.Listener) bool {
	if l.UseOriginalDst {
		return true
	}
	for i := range l.ListenerFilters {
		if l.ListenerFilters[i].Kind == plan.OriginalDst {
			return true
		}
	}
	return false
}

// restore finds the original destination. A connection that wasn't redirected keeps its own address.
func (s *Server) restore(sk *Socket, acc *Accepted) {
	find := sk.OriginalDst
	if find == nil {
		find = kernelOriginalDst
	}
	dst, err := find(acc.Conn.NetConn())
	if err != nil || !dst.IsValid() {
		return
	}
	acc.Destination = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	acc.Restored = true
}

// demand holds a connection to where nobody has connected before until the control plane has answered which listener it
// is for.
func (s *Server) demand(l *plan.Listener, dst netip.AddrPort) *active {
	if answer := l.Missing(dst, s.index.Load().port[dst.Port()] != nil); answer != nil {
		limit := time.NewTimer(plan.DemandTime)
		defer limit.Stop()
		select {
		case <-answer:
		case <-limit.C:
		case <-s.ctx.Done():
		}
	}
	return s.index.Load().find(dst)
}

func (ix *index) find(dst netip.AddrPort) *active {
	if a := ix.exact[dst]; a != nil {
		return a
	}
	return ix.port[dst.Port()]
}

// choose runs the filters that read bytes, finds the chain, and makes the handshake. It returns false if the listener's
// filters have ended the connection.
func (s *Server) choose(acc *Accepted) bool {
	l := acc.Listener
	kind, err := s.read(acc)
	if err != nil {
		return false
	}
	f := acc.facts()
	if kind == sniff.TLS {
		f.Transport = "tls"
	}
	acc.Chain = l.Chains.Find(&f)
	if acc.Chain == nil {
		acc.Stats.CxNoChain.Add(1)
		acc.Why = ErrNoFilterChain
	} else if acc.Chain.TLS != nil {
		if acc.Why = s.handshake(acc); acc.Why != nil {
			acc.Stats.CxTLSError.Add(1)
			if errors.Is(acc.Why, sock.ErrTimeout) {
				acc.Stats.CxTransportTimeout.Add(1)
			}
		}
	}
	return true
}

func (s *Server) handshake(acc *Accepted) error {
	server, ok := acc.Chain.TLS.Runtime.(*tlsconn.Server)
	if !ok {
		return errors.New("tls context of the filter chain is not ready")
	}
	r, err := server.HandshakeWithin(acc.Conn, s.opts.Overload.Reduced(overload.TransportConnect, server.Timeout()))
	if err != nil {
		return err
	}
	acc.TLS = &r
	if r.SNI != "" {
		acc.SNI = r.SNI
	}
	return nil
}

// read runs the filters that look at the first bytes.
func (s *Server) read(acc *Accepted) (sniff.Kind, error) {
	l := acc.Listener
	var tls, http bool
	for i := range l.ListenerFilters {
		f := &l.ListenerFilters[i]
		if f.Disabled.Has(acc.Destination.Port()) {
			continue
		}
		switch f.Kind {
		case plan.ProxyProtocol:
			if err := s.proxyHeader(acc, f); err != nil {
				return 0, err
			}
		case plan.TLSInspector:
			tls = true
		case plan.HTTPInspector:
			http = true
		}
	}
	if !tls && !http {
		return sniff.Raw, nil
	}
	r, err := sniff.Detect(acc.Conn, l.FilterTimeout)
	if err != nil {
		return 0, err
	}
	if r.TimedOut {
		acc.Stats.CxFilterTimeout.Add(1)
		if !l.ContinueOnTimeout {
			return 0, errInspect
		}
	}
	switch {
	case r.Kind == sniff.TLS && tls:
		acc.SNI, acc.ALPN = r.Hello.SNI, r.Hello.ALPN
		return sniff.TLS, nil
	case r.Kind == sniff.HTTP1 && http:
		acc.ALPN = alpnHTTP1
	case r.Kind == sniff.HTTP2 && http:
		acc.ALPN = alpnHTTP2
	}
	return sniff.Raw, nil
}

// What the HTTP inspector tells filter chain matches.
var (
	alpnHTTP1 = []string{"http/1.1"}
	alpnHTTP2 = []string{"h2c"}
)

func (s *Server) proxyHeader(acc *Accepted, f *plan.ListenerFilter) error {
	h, err := proxyproto.Read(acc.Conn, acc.Listener.FilterTimeout)
	switch {
	case errors.Is(err, proxyproto.ErrMissing) && f.AllowWithoutProxyProtocol:
		return nil
	case err != nil:
		return err
	case h.Local || !h.Source.IsValid():
		return nil
	}
	acc.Remote = h.Source
	acc.Destination, acc.Restored = h.Destination, true
	return nil
}
