package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// authenticate joins the certificate authority's word on who calls to what the
// discovery client says of itself.
func authenticate(a *ca.Authenticator) server.Authenticate {
	return func(ctx context.Context, n *xds.Node) (server.Peer, error) {
		caller, err := a.Authenticate(ctx)
		if err != nil {
			return server.Peer{}, err
		}
		claim := ca.NodeClaim{Namespace: firstOf(n.Metadata.Namespace, n.WorkloadNamespace()),
			ServiceAccount: n.Metadata.ServiceAccount, Workload: n.Workload}
		if err := caller.CheckNode(claim); err != nil {
			return server.Peer{}, err
		}
		return server.Peer{ID: caller.ID.String(), Source: string(caller.Source), Addr: caller.Addr}, nil
	}
}

// grpcServers serves discovery and certificates, in plain text on loopback and
// over TLS.
type grpcServers struct {
	plain, tls *grpc.Server
}

func newGRPCServers(serving *ca.Serving, xdsServer *server.Server, certificates *ca.Service) *grpcServers {
	g := &grpcServers{
		plain: grpc.NewServer(server.Options()...),
		tls:   grpc.NewServer(append(server.Options(), grpc.Creds(credentials.NewTLS(serving.TLSConfig())))...),
	}
	for _, s := range []*grpc.Server{g.plain, g.tls} {
		xdsServer.Register(s)
		certificates.Register(s)
	}
	return g
}

// serve runs one of the servers until ctx ends.
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

// listenLoopback listens on 127.0.0.1, and names the flag when it can't.
func listenLoopback(port int, what, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; choose another port with %s", what, err, flag)
	}
	return l, nil
}
