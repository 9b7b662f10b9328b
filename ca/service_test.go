package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	securityv1 "istio.io/api/security/v1alpha1"

	"lateen.dev/lateen/identity"
)

// plane is the control plane's :15012 with the certificate service on it.
type plane struct {
	authority *Authority
	tokens    *Tokens
	address   string

	mu       sync.Mutex
	outcomes map[Outcome]int
}

func newPlane(t *testing.T) *plane {
	dir := t.TempDir()
	p := &plane{authority: open(t, dir, Options{}), tokens: must[*Tokens](t)(OpenTokens(dir, "cluster.local", nil)), outcomes: map[Outcome]int{}}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(p.authority.Serving(DefaultServingHosts()).TLSConfig())))
	NewService(ServiceConfig{
		Authority:     p.authority,
		Authenticator: &Authenticator{Tokens: p.tokens, Bundle: p.authority.Bundle},
		Count: func(o Outcome) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.outcomes[o]++
		},
	}).Register(g)
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	p.address = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *plane) token(context.Context) (string, error) {
	raw, _, err := p.tokens.Issue(TokenRequest{Namespace: "default", ServiceAccount: "reviews"})
	return raw, err
}

func (p *plane) client(h *identity.Holder, token identity.TokenSource) *identity.Client {
	return identity.NewClient(identity.ClientConfig{
		Target:     p.address,
		Roots:      p.authority.Bundle().Pool("cluster.local"),
		ServerName: "istiod.istio-system.svc",
		Holder:     h,
		Token:      token,
	})
}

func (p *plane) count(o Outcome) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outcomes[o]
}

// TestRenewalOverTheWire lets a workload's certificate of three seconds be
// renewed over gRPC, first by token and then by the certificate in force, while
// a connection made with the first one goes on.
func TestRenewalOverTheWire(t *testing.T) {
	p := newPlane(t)
	h := identity.NewHolder()
	var tokens int
	r := identity.NewRotator(identity.RotatorConfig{
		ID: reviews, Holder: h, TTL: 3 * time.Second,
		Signer: p.client(h, func(ctx context.Context) (string, error) { tokens++; return p.token(ctx) }),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	first := must[*identity.Material](t)(h.Wait(t.Context()))
	echo := dialEcho(t, h)
	changed, stop := h.Watch()
	defer stop()
	for range 2 {
		before := h.Current()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("not renewed")
		}
		if m := h.Current(); !m.ValidAt(time.Now()) || m == before || m.ID != reviews {
			t.Errorf("renewed to %+v", m)
		}
		if !before.ValidAt(time.Now()) {
			t.Error("the old certificate ran out before the new one came")
		}
		echo()
	}
	if h.Current().Leaf().Equal(first.Leaf()) {
		t.Error("still the first certificate")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if tokens != 1 {
		t.Errorf("%d tokens used; renewals have the certificate", tokens)
	}
}

// dialEcho opens a mutual TLS connection with the holder's certificate on both
// sides, and returns a function that checks that it still carries bytes.
func dialEcho(t *testing.T, h *identity.Holder) func() {
	t.Helper()
	verify := func(cs tls.ConnectionState) error {
		_, err := h.VerifyPeer(cs.PeerCertificates, x509.ExtKeyUsageAny)
		return err
	}
	l := must[net.Listener](t)(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetCertificate: h.GetCertificate, ClientAuth: tls.RequireAnyClientCert, VerifyConnection: verify,
	}))
	var server sync.WaitGroup
	server.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer c.Close()
		if _, err := io.Copy(c, c); err != nil {
			t.Errorf("echo: %v", err)
		}
	})
	// The peer is verified by its SPIFFE id in VerifyConnection, not by a name.
	c := must[*tls.Conn](t)(tls.Dial("tcp", l.Addr().String(), &tls.Config{
		GetClientCertificate: h.GetClientCertificate, InsecureSkipVerify: true, VerifyConnection: verify,
	}))
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		server.Wait()
	})
	return func() {
		t.Helper()
		buf := make([]byte, 4)
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "ping" {
			t.Errorf("%q, %v", buf, err)
		}
	}
}

func TestWhoGetsACertificate(t *testing.T) {
	p := newPlane(t)
	_, csr, err := identity.NewRequest(reviews)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(c *identity.Client, csr []byte) error {
		_, err := c.Sign(t.Context(), csr, time.Hour)
		return err
	}
	if err := sign(p.client(nil, p.token), csr); err != nil {
		t.Errorf("with a token: %v", err)
	}
	refused := func(name string, err error, want codes.Code, words string) {
		t.Helper()
		if status.Code(err) != want || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %v with %q", name, err, want, words)
		}
	}
	literal := func(s string) identity.TokenSource {
		return func(context.Context) (string, error) { return s, nil }
	}
	refused("bad token", sign(p.client(nil, literal("nonsense")), csr), codes.Unauthenticated, "token")
	refused("bad request", sign(p.client(nil, p.token), []byte("hello")), codes.InvalidArgument, "PEM")
	if err := sign(p.client(nil, nil), csr); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("with nothing: %v", err)
	}

	// A certificate of another authority, with and without a token beside it.
	h := identity.NewHolder()
	h.Set(material(t, open(t, t.TempDir(), Options{}), reviews))
	refused("foreign certificate", sign(p.client(h, nil), csr), codes.Unauthenticated, "certificate")
	if err := sign(p.client(h, p.token), csr); err != nil {
		t.Errorf("a token does not make up for an old certificate: %v", err)
	}

	// A server that is not the control plane.
	c := identity.NewClient(identity.ClientConfig{Target: p.address, Roots: x509.NewCertPool(), ServerName: "localhost", Token: p.token})
	refused("unknown server", sign(c, csr), codes.Unavailable, "certificate")
	if p.count(OutcomeIssued) != 2 || p.count(OutcomeMalformed) != 1 || p.count(OutcomeUnauthenticated) != 3 {
		t.Errorf("counted %v", p.outcomes)
	}
}

func TestServiceRefusesWhatItDoesNotDo(t *testing.T) {
	p := newPlane(t)
	_, csr, err := identity.NewRequest(reviews)
	if err != nil {
		t.Fatal(err)
	}
	conn := must[*grpc.ClientConn](t)(grpc.NewClient(p.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: p.authority.Bundle().Pool("cluster.local"), ServerName: "localhost",
	})), grpc.WithPerRPCCredentials(identity.PerRPC(p.token))))
	defer conn.Close()
	client := securityv1.NewIstioCertificateServiceClient(conn)
	for key, want := range map[string]codes.Code{impersonatedKey: codes.PermissionDenied, certSignerKey: codes.InvalidArgument, "ClusterID": codes.OK} {
		md := must[*structpb.Struct](t)(structpb.NewStruct(map[string]any{key: "somebody"}))
		_, err := client.CreateCertificate(t.Context(), &securityv1.IstioCertificateRequest{Csr: string(csr), Metadata: md, ValidityDuration: 1 << 62})
		if status.Code(err) != want {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func material(t *testing.T, a *Authority, id identity.ID) *identity.Material {
	t.Helper()
	key, csr, err := identity.NewRequest(id)
	if err != nil {
		t.Fatal(err)
	}
	issued := must[*Issued](t)(a.SignRequest(csr, id, time.Hour))
	return must[*identity.Material](t)(identity.NewMaterial(key, issued.Chain, a.Bundle()))
}

func TestAuthenticator(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{})
	tokens := must[*Tokens](t)(OpenTokens(dir, "cluster.local", nil))
	auth := &Authenticator{Tokens: tokens, Bundle: a.Bundle}
	token := func(account string) string {
		raw, _, err := tokens.Issue(TokenRequest{Namespace: "default", ServiceAccount: account})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + raw
	}
	chain := material(t, a, reviews).Chain
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	mapped := &net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1"), Port: 1}
	away := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
	encrypted := func(chain ...*x509.Certificate) credentials.AuthInfo {
		return credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: chain}}
	}
	for name, c := range map[string]struct {
		addr  net.Addr
		auth  credentials.AuthInfo
		token string
		want  Source
	}{
		"plain from here":             {addr: loopback, want: FromLoopback},
		"plain from here, v6":         {addr: mapped, want: FromLoopback},
		"plain from the local socket": {addr: &net.UnixAddr{Net: "unix"}, want: FromLoopback},
		"plain from elsewhere":        {addr: away},
		"plain with token, elsewhere": {addr: away, token: token("reviews")},
		"plain with token, here":      {addr: loopback, token: token("reviews"), want: FromToken},
		"token":                       {addr: away, auth: encrypted(), token: token("reviews"), want: FromToken},
		"certificate":                 {addr: away, auth: encrypted(chain...), want: FromCertificate},
		"both agree":                  {addr: away, auth: encrypted(chain...), token: token("reviews"), want: FromToken},
		"both disagree":               {addr: away, auth: encrypted(chain...), token: token("ratings")},
		"good certificate, bad token": {addr: away, auth: encrypted(chain...), token: "Bearer x"},
		"no proof":                    {addr: away, auth: encrypted()},
		"another scheme":              {addr: away, auth: encrypted(), token: "Basic eDp5"},
		"plain with bad token, here":  {addr: loopback, token: "Bearer x"},
	} {
		ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: c.addr, AuthInfo: c.auth})
		if c.token != "" {
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", c.token))
		}
		got, err := auth.Authenticate(ctx)
		switch {
		case c.want == "" && status.Code(err) != codes.Unauthenticated:
			t.Errorf("%s: %+v, %v", name, got, err)
		case c.want != "" && (err != nil || got.Source != c.want || got.ID.IsZero() != (c.want == FromLoopback)):
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestNodeMustAgreeWithTheProof(t *testing.T) {
	c := &Caller{ID: reviews, Source: FromToken}
	bound := &Caller{ID: reviews, Source: FromToken, Node: "reviews-v1.default"}
	for name, test := range map[string]struct {
		caller *Caller
		node   NodeClaim
		ok     bool
	}{
		"all agrees":           {c, NodeClaim{Namespace: "default", ServiceAccount: "reviews", Workload: "reviews-v1.default"}, true},
		"says nothing":         {c, NodeClaim{}, true},
		"other namespace":      {c, NodeClaim{Namespace: "prod"}, false},
		"other namespace, id":  {c, NodeClaim{Workload: "reviews-v1.prod"}, false},
		"other account":        {c, NodeClaim{Namespace: "default", ServiceAccount: "ratings"}, false},
		"bound":                {bound, NodeClaim{Workload: "reviews-v1.default"}, true},
		"bound to another":     {bound, NodeClaim{Workload: "reviews-v2.default"}, false},
		"nothing known of him": {&Caller{Source: FromLoopback}, NodeClaim{Namespace: "x", ServiceAccount: "y"}, true},
	} {
		if err := test.caller.CheckNode(test.node); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
