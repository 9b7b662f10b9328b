package app

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// ports are the discovery ports of a control plane on real sockets.
type ports struct {
	authority  *ca.Authority
	tokens     *ca.Tokens
	discovery  *discovery
	server     *server.Server
	plain, tls string
	// away is the plain port as it looks to callers of another machine.
	away string
}

func openPorts(t *testing.T, inspect server.Inspect) *ports {
	t.Helper()
	dir := t.TempDir()
	authority, err := ca.Open(dir, ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := ca.OpenTokens(dir, authority.TrustDomain(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &ports{authority: authority, tokens: tokens}
	p.discovery = newDiscovery(world.New(world.Options{}), absent{}, func(e *translationError) { t.Error(e) })
	p.server = server.New(server.Config{Provider: p.discovery, Authenticate: authenticate, Inspect: inspect})
	who := &ca.Authenticator{Tokens: tokens, Bundle: authority.Bundle}
	g := newGRPCServers(authority.Serving(ca.DefaultServingHosts()), who, p.server,
		ca.NewService(ca.ServiceConfig{Authority: authority, Authenticator: who, Log: slog.New(slog.DiscardHandler)}))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 3)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	plain, secure, away := listen(), listen(), listen()
	p.plain, p.tls, p.away = plain.Addr().String(), secure.Addr().String(), away.Addr().String()
	go func() { served <- serveGRPC(ctx, g.plain, plain) }()
	go func() { served <- serveGRPC(ctx, g.tls, secure) }()
	go func() { served <- serveGRPC(ctx, g.plain, foreign{away}) }()
	t.Cleanup(func() {
		p.server.Close()
		cancel()
		for range cap(served) {
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// foreign makes connections look as if they came from another machine.
type foreign struct{ net.Listener }

type foreignConn struct{ net.Conn }

func (l foreign) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return foreignConn{c}, err
}

func (foreignConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234}
}

// certificate is one of the authority for an identity.
func certificate(t *testing.T, a *ca.Authority, id identity.ID) *tls.Certificate {
	t.Helper()
	return material(t, a, id).TLS
}

func (p *ports) token(t *testing.T, r ca.TokenRequest) string {
	t.Helper()
	raw, _, err := p.tokens.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + raw
}

// caller is one attempt to get discovery.
type caller struct {
	port        string
	certificate *tls.Certificate
	token       string
	node        *corev3.Node
}

// ask sends one request and returns the first response.
func (p *ports) ask(t *testing.T, c caller, typeURL string, names ...string) (*discoveryv3.DiscoveryResponse, error) {
	t.Helper()
	creds := insecure.NewCredentials()
	if c.port == p.tls {
		config := &tls.Config{RootCAs: p.authority.Bundle().Pool("cluster.local"), ServerName: "istiod.istio-system.svc", MinVersion: tls.VersionTLS13}
		if c.certificate != nil {
			config.Certificates = []tls.Certificate{*c.certificate}
		}
		creds = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.port, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", c.token)
	}
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Send(&discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: typeURL, ResourceNames: names}); err != nil && err != io.EOF {
		return nil, err
	}
	return s.Recv()
}

func nodeOf(workload, namespace, account string) *corev3.Node {
	fields := map[string]any{}
	if namespace != "" {
		fields["NAMESPACE"] = namespace
	}
	if account != "" {
		fields["SERVICE_ACCOUNT"] = account
	}
	meta, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err) // the values are strings
	}
	return &corev3.Node{Id: "sidecar~10.0.0.1~" + workload + "~default.svc.cluster.local", Metadata: meta}
}

// Each stream proves who it is, and what its node says must agree with that.
// The refusals say what is wrong.
func TestStreamsAreAuthenticated(t *testing.T) {
	p := openPorts(t, nil)
	reviews := identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "reviews"}
	mine := certificate(t, p.authority, reviews)
	stranger, err := ca.Open(t.TempDir(), ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	forged := certificate(t, stranger, reviews)
	good := nodeOf("reviews-v1.default", "default", "reviews")
	token := p.token(t, ca.TokenRequest{Namespace: "default", ServiceAccount: "reviews"})
	bound := p.token(t, ca.TokenRequest{Namespace: "default", ServiceAccount: "reviews", Node: "reviews-v1.default"})
	other := p.token(t, ca.TokenRequest{Namespace: "default", ServiceAccount: "ratings"})
	for name, c := range map[string]struct {
		caller
		want codes.Code
		says string
	}{
		"certificate":               {caller{p.tls, mine, "", good}, codes.OK, ""},
		"token":                     {caller{p.tls, nil, token, good}, codes.OK, ""},
		"token bound to the node":   {caller{p.tls, nil, bound, good}, codes.OK, ""},
		"both":                      {caller{p.tls, mine, token, good}, codes.OK, ""},
		"plain text from here":      {caller{p.plain, nil, "", good}, codes.OK, ""},
		"plain text from elsewhere": {caller{p.away, nil, "", good}, codes.Unauthenticated, "from this machine only"},
		"and with a token":          {caller{p.away, nil, token, good}, codes.Unauthenticated, "from this machine only"},
		"no proof":                  {caller{p.tls, nil, "", good}, codes.Unauthenticated, "neither a client certificate nor a bearer token"},
		"another mesh's":            {caller{p.tls, forged, "", good}, codes.Unauthenticated, "client certificate"},
		"broken token":              {caller{p.tls, nil, "Bearer x.y.z", good}, codes.Unauthenticated, ""},
		"no bearer token":           {caller{p.tls, nil, "Basic eDp5", good}, codes.Unauthenticated, "one bearer token"},
		"proofs that disagree":      {caller{p.tls, mine, other, good}, codes.Unauthenticated, "the token proves"},
		"another namespace":         {caller{p.tls, mine, "", nodeOf("reviews-v1.default", "prod", "")}, codes.PermissionDenied, `claims namespace "prod"`},
		"another namespace by id":   {caller{p.tls, mine, "", nodeOf("reviews-v1.prod", "", "")}, codes.PermissionDenied, `claims namespace "prod"`},
		"another account":           {caller{p.tls, nil, token, nodeOf("reviews-v1.default", "default", "ratings")}, codes.PermissionDenied, `service account "ratings"`},
		"another node's token":      {caller{p.tls, nil, bound, nodeOf("reviews-v2.default", "default", "reviews")}, codes.PermissionDenied, "bound to workload"},
		"no node":                   {caller{p.tls, mine, "", nil}, codes.InvalidArgument, "no id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.ask(t, c.caller, xds.ClusterType)
			// A forged certificate may be refused in the handshake already.
			if got := status.Code(err); got != c.want && !(c.certificate == forged && got == codes.Unavailable) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) && c.certificate != forged {
				t.Errorf("%v does not say %q", err, c.says)
			}
		})
	}
}
