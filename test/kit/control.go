package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// cluster is Istio's name of the only cluster there is.
const cluster = "Kubernetes"

// sourceName names the kit's objects among a World's sources.
const sourceName = "kit"

// Control is a control plane in memory: objects go in, discovery and certificates come out. It is safe for concurrent
// use.
type Control struct {
	Authority *ca.Authority
	World     *world.World

	discovery *discovery
	server    *server.Server
	grpc      *grpc.Server
	// pipe carries discovery to proxies of this process.
	pipe *bufconn.Listener

	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex // guards what follows
	objects  map[config.Key]*config.Object
	revision uint64
}

// NewControl starts a control plane that knows no objects. It ends with the test.
func NewControl(t testing.TB) *Control {
	t.Helper()
	authority, err := ca.Open(t.TempDir(), ca.Options{})
	if err != nil {
		t.Fatalf("certificate authority: %v", err)
	}
	tokens, err := ca.OpenTokens(t.TempDir(), authority.TrustDomain(), nil)
	if err != nil {
		t.Fatalf("tokens: %v", err)
	}
	w := world.New(world.Options{Cluster: cluster, Sources: []string{sourceName}})
	c := &Control{Authority: authority, World: w, discovery: newDiscovery(w, authority), pipe: bufconn.Listen(1 << 20),
		objects: map[config.Key]*config.Object{}}
	who := &ca.Authenticator{Tokens: tokens, Bundle: authority.Bundle}
	c.server = server.New(server.Config{Provider: c.discovery, Authenticate: trusting, Log: slog.New(slog.DiscardHandler)})
	c.grpc = grpc.NewServer(server.Options()...)
	c.server.Register(c.grpc)
	ca.NewService(ca.ServiceConfig{Authority: authority, Authenticator: who}).Register(c.grpc)
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(func() { c.discovery.run(ctx) })
	c.Serve(c.pipe)
	t.Cleanup(c.close)
	return c
}

// trusting believes what nodes say: who may connect is the business of other tests, and here every listener is either in
// memory or on the loopback device of a host's own namespace.
func trusting(_ context.Context, n *xds.Node) (server.Peer, error) {
	return server.Peer{ID: n.ID, Source: string(ca.FromLoopback)}, nil
}

// Serve answers on another listener, until the control plane is closed.
func (c *Control) Serve(l net.Listener) {
	c.wg.Go(func() {
		// It ends when the server is stopped; there is nobody to tell of anything else.
		_ = c.grpc.Serve(l)
	})
}

// Dial opens a connection to the control plane without a network.
func (c *Control) Dial(ctx context.Context) (net.Conn, error) { return c.pipe.DialContext(ctx) }

func (c *Control) close() {
	c.cancel()
	c.server.Close()
	c.grpc.Stop()
	c.wg.Wait()
}

// File is a file of objects.
type File struct {
	Name string
	Data string
	// Namespace is that of objects which name none; "default" when empty.
	Namespace string
}

// Decode reads and validates a file's objects. Every problem that would keep one of them out is an error.
func (f File) Decode() ([]*config.Object, error) {
	d := config.Decode([]byte(f.Data), config.DecodeOptions{File: f.Name, Namespace: f.Namespace})
	problems := d.Problems()
	for _, o := range d.Objects() {
		problems = append(problems, validation.Validate(o)...)
	}
	var errs []error
	for _, p := range problems {
		if p.Severity == config.Error {
			errs = append(errs, errors.New(p.String()))
		}
	}
	return d.Objects(), errors.Join(errs...)
}

// Apply adds or replaces the objects of files, all at once.
func (c *Control) Apply(files ...File) error {
	var all []*config.Object
	for _, f := range files {
		objects, err := f.Decode()
		if err != nil {
			return fmt.Errorf("applying %s: %w", f.Name, err)
		}
		all = append(all, objects...)
	}
	changes := make([]world.ObjectChange, len(all))
	for i, o := range all {
		changes[i] = world.ObjectChange{Key: o.Key, Object: o}
	}
	c.change(changes)
	return nil
}

// Delete removes objects, all at once. Objects that aren't there are an error, and then none is removed.
func (c *Control) Delete(keys ...config.Key) error {
	changes := make([]world.ObjectChange, len(keys))
	for i, k := range keys {
		if !c.has(k) {
			return fmt.Errorf("deleting %s: no such object", k)
		}
		changes[i].Key = k
	}
	c.change(changes)
	return nil
}

func (c *Control) has(k config.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.objects[k] != nil
}

func (c *Control) change(changes []world.ObjectChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range changes {
		if ch.Object == nil {
			delete(c.objects, ch.Key)
			continue
		}
		c.objects[ch.Key] = ch.Object
	}
	c.revision++
	c.World.Apply(world.Batch{Source: sourceName, Revision: c.revision, Changes: changes})
}

// Keys are the objects there are.
func (c *Control) Keys() []config.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Keys(c.objects), config.Key.Compare)
}

// State is what a proxy is told at present.
func (c *Control) State(p *model.Proxy) *xds.State {
	t := translate.New(c.World.Snapshot())
	return t.State(p)
}

// Join lets a proxy connect. nodeID is what it calls itself; id and proxy are who it is.
func (c *Control) Join(nodeID string, p *model.Proxy, id identity.ID) (*identity.Material, error) {
	m, err := c.material(id)
	if err != nil {
		return nil, err
	}
	return m, c.discovery.join(nodeID, p, m)
}

// Wait returns when every connected proxy has everything that was applied, and reports those that refused a part of it.
func (c *Control) Wait(ctx context.Context) error {
	version := c.World.Snapshot().Version()
	result, err := c.server.Ledger().WaitRevision(ctx, version)
	for _, p := range result.Pending {
		err = errors.Join(err, fmt.Errorf("%s has not answered", p.Node.ID))
	}
	for _, r := range result.Refused {
		err = errors.Join(err, fmt.Errorf("%s refused %s %v: %s", r.Client.Node.ID, xds.ShortType(r.TypeURL), r.Nack.Names, r.Nack.Reason))
	}
	return err
}

// Status is what the control plane knows of one proxy; nil when it is not connected.
func (c *Control) Status(nodeID string) *server.ClientStatus {
	for _, s := range c.server.Ledger().Clients() {
		if s.Node.ID == nodeID {
			return &s
		}
	}
	return nil
}
