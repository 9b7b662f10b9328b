package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// callerKey is the context key of who has called.
type callerKey struct{}

// gate finds out who calls before anything that they send is read: who proves
// nothing costs no more than a connection.
func gate(a *ca.Authenticator) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		caller, err := a.Authenticate(s.Context())
		if err != nil {
			return err
		}
		return handler(srv, knownStream{s, context.WithValue(s.Context(), callerKey{}, caller)})
	}
}

// knownStream is a stream whose caller is in its context.
type knownStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s knownStream) Context() context.Context { return s.ctx }

// authenticate compares what gate found out with what the discovery client says
// of itself.
func authenticate(ctx context.Context, n *xds.Node) (server.Peer, error) {
	caller, ok := ctx.Value(callerKey{}).(*ca.Caller)
	if !ok {
		return server.Peer{}, status.Error(codes.Unauthenticated, "the stream has not been authenticated")
	}
	claim := ca.NodeClaim{Namespace: firstOf(n.Metadata.Namespace, n.WorkloadNamespace()),
		ServiceAccount: n.Metadata.ServiceAccount, Workload: n.Workload}
	if err := caller.CheckNode(claim); err != nil {
		return server.Peer{}, err
	}
	peer := server.Peer{Source: string(caller.Source), Addr: caller.Addr}
	if caller.Source != ca.FromLoopback {
		peer.ID = caller.ID.String()
	}
	return peer, nil
}

// grpcServers serves discovery and certificates, in plain text on loopback and
// over TLS.
type grpcServers struct {
	plain, tls *grpc.Server
}

// handshakeTimeout bounds how long a caller that has proven nothing yet may take to
// open a connection.
const handshakeTimeout = 10 * time.Second

func newGRPCServers(serving *ca.Serving, who *ca.Authenticator, xdsServer *server.Server, certificates *ca.Service) *grpcServers {
	options := append(server.Options(), grpc.ChainStreamInterceptor(gate(who)), grpc.ConnectionTimeout(handshakeTimeout))
	g := &grpcServers{
		plain: grpc.NewServer(options...),
		tls:   grpc.NewServer(append(options, grpc.Creds(credentials.NewTLS(serving.TLSConfig())))...),
	}
	for _, s := range []*grpc.Server{g.plain, g.tls} {
		xdsServer.Register(s)
		certificates.Register(s)
	}
	return g
}

// serveGRPC runs one of the servers until ctx ends.
func serveGRPC(ctx context.Context, s *grpc.Server, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("discovery on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopped := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(grpcGrace):
		s.Stop()
		<-stopped
	}
	if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("discovery on %s: %w", l.Addr(), err)
	}
	return nil
}

// grpcGrace is how long streams may take to end when asked to.
const grpcGrace = time.Second
