package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/net/netutil"
)

const (
	// udpSize is what we read and, by EDNS, offer to receive: the size that
	// passes every path unfragmented.
	udpSize = 1232
	// maxStreams bounds the open TCP connections, and maxForwards the
	// questions that wait for other resolvers; more are answered SERVFAIL.
	maxStreams  = 256
	maxForwards = 1024
	// forwardTimeout bounds a forwarded question as a whole.
	forwardTimeout = 5 * time.Second
)

// Metrics hears of what the proxy does. Its methods are called from many
// goroutines.
type Metrics interface {
	// Request: a question came in.
	Request()
	// Upstream: a question was passed on; err is nil when it was answered.
	Upstream(took time.Duration, err error)
}

// DialFunc opens a connection to another resolver; network is udp or tcp.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config is what a Server is made of.
type Config struct {
	Table     *Table    // nil knows no names
	Resolvers Resolvers // for all other names
	Dial      DialFunc  // nil dials from this process
	Metrics   Metrics   // may be nil
}

// Server is the DNS proxy.
type Server struct {
	table     atomic.Pointer[Table]
	resolvers atomic.Pointer[Resolvers]
	dial      DialFunc
	metrics   Metrics
	forwards  chan struct{} // a place for each question under way
}

// New makes a proxy. It starts nothing.
func New(c Config) *Server {
	s := &Server{dial: c.Dial, metrics: c.Metrics, forwards: make(chan struct{}, maxForwards)}
	if s.dial == nil {
		s.dial = new(net.Dialer).DialContext
	}
	if s.metrics == nil {
		s.metrics = noMetrics{}
	}
	s.SetTable(c.Table)
	s.SetResolvers(c.Resolvers)
	return s
}

// SetTable replaces the table.
func (s *Server) SetTable(t *Table) {
	if t == nil {
		t = NewTable(TableConfig{})
	}
	s.table.Store(t)
}

// SetResolvers replaces the resolvers that other names are asked of.
func (s *Server) SetResolvers(r Resolvers) { s.resolvers.Store(&r) }

// Table returns the table in use; for debug pages.
func (s *Server) Table() *Table { return s.table.Load() }

// Sockets are where questions come in. Serve closes them.
type Sockets struct {
	Packets []net.PacketConn
	Streams []net.Listener
}

// Serve answers until ctx ends, or a socket fails for good.
func (s *Server) Serve(ctx context.Context, sockets Sockets) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	handler := miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) { s.handle(ctx, w, q) })
	var servers []*miekg.Server
	for _, pc := range sockets.Packets {
		servers = append(servers, &miekg.Server{PacketConn: pc, Handler: handler, UDPSize: udpSize})
	}
	for _, l := range sockets.Streams {
		servers = append(servers, &miekg.Server{Listener: netutil.LimitListener(l, maxStreams), Handler: handler})
	}
	var wg sync.WaitGroup
	for _, srv := range servers {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() {
			// It returns early only when the socket is of no use any more.
			if err := srv.ActivateAndServe(); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("serve DNS: %w", err))
			}
		})
		select {
		case <-started: // only then does Shutdown work
		case <-ctx.Done():
		}
	}
	<-ctx.Done()
	for _, srv := range servers {
		// Not ShutdownContext: every handler ends with ctx.
		_ = srv.Shutdown()
	}
	closeAll(sockets)
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func closeAll(sockets Sockets) {
	for _, pc := range sockets.Packets {
		pc.Close()
	}
	for _, l := range sockets.Streams {
		l.Close()
	}
}

// handle answers one question.
func (s *Server) handle(ctx context.Context, w miekg.ResponseWriter, q *miekg.Msg) {
	s.metrics.Request()
	reply := s.answer(q)
	if reply == nil {
		reply = s.forward(ctx, q)
	}
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	fit(reply, q, udp)
	if err := w.WriteMsg(reply); err != nil {
		// A foreign answer that can't be written down again; or the client
		// has gone, and nothing helps.
		_ = w.WriteMsg(refusal(q, miekg.RcodeServerFailure))
	}
}

// fit makes an answer as small as the client can take.
func fit(reply, q *miekg.Msg, udp bool) {
	if !udp {
		reply.Truncate(miekg.MaxMsgSize)
		return
	}
	size := miekg.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
	}
	reply.Truncate(min(size, udpSize))
}

type noMetrics struct{}

func (noMetrics) Request()                      {}
func (noMetrics) Upstream(time.Duration, error) {}
