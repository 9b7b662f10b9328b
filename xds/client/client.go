package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	gbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"lateen.dev/lateen/lib/backoff"
	"lateen.dev/lateen/xds"
)

// Client keeps a Handler supplied from a server.
type Client struct {
	cfg Config
	// changed receives after a subscription changed.
	changed chan struct{}

	mu    sync.Mutex
	types map[string]*holding
	// connected and lastError are those of Status.
	connected time.Time
	lastError error
}

// holding is what the client wants and has of one type. It outlives streams.
type holding struct {
	wildcard bool
	names    map[string]struct{}
	// versions in use, by name.
	versions map[string]string

	version   string
	received  time.Time
	refusals  []xds.Refusal
	refusedAt time.Time
}

const defaultMaxMessageBytes = 256 << 20

// New makes a client that does nothing before Run.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxMessageBytes <= 0 {
		cfg.MaxMessageBytes = defaultMaxMessageBytes
	}
	c := &Client{cfg: cfg, changed: make(chan struct{}, 1), types: make(map[string]*holding)}
	for _, url := range cfg.Wildcards {
		c.holdingLocked(url).wildcard = true
	}
	return c
}

func (c *Client) holdingLocked(typeURL string) *holding {
	h := c.types[typeURL]
	if h == nil {
		h = &holding{names: make(map[string]struct{}), versions: make(map[string]string)}
		c.types[typeURL] = h
	}
	return h
}

// Subscribe asks for resources by name, in addition to those asked for before. The
// name of a route configuration asks for all of its virtual hosts.
func (c *Client) Subscribe(typeURL string, names ...string) {
	c.mu.Lock()
	h := c.holdingLocked(typeURL)
	for _, name := range names {
		h.names[name] = struct{}{}
	}
	c.mu.Unlock()
	c.wake()
}

// Unsubscribe gives names up. The handler hears nothing more of them.
func (c *Client) Unsubscribe(typeURL string, names ...string) {
	c.mu.Lock()
	h := c.holdingLocked(typeURL)
	for _, name := range names {
		delete(h.names, name)
		delete(h.versions, name) // a server whose wildcard brings it sends it again
	}
	if typeURL == xds.VirtualHostType {
		maps.DeleteFunc(h.versions, func(name, _ string) bool { return !h.wants(typeURL, name) })
	}
	c.mu.Unlock()
	c.wake()
}

func (c *Client) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Status tells what the client has.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Connected: c.connected, LastError: c.lastError}
	for _, url := range slices.SortedFunc(maps.Keys(c.types), xds.CompareTypes) {
		h := c.types[url]
		s.Types = append(s.Types, TypeStatus{
			TypeURL:   url,
			Version:   h.version,
			Resources: len(h.versions),
			Names:     len(h.names),
			Wildcard:  h.wildcard,
			Received:  h.received,
			Refusals:  h.refusals,
			RefusedAt: h.refusedAt,
		})
	}
	return s
}

// Run keeps a stream open, and opens another when it breaks, until the context
// ends, whose error it returns. An error before the first attempt means that
// the configuration cannot work.
func (c *Client) Run(ctx context.Context) error {
	const (
		connectTimeout = 5 * time.Second
		// A server that vanished without a word is noticed within the sum; one that
		// starves beside other work for a while is not left.
		pingEvery, pingTimeout = 30 * time.Second, 20 * time.Second
	)
	options := append([]grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(c.cfg.MaxMessageBytes)),
		// The delays between attempts are chosen here, not in the connection.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: gbackoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
	}, c.cfg.DialOptions...)
	conn, err := grpc.NewClient(c.cfg.Target, options...)
	if err != nil {
		return fmt.Errorf("discovery client for %s: %w", c.cfg.Target, err)
	}
	defer conn.Close()
	retry := backoff.Backoff{Min: c.cfg.BackoffMin, Max: c.cfg.BackoffMax}
	for {
		served, err := c.runStream(ctx, conn)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.disconnected(err)
		if served {
			retry.Reset()
		}
		if err := retry.Wait(ctx); err != nil {
			return err
		}
		conn.ResetConnectBackoff()
	}
}

func (c *Client) disconnected(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the server closed the stream")
	}
	c.mu.Lock()
	first := c.lastError == nil || !c.connected.IsZero()
	c.connected, c.lastError = time.Time{}, err
	c.mu.Unlock()
	if c.cfg.Ended != nil {
		c.cfg.Ended(err)
	}
	level := slog.LevelDebug
	if first {
		level = slog.LevelWarn
	}
	c.cfg.Log.Log(context.Background(), level, "discovery stream ended, keeping what is there and trying again", "server", c.cfg.Target, "reason", err)
}

// runStream serves one stream to its end. served tells whether a response came.
func (c *Client) runStream(parent context.Context, conn *grpc.ClientConn) (served bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	st, err := openStream(ctx, conn, c.cfg.Type, c.cfg.SotW)
	if err != nil {
		cancel()
		return false, err
	}
	s := &session{client: c, st: st, sent: make(map[string]*sent), received: make(chan *response), failed: make(chan error, 1)}
	var reader sync.WaitGroup
	reader.Go(func() { s.read(ctx) })
	defer reader.Wait()
	defer cancel()
	served, err = s.run(ctx)
	if errors.Is(err, errSendClosed) {
		err = s.cause(ctx)
	}
	return served, err
}
