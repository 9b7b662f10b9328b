package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a transport under the test's control.
type wire struct {
	ctx  context.Context
	in   chan *message
	out  chan *machine.Frame
	done context.CancelFunc
	err  chan error
}

func (w *wire) Context() context.Context { return w.ctx }
func (w *wire) delta() bool              { return true }

func (w *wire) prompt() bool { return false }

func (w *wire) receive(m *message) error {
	select {
	case asked, ok := <-w.in:
		if !ok {
			return io.EOF
		}
		*m = *asked
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *wire) send(f *machine.Frame, end *tail) error {
	select {
	case w.out <- f:
		end.Put(nil)
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// open starts a stream; as with gRPC, its context ends when serving ends.
func open(ctx context.Context, s *Server) *wire {
	ctx, cancel := context.WithCancel(ctx)
	w := &wire{ctx: ctx, done: cancel, in: make(chan *message), out: make(chan *machine.Frame), err: make(chan error, 1)}
	go func() {
		err := s.serve(w)
		cancel()
		w.err <- err
	}()
	return w
}

func (w *wire) ask(node, typeURL, nonce string, names ...string) {
	m := &message{Request: machine.Request{TypeURL: typeURL, Nonce: nonce, Subscribe: names}}
	if node != "" {
		m.node = &corev3.Node{Id: node}
	}
	w.in <- m
}

func (w *wire) refuse(typeURL, nonce, reason string) {
	w.in <- &message{Request: machine.Request{TypeURL: typeURL, Nonce: nonce, Refused: true, Reason: reason}}
}

type fakeProvider struct {
	mu       sync.Mutex
	state    *xds.State
	upto     uint64 // of state, if that is later than its own revision
	was      *xds.State
	wasUpto  uint64
	sessions []*fakeSession
	attached []string
	closed   int
	demanded []string
}

type fakeSession struct {
	p       *fakeProvider
	changed chan struct{}
}

func (p *fakeProvider) Attach(_ context.Context, c Client) (Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Node.ID == "panic" {
		panic("translation went wrong")
	}
	s := &fakeSession{p: p, changed: make(chan struct{}, 1)}
	p.sessions = append(p.sessions, s)
	p.attached = append(p.attached, c.Node.ID)
	return s, nil
}

func (p *fakeProvider) set(revision uint64, version string) {
	r := xds.Received("a", xds.ClusterType, version, &anypb.Any{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.was, p.wasUpto = p.state, p.upto
	p.state = xds.NewState(revision, time.Now(), xds.NewSet(xds.ClusterType, []*xds.Resource{r}))
	for _, s := range p.sessions {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

func (s *fakeSession) State() *xds.State {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.state
}

// last says that the state is right up to a later revision.
func (p *fakeProvider) last(revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upto = revision
}

// Upto implements Lasting.
func (s *fakeSession) Upto(state *xds.State) uint64 {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	switch state {
	case s.p.state:
		return max(s.p.upto, state.Revision)
	case s.p.was:
		return max(s.p.wasUpto, state.Revision)
	}
	return state.Revision
}

func (s *fakeSession) Changed() <-chan struct{} { return s.changed }

func (s *fakeSession) Close() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.closed++
}

func (s *fakeSession) Demand(typeURL string, names []string) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for _, n := range names {
		s.p.demanded = append(s.p.demanded, xds.ShortType(typeURL)+"/"+n)
	}
}

type fakeMetrics struct {
	NoMetrics
	mu        sync.Mutex
	converged []time.Duration
	connected int
}

func (m *fakeMetrics) Converged(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.converged = append(m.converged, d)
}

func (m *fakeMetrics) Connected(delta int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connected += delta
}

func newFake(limits Limits) (*Server, *fakeProvider, *fakeMetrics) {
	p, m := &fakeProvider{}, &fakeMetrics{}
	p.set(1, "1")
	s := New(Config{Provider: p, Limits: limits, Metrics: m, Authenticate: func(context.Context, *xds.Node) (Peer, error) {
		return Peer{Source: "loopback", Addr: &net.UnixAddr{}}, nil
	}})
	return s, p, m
}

func TestSlowClientGetsTheNewestStateOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, m := newFake(Limits{})
		w := open(t.Context(), s)
		w.ask("n", xds.ClusterType, "")
		w.ask("", xds.ClusterType, (<-w.out).Nonce)
		synctest.Wait()
		p.set(2, "2")
		first := <-w.out
		for v := range 50 {
			p.set(uint64(v+3), fmt.Sprint(v+3))
			synctest.Wait()
		}
		time.Sleep(time.Second)
		w.ask("", xds.ClusterType, first.Nonce)
		second := <-w.out
		if got := second.Resources[0].Version; got != "52" {
			t.Errorf("second response has version %s", got)
		}
		time.Sleep(2 * time.Second)
		w.ask("", xds.ClusterType, second.Nonce)
		synctest.Wait()
		if c := s.Ledger().Clients(); len(c) != 1 || c[0].Revision != 52 || c[0].Types[0].Status() != Synced {
			t.Errorf("ledger: %+v", c)
		}
		if !slices.Equal(m.converged, []time.Duration{3 * time.Second}) {
			t.Errorf("converged %v", m.converged)
		}
		s.Close()
		if err := <-w.err; status.Code(err) != codes.Unavailable {
			t.Errorf("stream ended with %v", err)
		}
		if p.closed != 1 || m.connected != 0 || s.Ledger().Connected() != 0 {
			t.Errorf("left over: closed %d, connected %d, in the ledger %d", p.closed, m.connected, s.Ledger().Connected())
		}
	})
}

func TestClientThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newFake(Limits{SendTimeout: time.Second})
		start := time.Now()
		w := open(t.Context(), s)
		w.ask("n", xds.ClusterType, "")
		if err := <-w.err; status.Code(err) != codes.DeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(start))
		}
		s.Close()
	})
}

func TestClientThatSaysNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, _ := newFake(Limits{HelloTimeout: time.Second})
		w := open(t.Context(), s)
		if err := <-w.err; status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("ended with %v", err)
		}
		w = open(t.Context(), s)
		w.ask("", xds.ClusterType, "")
		if err := <-w.err; status.Code(err) != codes.InvalidArgument {
			t.Errorf("without a node it ended with %v", err)
		}
		if len(p.attached) != 0 {
			t.Errorf("attached %v", p.attached)
		}
		s.Close()
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, _ := newFake(Limits{Streams: 1, Names: 2})
		w := open(t.Context(), s)
		w.ask("n", xds.EndpointType, "", "x", "y")
		<-w.out
		if err := <-open(t.Context(), s).err; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("second stream: %v", err)
		}
		synctest.Wait()
		if !slices.Equal(p.demanded, []string{"EDS/x", "EDS/y"}) {
			t.Errorf("demanded %v", p.demanded)
		}
		w.ask("", xds.EndpointType, "", "z")
		if err := <-w.err; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("third name: %v", err)
		}
		s.Close()
		if err := <-open(t.Context(), s).err; status.Code(err) != codes.Unavailable {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A new client waits until one before it has its configuration, has used up its
// time, or has left; clients that are served already go on.
func TestAdmissionInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, _ := newFake(Limits{Admitted: 1, AdmittedFor: time.Minute})
		var clients []*wire
		for i := range 4 {
			w := open(t.Context(), s)
			w.ask(fmt.Sprint(i), xds.ClusterType, "")
			synctest.Wait()
			clients = append(clients, w)
		}
		expect := func(names ...string) {
			t.Helper()
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.Equal(p.attached, names) {
				t.Fatalf("attached %v, want %v", p.attached, names)
			}
		}
		expect("0")
		f := <-clients[0].out
		clients[0].ask("", xds.ClusterType, f.Nonce)
		expect("0", "1")
		p.set(2, "2")
		if f := <-clients[0].out; f.Resources[0].Version != "2" {
			t.Errorf("a served client got %v", f)
		}
		clients[1].done()
		expect("0", "1", "2")
		<-clients[2].out
		time.Sleep(time.Minute)
		expect("0", "1", "2", "3")
		for _, w := range clients {
			w.done()
			<-w.err
		}
		s.Close()
	})
}

func TestWaitRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, _ := newFake(Limits{})
		a, b := open(t.Context(), s), open(t.Context(), s)
		for i, w := range []*wire{a, b} {
			w.ask(fmt.Sprint(i), xds.ClusterType, "")
			f := <-w.out
			w.ask("", xds.ClusterType, f.Nonce)
		}
		synctest.Wait()
		p.set(2, "2")
		fa := <-a.out
		<-b.out
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a.ask("", xds.ClusterType, fa.Nonce)
		result, err := s.Ledger().WaitRevision(ctx, 2)
		if err == nil || result.Acked != 1 || len(result.Pending) != 1 || result.Pending[0].Node.ID != "1" || result.Pending[0].Types[0].Status() != Stale {
			t.Errorf("%+v, %v", result, err)
		}
		// A client that leaves is waited for no longer.
		time.AfterFunc(time.Minute, b.done)
		result, err = s.Ledger().WaitRevision(t.Context(), 2)
		if err != nil || result.Acked != 1 || len(result.Pending) != 0 {
			t.Errorf("%+v, %v", result, err)
		}
		a.done()
		<-a.err
		<-b.err
		s.Close()
	})
}

func TestPanicHurtsOneClientOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, m := newFake(Limits{Admitted: 1})
		w := open(t.Context(), s)
		w.ask("panic", xds.ClusterType, "")
		if err := <-w.err; status.Code(err) != codes.Internal {
			t.Errorf("ended with %v", err)
		}
		w = open(t.Context(), s)
		w.ask("n", xds.ClusterType, "")
		<-w.out
		s.Close()
		<-w.err
		if m.connected != 0 {
			t.Errorf("%d still connected", m.connected)
		}
	})
}
