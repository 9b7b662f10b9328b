package discovery

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/client"
)

// Config says whom to ask, and for whom.
type Config struct {
	Bootstrap *bootstrap.Bootstrap
	Handler   client.Handler
	// Dial opens a connection to a cluster's host, TLS and all, for HTTP/2.
	Dial func(ctx context.Context, cluster string) (net.Conn, error)
	Log  *slog.Logger
}

// Subscriber takes the names of resources that are needed from one source.
type Subscriber interface {
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
}

// Discovery keeps a Handler supplied.
type Discovery struct {
	cfg   Config
	ads   *client.Client // nil for none
	files *files

	mu      sync.Mutex // guards what follows
	ctx     context.Context
	ended   bool // nobody starts another client from here on
	started sync.WaitGroup
	waiting []*client.Client // until Run
	clients map[service]*client.Client
}

// service is one type of a discovery service.
type service struct {
	plan.DiscoveryService
	typeURL string
}

// New prepares what a bootstrap asks for. Nothing is asked before Run.
func New(cfg Config) *Discovery {
	d := &Discovery{cfg: cfg, clients: map[service]*client.Client{}, files: newFiles(cfg.Handler, cfg.Log)}
	b := &cfg.Bootstrap.Discovery
	var whole []string
	for _, w := range []struct {
		typeURL string
		from    *plan.Source
	}{{xds.ClusterType, b.Clusters}, {xds.ListenerType, b.Listeners}} {
		switch {
		case w.from == nil:
		case w.from.Aggregated():
			whole = append(whole, w.typeURL)
		case w.from.Path != "":
			d.files.want(*w.from, w.typeURL, true)
		default:
			d.client(w.from.Service, w.typeURL, []string{w.typeURL})
		}
	}
	if b.ADS.Cluster != "" {
		d.ads = d.newClient(b.ADS, "", whole)
		d.waiting = append(d.waiting, d.ads)
	}
	return d
}

// newClient makes a client of a service.
func (d *Discovery) newClient(s plan.DiscoveryService, typeURL string, whole []string) *client.Client {
	authority := s.Authority
	if authority == "" {
		authority = s.Cluster
	}
	options := []grpc.DialOption{
		// The cluster's transport socket has secured the connection, if it is to be.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority(authority),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.cfg.Dial(ctx, s.Cluster) }),
	}
	if s.Metadata != "" {
		options = append(options, grpc.WithStreamInterceptor(sends(s.Metadata)))
	}
	return client.New(client.Config{
		Target: "passthrough:///" + s.Cluster, DialOptions: options, Node: d.cfg.Bootstrap.Node, Type: typeURL, Wildcards: whole, SotW: !s.Delta,
		BackoffMin: s.BackoffMin, BackoffMax: s.BackoffMax, Handler: d.cfg.Handler, Log: d.cfg.Log.With("cluster", s.Cluster),
	})
}

// sends adds headers to every stream.
func sends(lines string) grpc.StreamClientInterceptor {
	var pairs []string
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		pairs = append(pairs, name, value)
	}
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return streamer(metadata.AppendToOutgoingContext(ctx, pairs...), desc, cc, method, opts...)
	}
}

// client is the client for one type of a service; it is started if it is new.
func (d *Discovery) client(s plan.DiscoveryService, typeURL string, whole []string) *client.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := service{s, typeURL}
	if c := d.clients[key]; c != nil {
		return c
	}
	c := d.newClient(s, typeURL, whole)
	d.clients[key] = c
	if d.ctx == nil {
		d.waiting = append(d.waiting, c)
	} else if !d.ended {
		d.startLocked(c)
	}
	return c
}

func (d *Discovery) startLocked(c *client.Client) {
	d.started.Go(func() {
		if err := c.Run(d.ctx); d.ctx.Err() == nil {
			d.cfg.Log.Error("discovery has ended", "error", err)
		}
	})
}

// Run asks until ctx ends.
func (d *Discovery) Run(ctx context.Context) {
	d.mu.Lock()
	d.ctx = ctx
	for _, c := range d.waiting {
		d.startLocked(c)
	}
	d.waiting = nil
	d.mu.Unlock()
	d.files.run(ctx)
	<-ctx.Done()
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.started.Wait()
}

// ADS is who asks the aggregated service; nil for none.
func (d *Discovery) ADS() Subscriber {
	if d.ads == nil {
		return nil
	}
	return d.ads
}

// From is who asks any other source.
func (d *Discovery) From(s plan.Source) Subscriber {
	if s.Path != "" {
		return fileSubscriber{d.files, s}
	}
	return serviceSubscriber{d, s.Service}
}

type serviceSubscriber struct {
	d *Discovery
	s plan.DiscoveryService
}

func (s serviceSubscriber) Subscribe(typeURL string, names ...string) {
	s.d.client(s.s, typeURL, nil).Subscribe(typeURL, names...)
}

func (s serviceSubscriber) Unsubscribe(typeURL string, names ...string) {
	s.d.client(s.s, typeURL, nil).Unsubscribe(typeURL, names...)
}

// Connected tells whether there is a stream to the aggregated service.
func (d *Discovery) Connected() (since time.Time, configured bool) {
	if d.ads == nil {
		return time.Time{}, false
	}
	return d.ads.Status().Connected, true
}
