package app

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/sds"
	"lateen.dev/lateen/xds/server"
)

// AgentOptions are the flags of `lateen proxy agent`.
type AgentOptions struct {
	Dir                       string
	Namespace, ServiceAccount string
	// Socket is where secrets are served; DIR/sds.sock if empty.
	Socket string
	// Away is set if the control plane is on another machine.
	Away AwayOptions
	Log  LogOptions
}

// RunAgent keeps an identity's certificate valid and serves it to the Envoy beside
// it, until ctx ends.
func RunAgent(ctx context.Context, o AgentOptions) error {
	scopes, err := o.Log.scopes(os.Stderr)
	if err != nil {
		return err
	}
	c, err := o.config(ctx)
	if err != nil {
		return err
	}
	c.Scopes = scopes
	holder, rotator, _, err := dataplane.Identity(&c)
	if err != nil {
		return err
	}
	if o.Socket == "" {
		o.Socket = filepath.Join(o.Dir, "sds.sock")
	}
	if other, err := net.Dial("unix", o.Socket); err == nil {
		other.Close()
		return fmt.Errorf("--socket %s: another agent serves secrets there", o.Socket)
	}
	l, err := listenSocket(o.Socket)
	if err != nil {
		return fmt.Errorf("--socket %s: %w", o.Socket, err)
	}
	s := newSecretServer(holder)
	g := newGroup(ctx)
	g.Go("identity", rotator.Run)
	g.Go("secrets", func(ctx context.Context) error { return serveSecrets(ctx, s, l) })
	g.Go("first certificate", func(ctx context.Context) error {
		if m, err := holder.Wait(ctx); err == nil { // otherwise it ends before there is one
			scopes.Logger("agent").Info("secrets are served", "socket", o.Socket, "identity", m.ID, "until", m.Leaf().NotAfter)
		}
		<-ctx.Done()
		return nil
	})
	return g.Wait(ctx)
}

// config says who the agent is and where its control plane is.
func (o *AgentOptions) config(ctx context.Context) (dataplane.Config, error) {
	c := dataplane.Config{Namespace: o.Namespace, ServiceAccount: firstOf(o.ServiceAccount, "default")}
	if o.Away.Control != "" {
		a, err := newAway(o.Away)
		if err != nil {
			return c, err
		}
		c.Discovery, c.Root, c.TrustDomain = o.Away.Control, a.root, o.Away.TrustDomain
		c.Token = func(context.Context) (string, error) { return a.token() }
		return c, nil
	}
	local := api.NewClient(filepath.Join(o.Dir, cli.SocketName))
	ask := func(ctx context.Context) (out cli.CredentialsResponse, err error) {
		request := cli.CredentialsRequest{Namespace: c.Namespace, ServiceAccount: c.ServiceAccount}
		if err := local.Call(ctx, http.MethodPost, cli.PathCredentials, request, &out); err != nil {
			return out, fmt.Errorf("token for %s/%s: %w", c.Namespace, c.ServiceAccount, err)
		}
		return out, nil
	}
	first, err := ask(ctx)
	if err != nil {
		return c, err
	}
	c.Discovery, c.Root, c.TrustDomain = first.Discovery, []byte(first.Root), first.TrustDomain
	c.Token = func(ctx context.Context) (string, error) {
		answer, err := ask(ctx)
		return answer.Token, err
	}
	return c, nil
}

// newSecretServer serves the holder's secrets to whoever reaches its socket, which
// is for one user alone.
func newSecretServer(h *identity.Holder) *server.Server {
	return server.New(server.Config{Provider: &secretProvider{holder: h}, Authenticate: func(context.Context, *xds.Node) (server.Peer, error) {
		return server.Peer{Source: "socket", Addr: &net.UnixAddr{Net: "unix"}}, nil
	}})
}

func serveSecrets(ctx context.Context, s *server.Server, l net.Listener) error {
	g := grpc.NewServer(server.Options()...)
	s.RegisterSecrets(g)
	s.Register(g) // for Envoys that ask by their aggregated stream
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		s.Close() // streams never end by themselves
	}()
	err := serveGRPC(ctx, g, l)
	if ctx.Err() != nil {
		<-done
	}
	return err
}

// secretProvider gives every client the same two secrets.
type secretProvider struct {
	holder *identity.Holder

	mu    sync.Mutex // guards what follows
	of    *identity.Material
	state *xds.State
}

// Attach implements server.Provider. It waits for the first certificate.
func (p *secretProvider) Attach(ctx context.Context, _ server.Client) (server.Session, error) {
	if _, err := p.holder.Wait(ctx); err != nil {
		return nil, err
	}
	changed, stop := p.holder.Watch()
	if _, err := p.newest(); err != nil {
		stop()
		return nil, err
	}
	return &secretSession{provider: p, changed: changed, stop: stop}, nil
}

// newest is the state of the current material. A material that can't be written
// leaves the state as it is.
func (p *secretProvider) newest() (*xds.State, error) {
	m := p.holder.Current()
	p.mu.Lock()
	defer p.mu.Unlock()
	if m == p.of {
		return p.state, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(m.Key)
	if err != nil {
		return p.state, fmt.Errorf("private key: %w", err)
	}
	set, err := sds.Set(sds.Material{Chain: identity.EncodeCertificates(m.Chain),
		Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), Roots: identity.EncodeCertificates(m.Bundle.All())})
	if err != nil {
		return p.state, err
	}
	revision := uint64(1)
	if p.state != nil {
		revision = p.state.Revision + 1
	}
	p.of, p.state = m, xds.NewState(revision, time.Now(), set)
	return p.state, nil
}

// secretSession is one Envoy's stream.
type secretSession struct {
	provider *secretProvider
	changed  <-chan struct{}
	stop     func()
}

// State implements server.Session.
func (s *secretSession) State() *xds.State {
	state, _ := s.provider.newest() // which keeps the one before if the newest can't be written
	return state
}

// Changed implements server.Session.
func (s *secretSession) Changed() <-chan struct{} { return s.changed }

// Close implements server.Session.
func (s *secretSession) Close() { s.stop() }

var (
	_ server.Provider = (*secretProvider)(nil)
	_ server.Session  = (*secretSession)(nil)
)
