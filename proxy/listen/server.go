package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lateen.dev/lateen/lib/drain"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/sock"
)

// Options of a Server.
type Options struct {
	// Sockets are given for listeners by name; these bind nothing themselves. They are closed with the server.
	Sockets map[string][]Socket
	// Serve serves a connection to its end. It need not close it.
	Serve func(*Accepted)
	// Shards is the number of worker shards.
	Shards int
	// MaxConnections limits open connections of all listeners together; 0 is no limit.
	MaxConnections int64
	// DrainTime is how long connections of a changed or removed listener may go on; 45 s by default.
	DrainTime time.Duration
	// Overload says when connections are to wait or are refused; nil never does.
	Overload *overload.State
	// Inherit returns a listening socket that a process before this one had by that key (see Keyed), or nil. May be nil.
	Inherit func(key string) net.Listener
	// Hold keeps listeners from accepting until Begin.
	Hold   bool
	Logger *slog.Logger
}

// defaultDrainTime is Istio's.
const defaultDrainTime = 45 * time.Second

// Server is all listeners of a proxy.
type Server struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc
	conwg  sync.WaitGroup // accepting and serving
	wg     sync.WaitGroup // draining
	nextID atomic.Uint64
	open   atomic.Int64
	// index finds listeners by address for use_original_dst.
	index atomic.Pointer[index]
	conns []connShard
	// orders ask connections to end: those of inbound listeners, and all others.
	inbound, others drain.Order

	mu     sync.Mutex // guards what follows
	active map[string]*active
	// stopped says that listeners accept no more: inbound ones, and all others.
	stopped [2]bool
	// held are those that are to accept from Begin on; nil afterwards.
	held    []*active
	holding bool
	// reserved are listeners whose sockets are open and that are not in force yet.
	reserved map[string]*active
	ended    bool
}

type connShard struct {
	mu   sync.Mutex
	open map[*Accepted]struct{}
	_    [40]byte
}

// active is a listener that accepts, or that takes over connections from one that does.
type active struct {
	name    string
	sockets []Socket
	given   bool // the sockets are the caller's
	current atomic.Pointer[generation]
	stats   *Stats
	closed  atomic.Bool
	// stopping says that what has connected is still to be accepted, and then no more.
	stopping atomic.Bool
}

// generation is one version of a listener's configuration.
type generation struct {
	listener *plan.Listener
	drain    *drain.Drain
}

// index is who gets a connection by its original destination.
type index struct {
	exact map[netip.AddrPort]*active
	port  map[uint16]*active // wildcard addresses
}

// New returns a server without listeners.
func New(o Options) *Server {
	o.Shards = max(1, o.Shards)
	if o.DrainTime <= 0 {
		o.DrainTime = defaultDrainTime
	}
	s := &Server{opts: o, holding: o.Hold, active: map[string]*active{}, reserved: map[string]*active{}, conns: make([]connShard, o.Shards)}
	for i := range s.conns {
		s.conns[i].open = map[*Accepted]struct{}{}
	}
	s.index.Store(&index{})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Activate opens, changes and drains listeners so that those of next are in force. A listener that can't be opened is
// rejected, and stays as it was.
func (s *Server) Activate(next *plan.Plan) []plan.Rejection {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	var rejected []plan.Rejection
	keep := map[string]bool{}
	for _, l := range next.Listeners {
		keep[l.Name] = true
		if err := s.applyLocked(l); err != nil {
			rejected = append(rejected, plan.Rejection{Kind: plan.KindListener, Name: l.Name, Reason: err.Error()})
		}
	}
	for name, a := range s.active {
		if !keep[name] {
			delete(s.active, name)
			s.closeSockets(a)
			s.retire(a.current.Load())
		}
	}
	s.reindexLocked()
	return rejected
}

func (s *Server) applyLocked(l *plan.Listener) error {
	a := s.active[l.Name]
	if a != nil {
		old := a.current.Load()
		if old.listener == l {
			return nil
		}
		if a.given || sameBinding(old.listener, l) {
			a.current.Store(s.generation(l))
			s.retire(old)
			return nil
		}
		// Another address: the new socket is opened before the old one is closed.
		fresh, err := s.newActive(l, a.stats)
		if err != nil {
			return err
		}
		s.active[l.Name] = fresh
		s.closeSockets(a)
		s.retire(old)
		s.startLocked(fresh)
		return nil
	}
	a, err := s.newActive(l, &Stats{})
	if err != nil {
		return err
	}
	s.active[l.Name] = a
	s.startLocked(a)
	return nil
}

// Reserve opens the sockets of a listener that is not in force yet, so that one that can't be opened is known when it
// arrives and not only when all that it waits for is there. Clients that connect meanwhile wait in the backlog.
func (s *Server) Reserve(l *plan.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.active[l.Name]; s.ended || (a != nil && (a.given || sameBinding(a.current.Load().listener, l))) {
		return nil
	}
	if r := s.reserved[l.Name]; r != nil {
		if sameBinding(r.current.Load().listener, l) {
			return nil
		}
		s.unreserveLocked(l.Name)
	}
	a, err := s.newActive(l, &Stats{})
	if err != nil {
		return err
	}
	s.reserved[l.Name] = a
	return nil
}

// Unreserve closes what Reserve opened for a listener that did not come into force.
func (s *Server) Unreserve(listener string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreserveLocked(listener)
}

func (s *Server) unreserveLocked(listener string) {
	if r := s.reserved[listener]; r != nil {
		delete(s.reserved, listener)
		switch {
		case s.holding && s.ended:
			r.release()
		case !r.given:
			s.closeSockets(r)
		}
	}
}

// takeReservedLocked returns the sockets that were opened for a listener, or nil.
func (s *Server) takeReservedLocked(l *plan.Listener) []Socket {
	r := s.reserved[l.Name]
	if r == nil || r.given || !sameBinding(r.current.Load().listener, l) {
		s.unreserveLocked(l.Name)
		return nil
	}
	delete(s.reserved, l.Name)
	return r.sockets
}

func sameBinding(a, b *plan.Listener) bool {
	return a.BindToPort == b.BindToPort && a.Transparent == b.Transparent && a.Freebind == b.Freebind &&
		slices.Equal(a.Addresses, b.Addresses)
}

func (s *Server) newActive(l *plan.Listener, stats *Stats) (*active, error) {
	a := &active{name: l.Name, stats: stats}
	a.current.Store(s.generation(l))
	if given, ok := s.opts.Sockets[l.Name]; ok {
		a.sockets, a.given = slices.Clone(given), true
		return a, nil
	}
	if !l.BindToPort || s.stopped[class(l)] {
		return a, nil
	}
	if a.sockets = s.takeReservedLocked(l); a.sockets != nil {
		return a, nil
	}
	for i := range l.Addresses {
		ln, err := s.bind(l, &l.Addresses[i])
		if err != nil {
			s.closeSockets(a)
			return nil, err
		}
		a.sockets = append(a.sockets, Socket{Listener: ln})
	}
	return a, nil
}

func (s *Server) startLocked(a *active) {
	if s.holding {
		s.held = append(s.held, a)
		return
	}
	for i := range a.sockets {
		sk := &a.sockets[i]
		s.quicken(a, sk)
		s.conwg.Go(func() { s.accept(a, sk) })
	}
}

func (s *Server) closeSockets(a *active) {
	a.closed.Store(true)
	for i := range a.sockets {
		// Nothing is lost with a listening socket; an error has no consequence.
		_ = a.sockets[i].Listener.Close()
	}
}

func (s *Server) reindexLocked() {
	ix := &index{exact: map[netip.AddrPort]*active{}, port: map[uint16]*active{}}
	for _, a := range s.active {
		l := a.current.Load().listener
		for i := range l.Addresses {
			ap := l.Addresses[i].IP
			switch {
			case !ap.IsValid():
			case ap.Addr().IsUnspecified():
				ix.port[ap.Port()] = a
			default:
				ix.exact[netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())] = a
			}
		}
	}
	s.index.Store(ix)
}

// overloadPause is how often a listener that accepts nothing looks whether it may again.
const overloadPause = 50 * time.Millisecond

// accept accepts from one socket until it is closed.
func (s *Server) accept(a *active, sk *Socket) {
	wait := time.Duration(0)
	for {
		for s.opts.Overload.StopAccepting() && !a.stopping.Load() && !a.closed.Load() {
			if !s.pause(overloadPause) {
				return
			}
		}
		nc, err := sk.Listener.Accept()
		if err != nil {
			if a.closed.Load() || errors.Is(err, net.ErrClosed) {
				return
			}
			if a.stopping.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
				_ = sk.Listener.Close() // everybody who has connected is being served
				return
			}
			// Out of descriptors or memory: existing connections go on, and new ones wait in the backlog.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.opts.Logger.Warn("accept", "listener", a.name, "error", err, "again_in", wait,
				"descriptors", errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE))
			if !s.pause(wait) {
				return
			}
			continue
		}
		wait = 0
		s.take(a, sk, nc)
	}
}

func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// take starts serving an accepted connection, unless limits forbid it.
func (s *Server) take(a *active, sk *Socket, nc net.Conn) {
	g := a.current.Load()
	if refused := s.refuses(g, a, nc); refused != nil {
		refused.Add(1)
		_ = nc.Close() // the client sees the close, which is all that it is told
		return
	}
	s.open.Add(1)
	id := s.nextID.Add(1)
	acc := &Accepted{Conn: sock.New(nc), ID: id, Shard: uint32(id % uint64(s.opts.Shards)), Start: time.Now()}
	acc.Local, acc.Direct = addrPorts(nc)
	acc.Remote, acc.Destination = acc.Direct, acc.Local
	s.conwg.Go(func() { s.serve(a, sk, acc) })
}

// refuses returns the statistic of the limit that forbids a connection, or nil.
func (s *Server) refuses(g *generation, a *active, nc net.Conn) *atomic.Int64 {
	limit := g.listener.MaxConnections
	switch {
	case s.opts.Overload.RejectConnections(),
		s.opts.Overload.NearDescriptors(s.open.Load()) && s.opts.Overload.TooManyDescriptors(descriptorOf(nc)):
		return &a.stats.CxOverloadReject
	case s.opts.MaxConnections > 0 && s.open.Load() >= s.opts.MaxConnections:
		return &a.stats.CxGlobalOverflow
	case limit > 0 && uint64(a.stats.CxActive.Load()) >= limit:
		return &a.stats.CxOverflow
	}
	return nil
}

// stackRoom is what serving a request needs of the stack.
const stackRoom = 5 << 10

// growStack has the stack grow by the room that it asks for, which it does by its size alone: nothing is written there unless
// touch says so. While there is next to nothing on the stack that costs less than in the middle of the first request.
//
//go:noinline
func growStack(touch int) byte {
	if touch == 0 {
		return 0
	}
	var room [stackRoom]byte
	room[touch] = 1
	return room[len(room)-touch]
}

// serve serves a connection to its end.
func (s *Server) serve(a *active, sk *Socket, acc *Accepted) {
	growStack(0)
	shard := &s.conns[acc.Shard]
	shard.mu.Lock()
	shard.open[acc] = struct{}{}
	shard.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			s.opts.Logger.Error("panic while serving a connection", "listener", a.name, "panic", p, "stack", string(debug.Stack()))
		}
		// The connection has been served; an error in closing it has no consequence.
		_ = acc.Conn.Close()
		shard.mu.Lock()
		delete(shard.open, acc)
		shard.mu.Unlock()
		s.open.Add(-1)
	}()
	s.inspect(a, sk, acc)
}

// Open is the number of open connections.
func (s *Server) Open() int64 { return s.open.Load() }

// Accepted is the number of connections that have been accepted.
func (s *Server) Accepted() uint64 { return s.nextID.Load() }

// DrainTime is how long connections of a changed listener may go on.
func (s *Server) DrainTime() time.Duration { return s.opts.DrainTime }

// Stats calls f with the statistics of every listener.
func (s *Server) Stats(f func(listener string, stats *Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, a := range s.active {
		f(name, a.stats)
	}
}

// Bound returns the addresses that a listener accepts on, such as the port that was chosen for port 0.
func (s *Server) Bound(listener string) []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []net.Addr
	if a := s.active[listener]; a != nil {
		for i := range a.sockets {
			out = append(out, a.sockets[i].Listener.Addr())
		}
	}
	return out
}
