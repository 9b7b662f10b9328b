package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/client"
)

// ClientOptions say whom to ask, and as whom.
type ClientOptions struct {
	// Name is the source's: the address as the user wrote it, xds://HOST:PORT.
	Name string
	// Target and DialOptions are gRPC's; credentials come from the caller.
	Target      string
	DialOptions []grpc.DialOption
	// Node says who asks. The server is told besides that we want configuration.
	Node xds.Node
	// SotW chooses the state-of-the-world protocol instead of delta.
	SotW bool
	// Settle is how long after its first answer a server may leave kinds
	// unanswered before it counts as one that doesn't know them; 2 s.
	Settle time.Duration
	// BackoffMin and BackoffMax bound the time between attempts; 100 ms and 10 s.
	BackoffMin, BackoffMax time.Duration
	Log                    *slog.Logger
	// Now is the clock; time.Now.
	Now func() time.Time
}

// generator is what istiod knows clients by that want configuration.
const generator = "api"

// Client reads configuration from another control plane.
type Client struct {
	o    ClientOptions
	xds  *client.Client
	wake chan struct{} // capacity 1

	mu       sync.Mutex // guards what follows
	live     source.Live
	progress source.Progress
	// answered are the types that the server has told the whole of.
	answered map[string]bool
	// names are the keys of the resources, by type and name.
	names map[string]map[string]config.Key
	// problems are those of the resources that aren't used, by type and name.
	problems map[string]map[string]config.Problem
	// complete: the first batch may go out.
	complete bool
}

const defaultSettle = 2 * time.Second

// NewClient makes a source that does nothing before Run.
func NewClient(o ClientOptions) *Client {
	if o.Settle <= 0 {
		o.Settle = defaultSettle
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Node.Metadata.Generator = generator
	c := &Client{o: o, wake: make(chan struct{}, 1), progress: source.NewProgress(o.Name, o.Now()), answered: map[string]bool{},
		names: map[string]map[string]config.Key{}, problems: map[string]map[string]config.Problem{}}
	c.xds = client.New(client.Config{
		Target: o.Target, DialOptions: o.DialOptions, Node: o.Node.Encode(), Wildcards: subscriptions(), SotW: o.SotW,
		Handler: client.HandlerFunc(c.update), Ended: c.failed, Log: o.Log, BackoffMin: o.BackoffMin, BackoffMax: o.BackoffMax,
	})
	return c
}

// subscriptions are the types of all kinds but the mesh's own configuration,
// which every control plane has for itself.
func subscriptions() []string {
	var urls []string
	for _, k := range config.Kinds() {
		if k != config.MeshConfig {
			urls = append(urls, typeURL(k, k.Version()))
		}
	}
	return urls
}

// Name implements source.Source.
func (c *Client) Name() string { return c.o.Name }

// Run implements source.Source.
func (c *Client) Run(ctx context.Context, sink source.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- c.xds.Run(ctx) }()
	err := c.forward(ctx, sink, done)
	cancel()
	if err != nil {
		return fmt.Errorf("%s: %w", c.o.Name, err)
	}
	<-done
	return nil
}

// forward hands changes on until the context ends, or the discovery client does.
func (c *Client) forward(ctx context.Context, sink source.Sink, done chan error) error {
	settled := time.NewTimer(c.o.Settle)
	settled.Stop()
	defer settled.Stop()
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-done:
			done <- nil
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-settled.C:
			c.settle()
		case <-c.wake:
		}
		b, ok, begun := c.take()
		if begun && !waiting {
			waiting = true
			settled.Reset(c.o.Settle)
		}
		if ok {
			sink.Apply(b)
		}
	}
}

// take is the next batch if there is one. begun says that a first answer has
// come, and others are still missing.
func (c *Client) take() (b source.Batch, ok, begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.complete {
		if len(c.answered) < len(subscriptions()) {
			return source.Batch{}, false, len(c.answered) > 0
		}
		c.complete = true
	}
	b, ok = c.live.Batch()
	c.progress.Applied(c.live.Len(), b.Revision)
	return b, ok, false
}

// settle goes on without the types that were not answered.
func (c *Client) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.complete {
		return
	}
	var missing []string
	for _, url := range subscriptions() {
		if !c.answered[url] {
			missing = append(missing, url)
		}
	}
	c.o.Log.Warn("the server does not answer for some kinds, going on without them", "source", c.o.Name, "types", missing)
	c.complete = true
}

// update implements client.Handler: bad resources are refused by name, and what
// they were before stays.
func (c *Client) update(_ context.Context, u xds.Update) []xds.Refusal {
	kind, ok := kindOf(u.TypeURL)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[u.TypeURL] == nil {
		c.names[u.TypeURL], c.problems[u.TypeURL] = map[string]config.Key{}, map[string]config.Problem{}
	}
	names, problems := c.names[u.TypeURL], c.problems[u.TypeURL]
	var refusals []xds.Refusal
	for _, r := range u.Added {
		delete(problems, r.Name)
		o, err := decode(c.o.Name, kind, r)
		if err == nil {
			err = validation.Validate(o).Err()
		}
		switch {
		case errors.Is(err, errNoObject):
		case err != nil:
			refusals = append(refusals, xds.Refusal{Name: r.Name, Err: err})
			problems[r.Name] = c.complaint(kind, r.Name, err)
		default:
			names[r.Name] = o.Key
			c.live.Put(o)
		}
	}
	for _, name := range u.Removed {
		delete(problems, name)
		if key, had := names[name]; had {
			c.live.Drop(key)
			delete(names, name)
		}
	}
	c.answered[u.TypeURL] = true
	c.progress.Ready(c.o.Now())
	c.wakeRun()
	return refusals
}

func (c *Client) wakeRun() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// failed hears of the end of each stream.
func (c *Client) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.Fail(c.o.Now(), err.Error())
}

// complaint is about a resource that isn't used.
func (c *Client) complaint(kind config.Kind, name string, err error) config.Problem {
	var ps config.Problems
	if errors.As(err, &ps) {
		p := ps[0]
		p.Position = config.Position{File: c.o.Name}
		return p
	}
	code := config.CodeSchema
	namespace, name := name[:max(strings.LastIndexByte(name, '/'), 0)], name[strings.LastIndexByte(name, '/')+1:]
	return config.Problem{Severity: config.Error, Code: code.ID, Name: code.Name, Position: config.Position{File: c.o.Name},
		Object:  config.Ref{Kind: kind.String(), Namespace: namespace, Name: name},
		Message: err.Error(), Hint: "The version before stays live; mend it where it comes from"}
}

// Problems implements source.Source.
func (c *Client) Problems() config.Problems {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ps config.Problems
	condition := c.progress.Condition()
	if p, ok := condition.Problem(); ok {
		ps = append(ps, p)
	}
	for _, url := range slices.Sorted(maps.Keys(c.problems)) {
		for _, name := range slices.Sorted(maps.Keys(c.problems[url])) {
			ps = append(ps, c.problems[url][name])
		}
	}
	return ps
}

// Condition implements source.Conditioned.
func (c *Client) Condition() source.Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.progress.Condition()
}

// Objects are the live objects, by key.
func (c *Client) Objects() []*config.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live.Objects()
}

var _ source.Conditioned = (*Client)(nil)
