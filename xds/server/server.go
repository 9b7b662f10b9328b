package server

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// Server serves the aggregated discovery service.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	cfg    Config
	ledger *Ledger
	// plane is the field of a response that tells the Identity.
	plane string
	// admitted holds a token for each new client that is being served its first
	// configuration. Waiting goroutines get tokens in the order of arrival.
	admitted chan struct{}
	last     atomic.Uint64
	// held is about how many bytes all clients' subscriptions take.
	held atomic.Int64
	// queued is how many bytes wait for clients to take them that no other client
	// has a share in.
	queued atomic.Int64
	// tails are not in use.
	tails sync.Pool

	closing context.Context
	close   context.CancelFunc

	mu      sync.Mutex // guards what follows
	streams int
	// of counts the streams of each proven identity.
	of     map[string]int
	closed bool
	// goroutines counts streams and what they started.
	goroutines sync.WaitGroup
}

// New makes a server that serves nobody yet.
func New(cfg Config) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Metrics == nil {
		cfg.Metrics = NoMetrics{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, ledger: newLedger(cfg.Metrics), admitted: make(chan struct{}, cfg.Limits.Admitted), of: map[string]int{}}
	s.plane = string(protowire.AppendString(protowire.AppendTag(nil, identifierField, protowire.BytesType), cfg.Identity))
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// A peer that is gone without a word is noticed within the sum of pingEvery and
// pingTimeout. One that is alive on a machine that is too busy for it may be slow
// to answer, and so is its kernel when the peer reads nothing: gRPC gives
// pingTimeout to TCP as the time that data may wait, too. So that is longer than
// any client may keep a small response waiting. Clients' pings that waited
// somewhere arrive closer to each other than they were sent.
const (
	pingEvery        = 30 * time.Second
	pingTimeout      = 40 * time.Second
	clientPingsEvery = 5 * time.Second
)

// Options are what the gRPC server that carries this one should be made with,
// besides its credentials.
func Options() []grpc.ServerOption {
	const (
		// A client that comes back names every resource it has: 100,000 names of
		// 100 bytes with their versions stay below this.
		maxRequestBytes = 16 << 20
		// Large configurations leave in few system calls. The buffers are shared:
		// a connection that rests has none.
		writeBuffer = 128 << 10
		// What may come unread from a client. The size is fixed: otherwise each
		// acknowledgement would be answered by a PING that measures the
		// connection, and that by the client's.
		streamWindow = 256 << 10
		connWindow   = 2 * streamWindow
	)
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(64),
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}),
		grpc.WriteBufferSize(writeBuffer),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: clientPingsEvery, PermitWithoutStream: true}),
	}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// Ledger tells who has what.
func (s *Server) Ledger() *Ledger { return s.ledger }

// Close ends all streams and waits until nothing of them is left.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	s.goroutines.Wait()
}

// StreamAggregatedResources serves a state-of-the-world client.
func (s *Server) StreamAggregatedResources(st discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serve(sotwTransport{st})
}

// DeltaAggregatedResources serves a delta client.
func (s *Server) DeltaAggregatedResources(st discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(deltaTransport{st})
}

func (s *Server) serve(t transport) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.cfg.Metrics.Connected(1)
	defer s.cfg.Metrics.Connected(-1)
	st := newStream(s, t)
	err := s.contain(st)
	s.cfg.Log.Debug("discovery stream ended", "client", st.name(), "reason", err)
	return err
}

// contain keeps a panic in what one client needs from taking the others down
// with it. The client will come back and try again.
func (s *Server) contain(st *stream) (err error) {
	defer st.contained(&err)
	return st.run()
}

func (s *Server) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return status.Error(codes.Unavailable, "the control plane is shutting down")
	case s.streams >= s.cfg.Limits.Streams:
		return status.Errorf(codes.ResourceExhausted, "%d streams are open already", s.streams)
	}
	s.streams++
	s.goroutines.Add(1)
	return nil
}

func (s *Server) leave() {
	s.mu.Lock()
	s.streams--
	s.mu.Unlock()
	s.goroutines.Done()
}

// identify counts a stream as one of the identity's, if there is room.
func (s *Server) identify(id string) error {
	if id == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[id] >= s.cfg.Limits.StreamsOfOne {
		return status.Errorf(codes.ResourceExhausted, "%s has %d streams already", id, s.of[id])
	}
	s.of[id]++
	return nil
}

// forget takes back identify.
func (s *Server) forget(id string) {
	if id == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[id]--; s.of[id] == 0 {
		delete(s.of, id)
	}
}

// admit waits for a new client's turn. release may be called more than once.
func (s *Server) admit(ctx context.Context) (release func(), err error) {
	select {
	case s.admitted <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for admission: %w", ctx.Err())
	case <-s.closing.Done():
		return nil, status.Error(codes.Unavailable, "the control plane is shutting down")
	}
	return sync.OnceFunc(func() { <-s.admitted }), nil
}
