package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/client"
	"lateen.dev/lateen/xds/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane is a control plane that wants every client to have the same.
type plane struct {
	mu       sync.Mutex
	state    *xds.State
	sessions map[*session]struct{}
}

type session struct {
	p       *plane
	changed chan struct{}
}

func newPlane() *plane {
	return &plane{state: xds.NewState(1, time.Time{}), sessions: map[*session]struct{}{}}
}

func (p *plane) Attach(_ context.Context, c server.Client) (server.Session, error) {
	if c.Node.Cluster == "refused" {
		return nil, errors.New("no such workload")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &session{p: p, changed: make(chan struct{}, 1)}
	p.sessions[s] = struct{}{}
	return s, nil
}

func (s *session) State() *xds.State {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.state
}

func (s *session) Changed() <-chan struct{} { return s.changed }

func (s *session) Close() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.sessions, s)
}

// set replaces the state. Each resource is TYPE/name=content.
func (p *plane) set(t *testing.T, resources ...string) uint64 {
	t.Helper()
	byType := map[string][]*xds.Resource{}
	for _, spec := range resources {
		short, rest, _ := strings.Cut(spec, "/")
		name, content, _ := strings.Cut(rest, "=")
		byType[urls[short]] = append(byType[urls[short]], resource(t, urls[short], name, content))
	}
	var sets []*xds.Set
	for url, list := range byType {
		sets = append(sets, xds.NewSet(url, list))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = xds.NewState(p.state.Revision+1, time.Now(), sets...)
	for s := range p.sessions {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	return p.state.Revision
}

var urls = map[string]string{"CDS": xds.ClusterType, "EDS": xds.EndpointType, "LDS": xds.ListenerType, "RDS": xds.RouteType, "VHDS": xds.VirtualHostType}

// resource has its name in field 1, as Envoy's types do, and its content after
// it.
func resource(t *testing.T, typeURL, name, content string) *xds.Resource {
	t.Helper()
	r, err := xds.NewResource(name, wrapperspb.String(name))
	if err != nil {
		t.Fatal(err)
	}
	body := append(slices.Clone(r.Body().GetValue()), 0x12, byte(len(content)))
	return xds.Assemble(name, typeURL, append(body, content...))
}

// harness is a server that can be stopped and started again on the same name.
type harness struct {
	t        *testing.T
	plane    *plane
	mu       sync.Mutex
	listener *bufconn.Listener
	xds      *server.Server
	grpc     *grpc.Server
	pushed   atomic.Int64
}

type counting struct {
	server.NoMetrics
	h *harness
}

func (c counting) Pushed(_ string, bytes int) { c.h.pushed.Add(int64(bytes)) }

func newHarness(t *testing.T) *harness {
	h := &harness{t: t, plane: newPlane()}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *harness) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listener = bufconn.Listen(1 << 20)
	h.xds = server.New(server.Config{Provider: h.plane, Metrics: counting{h: h}, Authenticate: func(context.Context, *xds.Node) (server.Peer, error) {
		return server.Peer{Source: "loopback"}, nil
	}})
	h.grpc = grpc.NewServer(server.Options()...)
	h.xds.Register(h.grpc)
	go func(l net.Listener, s *grpc.Server) {
		if err := s.Serve(l); err != nil {
			h.t.Errorf("serve: %v", err)
		}
	}(h.listener, h.grpc)
}

func (h *harness) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.xds.Close()
	h.grpc.Stop()
}

func (h *harness) dial(ctx context.Context, _ string) (net.Conn, error) {
	h.mu.Lock()
	l := h.listener
	h.mu.Unlock()
	return l.DialContext(ctx)
}

// proxy is a handler that keeps what it gets and refuses content "bad".
type proxy struct {
	mu      sync.Mutex
	have    map[string]string
	updates int
	follow  func(u xds.Update)
	changed chan struct{}
}

func (p *proxy) Update(_ context.Context, u xds.Update) (refusals []xds.Refusal) {
	p.mu.Lock()
	for _, r := range u.Added {
		content := string(r.Body().GetValue()[len(r.Name)+4:])
		if content == "bad" {
			refusals = append(refusals, xds.Refusal{Name: r.Name, Err: errors.New("content is bad")})
			continue
		}
		p.have[xds.ShortType(u.TypeURL)+"/"+r.Name] = content
	}
	for _, name := range u.Removed {
		delete(p.have, xds.ShortType(u.TypeURL)+"/"+name)
	}
	p.updates++
	follow := p.follow
	p.mu.Unlock()
	if follow != nil {
		follow(u)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return refusals
}

// expect waits until the proxy has exactly these.
func (p *proxy) expect(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	deadline := time.After(10 * time.Second)
	for {
		p.mu.Lock()
		var got []string
		for name, content := range p.have {
			got = append(got, name+"="+content)
		}
		p.mu.Unlock()
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-p.changed:
		case <-deadline:
			t.Fatalf("has %v, want %v", got, want)
		}
	}
}

// start runs a client that follows clusters with endpoints and listeners with
// routes.
func (h *harness) client(sotw bool) (*client.Client, *proxy) {
	p := &proxy{have: map[string]string{}, changed: make(chan struct{}, 1)}
	c := client.New(client.Config{
		Target:      "passthrough:///control-plane",
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(h.dial), grpc.WithTransportCredentials(insecure.NewCredentials())},
		Node:        &corev3.Node{Id: "sidecar~10.0.0.1~a.default~default.svc.cluster.local"},
		Wildcards:   []string{xds.ClusterType, xds.ListenerType},
		SotW:        sotw,
		Handler:     p,
		BackoffMin:  time.Millisecond, BackoffMax: 20 * time.Millisecond,
	})
	p.follow = func(u xds.Update) {
		next, ok := map[string]string{xds.ClusterType: xds.EndpointType, xds.ListenerType: xds.RouteType}[u.TypeURL]
		if !ok {
			return
		}
		for _, r := range u.Added {
			c.Subscribe(next, r.Name)
		}
		c.Unsubscribe(next, u.Removed...)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, name := range u.Removed {
			delete(p.have, xds.ShortType(next)+"/"+name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			h.t.Errorf("Run = %v", err)
		}
	})
	return c, p
}

func (h *harness) wait(revision uint64) server.WaitResult {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	result, err := h.xds.Ledger().WaitRevision(ctx, revision)
	if err != nil {
		h.t.Fatalf("revision %d: %v: %+v", revision, err, result)
	}
	return result
}

func bothProtocols(t *testing.T, f func(t *testing.T, sotw bool)) {
	for _, sotw := range []bool{false, true} {
		t.Run(fmt.Sprintf("sotw=%v", sotw), func(t *testing.T) { f(t, sotw) })
	}
}

func TestChangesArrive(t *testing.T) {
	bothProtocols(t, func(t *testing.T, sotw bool) {
		h := newHarness(t)
		h.plane.set(t, "CDS/a=1", "EDS/a=1", "LDS/l=1", "RDS/l=1", "EDS/unasked=1")
		_, p := h.client(sotw)
		p.expect(t, "CDS/a=1", "EDS/a=1", "LDS/l=1", "RDS/l=1")
		rev := h.plane.set(t, "CDS/a=2", "CDS/b=1", "EDS/a=1", "EDS/b=7", "LDS/l=1", "RDS/l=2")
		p.expect(t, "CDS/a=2", "CDS/b=1", "EDS/a=1", "EDS/b=7", "LDS/l=1", "RDS/l=2")
		if got := h.wait(rev); got.Acked != 1 || len(got.Refused) != 0 {
			t.Errorf("wait = %+v", got)
		}
		rev = h.plane.set(t, "CDS/b=1", "EDS/b=8", "LDS/l=1", "RDS/l=3")
		h.wait(rev)
		p.expect(t, "CDS/b=1", "EDS/b=8", "LDS/l=1", "RDS/l=3")
		for _, line := range h.xds.Ledger().Clients()[0].Types {
			if line.Status() != server.Synced || line.Acked != line.Wanted {
				t.Errorf("%s is %s: %+v", xds.ShortType(line.TypeURL), line.Status(), line)
			}
		}
	})
}

func TestRefusalNamesTheResourceAndKeepsTheRest(t *testing.T) {
	bothProtocols(t, func(t *testing.T, sotw bool) {
		h := newHarness(t)
		h.plane.set(t, "CDS/a=1", "CDS/b=1")
		c, p := h.client(sotw)
		p.expect(t, "CDS/a=1", "CDS/b=1")
		rev := h.plane.set(t, "CDS/a=2", "CDS/b=bad", "CDS/c=1")
		got := h.wait(rev)
		if len(got.Refused) != 1 || !slices.Equal(got.Refused[0].Nack.Names, []string{"b"}) || !strings.Contains(got.Refused[0].Nack.Reason, "content is bad") {
			t.Fatalf("wait = %+v", got)
		}
		p.expect(t, "CDS/a=2", "CDS/b=1", "CDS/c=1")
		if line := h.xds.Ledger().Clients()[0].Types[0]; line.Status() != server.Errored {
			t.Errorf("ledger says %+v", line)
		}
		if s := c.Status().Types[0]; len(s.Refusals) != 1 || s.Resources != 3 {
			t.Errorf("client says %+v", s)
		}
		rev = h.plane.set(t, "CDS/a=2", "CDS/b=3", "CDS/c=1")
		if got := h.wait(rev); len(got.Refused) != 0 {
			t.Errorf("still refused after mending: %+v", got.Refused)
		}
		p.expect(t, "CDS/a=2", "CDS/b=3", "CDS/c=1")
	})
}

func TestServerRestart(t *testing.T) {
	bothProtocols(t, func(t *testing.T, sotw bool) {
		h := newHarness(t)
		big := strings.Repeat("x", 100)
		h.plane.set(t, "CDS/a="+big, "CDS/b="+big, "EDS/a=1", "LDS/l=1", "RDS/l=1")
		c, p := h.client(sotw)
		p.expect(t, "CDS/a="+big, "CDS/b="+big, "EDS/a=1", "LDS/l=1", "RDS/l=1")
		h.stop()
		h.plane.set(t, "CDS/a="+big, "CDS/c=1", "EDS/a=2", "LDS/l=1", "RDS/l=1")
		p.expect(t, "CDS/a="+big, "CDS/b="+big, "EDS/a=1", "LDS/l=1", "RDS/l=1")
		h.pushed.Store(0)
		h.start()
		p.expect(t, "CDS/a="+big, "CDS/c=1", "EDS/a=2", "LDS/l=1", "RDS/l=1")
		if !sotw && h.pushed.Load() > 400 {
			t.Errorf("%d bytes sent for two small changes", h.pushed.Load())
		}
		if s := c.Status(); s.Connected.IsZero() || s.LastError == nil {
			t.Errorf("status %+v", s)
		}
	})
}

func TestSubscriptionsByName(t *testing.T) {
	bothProtocols(t, func(t *testing.T, sotw bool) {
		h := newHarness(t)
		h.plane.set(t, "EDS/a=1", "EDS/b=1")
		c, p := h.client(sotw)
		c.Subscribe(xds.EndpointType, "a", "later")
		p.expect(t, "EDS/a=1")
		c.Subscribe(xds.EndpointType, "b")
		p.expect(t, "EDS/a=1", "EDS/b=1")
		h.plane.set(t, "EDS/a=2", "EDS/b=2", "EDS/later=1")
		p.expect(t, "EDS/a=2", "EDS/b=2", "EDS/later=1")
		c.Unsubscribe(xds.EndpointType, "b")
		h.wait(h.plane.set(t, "EDS/a=3", "EDS/b=3", "EDS/later=1"))
		p.expect(t, "EDS/a=3", "EDS/b=2", "EDS/later=1")
		c.Subscribe(xds.EndpointType, "b")
		p.expect(t, "EDS/a=3", "EDS/b=3", "EDS/later=1")
	})
}

func TestProviderRefusesTheNode(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := client.New(client.Config{
		Target:      "passthrough:///control-plane",
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(h.dial), grpc.WithTransportCredentials(insecure.NewCredentials())},
		Node:        &corev3.Node{Id: "x", Cluster: "refused"},
		Wildcards:   []string{xds.ClusterType},
		Handler:     client.HandlerFunc(func(context.Context, xds.Update) []xds.Refusal { return nil }),
		BackoffMin:  time.Millisecond,
	})
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for err := c.Status().LastError; err == nil || !strings.Contains(err.Error(), "no such workload"); err = c.Status().LastError {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("last error is %v", err)
		}
	}
	cancel()
	<-done
}
