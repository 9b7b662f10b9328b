package consul

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/source"
)

// Options say which Consul to ask, and how.
type Options struct {
	// Address is HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///PATH.
	Address string
	// Datacenters to read; the agent's own when empty.
	Datacenters []string
	// Namespace and Partition are Consul Enterprise's.
	Namespace, Partition string
	// TokenFile holds the ACL token. It is read for each query, so that it may be
	// replaced.
	TokenFile string
	// CAFile, CertFile and KeyFile are for https.
	CAFile, CertFile, KeyFile string
	// Domain is that of Consul's names; "consul".
	Domain string
	// Wait bounds one blocking query; a minute.
	Wait time.Duration
	// Watches bounds the queries that wait at one time; 128, below the 200
	// connections that a Consul agent takes from one client.
	Watches int
	// Pause is the least time between two queries about the same; 50 ms.
	Pause time.Duration
	// BackoffMin and BackoffMax bound the time between attempts after a failure;
	// 100 ms and 10 s.
	BackoffMin, BackoffMax time.Duration
	Log                    *slog.Logger
	// Now is the clock; time.Now.
	Now func() time.Time
}

const (
	defaultDomain  = "consul"
	defaultWait    = time.Minute
	defaultWatches = 128
	defaultPause   = 50 * time.Millisecond
)

// Source follows Consul's catalog.
type Source struct {
	o      Options
	name   string
	client *api.Client
	slots  chan struct{} // one for each query that waits
	wake   chan struct{} // capacity 1

	mu       sync.Mutex // guards what follows
	live     source.Live
	progress source.Progress
	// known is what each datacenter has, by service; a nil catalog was never
	// read, and nil instances neither.
	known map[string]map[string]*service
	// changed are the services to be looked at anew.
	changed map[string]struct{}
	// failing are the queries that failed last, with the reason.
	failing map[query]string
	// filtered are the queries of which the token sees a part only.
	filtered map[query]struct{}
	problems map[string]config.Problems
	// owners are the services that the objects stand for: two names of Consul's
	// can make one of ours.
	owners map[config.Key]string
}

// query names what is asked for: a service, or with service empty the catalog.
type query struct{ datacenter, service string }

// service is what one datacenter says of a service.
type service struct {
	read      bool
	instances []*api.ServiceEntry
}

// New makes a source that does nothing before Run.
func New(o Options) (*Source, error) {
	o.Domain, o.Wait, o.Watches = cmp.Or(o.Domain, defaultDomain), cmp.Or(o.Wait, defaultWait), cmp.Or(o.Watches, defaultWatches)
	o.Pause = cmp.Or(o.Pause, defaultPause)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.Datacenters) == 0 {
		o.Datacenters = []string{""}
	}
	client, err := api.NewClient(&api.Config{Address: o.Address, Namespace: o.Namespace, Partition: o.Partition,
		TLSConfig: api.TLSConfig{CAFile: o.CAFile, CertFile: o.CertFile, KeyFile: o.KeyFile}})
	if err != nil {
		return nil, fmt.Errorf("consul at %s: %w", o.Address, err)
	}
	s := &Source{o: o, client: client, slots: make(chan struct{}, o.Watches), wake: make(chan struct{}, 1),
		known: map[string]map[string]*service{}, changed: map[string]struct{}{}, failing: map[query]string{}, filtered: map[query]struct{}{},
		problems: map[string]config.Problems{}, owners: map[config.Key]string{}}
	_, address, ok := strings.Cut(o.Address, "://")
	if !ok {
		address = o.Address
	}
	s.name = "consul://" + address
	s.progress = source.NewProgress(s.name, o.Now())
	return s, nil
}

// Name implements source.Source.
func (s *Source) Name() string { return s.name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, sink source.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer cancel()
	for _, dc := range s.o.Datacenters {
		watches.Go(func() { s.watchCatalog(ctx, dc) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		if b, ok := s.take(); ok {
			sink.Apply(b)
		}
	}
}

// take is the next batch if there is one. The first waits until everything has
// been read once.
func (s *Source) take() (source.Batch, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.completeLocked() {
		return source.Batch{}, false
	}
	for name := range s.changed {
		s.translateLocked(name)
	}
	clear(s.changed)
	b, ok := s.live.Batch()
	s.progress.Applied(s.live.Len(), b.Revision)
	return b, ok
}

func (s *Source) completeLocked() bool {
	if s.progress.Condition().State != source.Waiting {
		return true
	}
	for _, dc := range s.o.Datacenters {
		catalog := s.known[dc]
		if catalog == nil {
			return false
		}
		for _, known := range catalog {
			if !known.read {
				return false
			}
		}
	}
	s.progress.Ready(s.o.Now())
	return true
}

// translateLocked makes a service's object from what all datacenters say.
func (s *Source) translateLocked(name string) {
	var instances []*api.ServiceEntry
	for _, dc := range s.o.Datacenters {
		known := s.known[dc][name]
		if known == nil {
			continue
		}
		if !known.read {
			return // it is being asked for: what was there stays until then
		}
		instances = append(instances, known.instances...)
	}
	t := translation{source: s.name, domain: s.o.Domain}
	o, key := t.serviceEntry(name, instances)
	owner, taken := s.owners[key]
	switch {
	case o == nil && owner == name:
		delete(s.owners, key)
		s.live.Drop(key)
	case o == nil:
	case taken && owner != name:
		t.complain(name, config.Error, fmt.Sprintf("the service is called as %s is, but for characters that names can't have", owner), "Rename one of the two")
	default:
		s.owners[key] = name
		for _, p := range validation.Validate(o) {
			p.Position = o.Origin.Position
			t.problems = append(t.problems, p)
		}
		if !t.problems.HasErrors() {
			s.live.Put(o)
		}
	}
	s.problems[name] = t.problems.AtLeast(config.Warning)
}

// token is the ACL token, "" for none.
func (s *Source) token() (string, error) {
	if s.o.TokenFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(s.o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("ACL token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Problems implements source.Source.
func (s *Source) Problems() config.Problems {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ps config.Problems
	condition := s.progress.Condition()
	if p, ok := condition.Problem(); ok {
		ps = append(ps, p)
	}
	if len(s.filtered) > 0 {
		code := config.CodeSourceUnavailable
		ps = append(ps, config.Problem{Severity: config.Warning, Code: code.ID, Name: code.Name, Position: config.Position{File: s.name},
			Message: "Consul leaves out what the ACL token may not see", Hint: "Give the token service:read and node:read, or ignore this if it is meant so"})
	}
	for _, name := range slices.Sorted(maps.Keys(s.problems)) {
		ps = append(ps, s.problems[name]...)
	}
	return ps
}

// Condition implements source.Conditioned.
func (s *Source) Condition() source.Condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress.Condition()
}

// Objects are the live objects, by key.
func (s *Source) Objects() []*config.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live.Objects()
}

var _ source.Conditioned = (*Source)(nil)
