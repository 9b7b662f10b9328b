package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/identity"
)

// Source is how a caller proved who it is.
type Source string

// The sources of an identity.
const (
	// FromToken: a bearer token.
	FromToken Source = "token"
	// FromCertificate: the certificate of a mutual TLS connection.
	FromCertificate Source = "certificate"
	// FromLoopback: nothing; the connection comes from this machine in plain
	// text.
	FromLoopback Source = "loopback"
)

// Caller is who has called.
type Caller struct {
	// ID is zero for FromLoopback.
	ID     identity.ID
	Source Source
	// Node is the workload instance that a token is bound to; "" for any.
	Node string
	Addr net.Addr
}

// NodeClaim is what a discovery client says of itself.
type NodeClaim struct {
	Namespace      string
	ServiceAccount string
	// Workload is "name.namespace" of the node id.
	Workload string
}

// CheckNode compares what was proven with what is claimed. What the client
// leaves out is not held against it; what it says must agree.
func (c *Caller) CheckNode(n NodeClaim) error {
	if c.Source == FromLoopback {
		return nil
	}
	if n.Namespace != "" && n.Namespace != c.ID.Namespace {
		return status.Errorf(codes.PermissionDenied, "node claims namespace %q, but the %s proves %s", n.Namespace, c.Source, c.ID)
	}
	if _, ns, ok := strings.Cut(n.Workload, "."); ok && ns != c.ID.Namespace {
		return status.Errorf(codes.PermissionDenied, "node id claims namespace %q, but the %s proves %s", ns, c.Source, c.ID)
	}
	if n.ServiceAccount != "" && n.ServiceAccount != c.ID.ServiceAccount {
		return status.Errorf(codes.PermissionDenied, "node claims service account %q, but the %s proves %s", n.ServiceAccount, c.Source, c.ID)
	}
	if c.Node != "" && n.Workload != c.Node {
		return status.Errorf(codes.PermissionDenied, "the token is bound to workload %q, the node is %q", c.Node, n.Workload)
	}
	return nil
}

// Authenticator finds out who calls a gRPC method. Its errors are gRPC statuses
// with words for the caller.
type Authenticator struct {
	// Tokens verifies bearer tokens; nil accepts none.
	Tokens TokenVerifier
	// Bundle gives the roots for client certificates.
	Bundle func() *identity.Bundle
	// Now is the clock; time.Now.
	Now func() time.Time
}

// Authenticate reads certificate and token of the call. Where both are there
// they must prove the same identity. Plain text is accepted from this machine
// only.
func (a *Authenticator) Authenticate(ctx context.Context) (*Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "no peer")
	}
	tlsInfo, encrypted := p.AuthInfo.(credentials.TLSInfo)
	if !encrypted && !isLoopback(p.Addr) {
		return nil, status.Error(codes.Unauthenticated, "plain text is accepted from this machine only; use the TLS port")
	}
	byToken, err := a.fromToken(ctx, p.Addr)
	if err != nil {
		return nil, err
	}
	if chain := tlsInfo.State.PeerCertificates; len(chain) > 0 {
		byCertificate, err := a.fromCertificate(chain, p.Addr)
		switch {
		case err != nil:
			return nil, err
		case byToken != nil && byToken.ID != byCertificate.ID:
			return nil, status.Errorf(codes.Unauthenticated, "the token proves %s, the certificate %s", byToken.ID, byCertificate.ID)
		case byToken != nil:
			return byToken, nil
		}
		return byCertificate, nil
	}
	switch {
	case byToken != nil:
		return byToken, nil
	case !encrypted:
		return &Caller{Source: FromLoopback, Addr: p.Addr}, nil
	}
	return nil, status.Error(codes.Unauthenticated, "neither a client certificate nor a bearer token was presented")
}

func (a *Authenticator) fromToken(ctx context.Context, addr net.Addr) (*Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) == 0 {
		return nil, nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || len(values) > 1 || !strings.EqualFold(scheme, "bearer") {
		return nil, status.Error(codes.Unauthenticated, "authorization must be one bearer token")
	}
	if a.Tokens == nil {
		return nil, status.Error(codes.Unauthenticated, "tokens are not accepted here")
	}
	claims, err := a.Tokens.Verify(ctx, strings.TrimSpace(token))
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return &Caller{ID: claims.ID, Source: FromToken, Node: claims.Node, Addr: addr}, nil
}

func (a *Authenticator) fromCertificate(chain []*x509.Certificate, addr net.Addr) (*Caller, error) {
	now := time.Now
	if a.Now != nil {
		now = a.Now
	}
	if a.Bundle == nil {
		return nil, status.Error(codes.Unauthenticated, "client certificates are not accepted here")
	}
	id, err := a.Bundle().Verify(chain, now(), x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, fmt.Sprintf("client certificate: %v", err))
	}
	return &Caller{ID: id, Source: FromCertificate, Addr: addr}, nil
}

func isLoopback(addr net.Addr) bool {
	if addr == nil {
		return false
	}
	if addr.Network() == "unix" {
		return true
	}
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}
