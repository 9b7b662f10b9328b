package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// Subscriber is the part of the xDS client that asks for resources by name.
type Subscriber interface {
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
}

// Config is what a Store is made of.
type Config struct {
	// Current is where plans are published.
	Current *plan.Current
	// Engine is told of plans.
	Engine plan.Engine
	// Compiler turns resources into plans. The store owns it.
	Compiler *compile.Compiler
	// LocalSecrets are the names of secrets that SetSecret brings, and that are never asked for by xDS.
	LocalSecrets []string
	// Await are the kinds, listeners or clusters, that come by discovery as a whole, so that the proxy isn't ready before
	// they do.
	Await []plan.Kind
	// OnDemand says that what the plan lacks is asked for where the control plane offers it.
	OnDemand bool
	// Now is the clock.
	Now func() time.Time
	Log *slog.Logger
}

// Store holds the resources of one proxy.
type Store struct {
	cfg     Config
	changed chan struct{} // wakes Run

	mu         sync.Mutex // guards everything below, and serialises writers
	subscriber Subscriber
	elsewhere  func(plan.Source) Subscriber
	kinds      [numKinds]map[string]*entry
	pending    [numKinds]map[string]*entry // those with a warming version
	// refsChanged says that wants have to be worked out again.
	refsChanged bool
	wants       map[key]*want
	received    [numKinds]bool
	dirty       [numKinds]map[string]bool // names whose live version changed since the last plan
	version     uint64
	local       map[string]bool
	// hosts are the virtual hosts that come by themselves, by route configuration.
	hosts map[string]*hostSet
	// asks is what is asked for on demand; demanding says that clusters are. lost are clusters that the server took away
	// and that are still referred to, with the time until which they are kept; there and none are the asked names that
	// this change brings into force, or says not to exist.
	asks        *asks
	demanding   bool
	lost        map[string]time.Time
	there, none []key
	// remembered are virtual hosts to be asked for when their route configuration is there.
	remembered map[string][]string
}

const numKinds = 7

type key struct {
	kind plan.Kind
	name string
}

// entry is a resource with what is known of it.
type entry struct {
	name   string
	static bool
	// live is in the plan; warming waits for what it needs. Either may be nil. Kinds that don't warm have live only.
	live, warming *version
	// failure is the last refusal, until a later version is accepted.
	failure *Failure
	// reloads and refusals count versions that went live, and that did not.
	reloads, refusals int64
}

// version is one accepted version of a resource.
type version struct {
	compile.Compiled
	body    *anypb.Any
	info    string // the discovery response's version
	updated time.Time
	of      *compile.Hosts // what a virtual host was compiled for
}

// want is a name that live or warming resources need.
type want struct {
	from     plan.Source
	deadline time.Time // zero waits for ever
	settled  bool      // arrived, said not to exist, or timed out
	asked    bool      // subscribed to
}

// New returns an empty store. It publishes an empty plan.
func New(cfg Config) *Store {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg, changed: make(chan struct{}, 1), wants: map[key]*want{}, local: map[string]bool{}, hosts: map[string]*hostSet{}, asks: newAsks(), lost: map[string]time.Time{}}
	if cfg.OnDemand {
		cfg.Compiler.Demand = s.asks.demand
	}
	for i := range s.kinds {
		s.kinds[i], s.pending[i] = map[string]*entry{}, map[string]*entry{}
	}
	for _, n := range cfg.LocalSecrets {
		s.local[n] = true
	}
	return s
}

// SetSubscriber tells whom to ask for names. It is separate from New because the client needs the store as its handler.
func (s *Store) SetSubscriber(sub Subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriber = sub
	s.asks.mu.Lock()
	s.asks.subscriber = sub
	s.asks.mu.Unlock()
	s.refsChanged = true
	s.settle()
}

// SetSources tells whom to ask where resources come from other sources than the aggregated service; the function must not
// call the store. ads is for the aggregated service; nil for none, in which case nothing arrives that refers to it.
func (s *Store) SetSources(ads Subscriber, elsewhere func(plan.Source) Subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriber, s.elsewhere = ads, elsewhere
	s.refsChanged = true
	s.settle()
}

// Update implements the xDS client's handler.
func (s *Store) Update(_ context.Context, u xds.Update) []xds.Refusal {
	kind, ok := kindOf(u.TypeURL)
	if !ok {
		return refuseAll(u)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var refused []xds.Refusal
	put := s.put
	if kind == plan.KindVirtualHost {
		put = s.putHost
		s.answeredHosts(&u)
	}
	for _, r := range u.Added {
		if err := put(kind, r.Name, incoming{body: r.Body(), info: u.Version}); err != nil {
			refused = append(refused, xds.Refusal{Name: r.Name, Err: err})
		}
	}
	for _, name := range u.Removed {
		s.remove(kind, name)
	}
	s.received[kind] = true
	for _, r := range s.settle() {
		// A listener that could not be opened is known only now. One of an earlier update was refused then.
		if slices.ContainsFunc(u.Added, func(a *xds.Resource) bool { return r.Kind == kind && a.Name == r.Name }) {
			refused = append(refused, xds.Refusal{Name: r.Name, Err: errors.New(r.Reason)})
		}
	}
	return refused
}

func refuseAll(u xds.Update) []xds.Refusal {
	var out []xds.Refusal
	for _, r := range u.Added {
		out = append(out, xds.Refusal{Name: r.Name, Err: fmt.Errorf("type %s is not one that this proxy takes", u.TypeURL)})
	}
	return out
}

func kindOf(typeURL string) (plan.Kind, bool) {
	switch typeURL {
	case xds.ListenerType:
		return plan.KindListener, true
	case xds.RouteType:
		return plan.KindRouteConfig, true
	case xds.ClusterType:
		return plan.KindCluster, true
	case xds.EndpointType:
		return plan.KindEndpoints, true
	case xds.SecretType:
		return plan.KindSecret, true
	case xds.VirtualHostType:
		return plan.KindVirtualHost, true
	case xds.ExtensionConfigType:
		return plan.KindExtension, true
	}
	return 0, false
}

func typeOf(kind plan.Kind) string {
	return [...]string{xds.ListenerType, xds.RouteType, xds.ClusterType, xds.EndpointType, xds.SecretType, xds.VirtualHostType,
		xds.ExtensionConfigType}[kind]
}

// Load takes the bootstrap's resources: secrets, then clusters, then listeners. Unlike an update it is all or nothing:
// the first that can't be used is the error, and the proxy had better not start.
func (s *Store) Load(static []xds.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range static {
		kind, ok := kindOf(u.TypeURL)
		if !ok || kind == plan.KindVirtualHost || kind == plan.KindExtension {
			return fmt.Errorf("static resources of type %s are not taken", u.TypeURL)
		}
		for _, r := range u.Added {
			if s.kinds[kind][r.Name] != nil {
				return fmt.Errorf("static %s %q is there twice", noun(kind), r.Name)
			}
			if err := s.put(kind, r.Name, incoming{body: r.Body(), info: u.Version, static: true}); err != nil {
				return fmt.Errorf("static %s %q: %w", noun(kind), r.Name, err)
			}
		}
	}
	for _, r := range s.settle() {
		return fmt.Errorf("static %s %q: %s", noun(r.Kind), r.Name, r.Reason)
	}
	return nil
}

func noun(k plan.Kind) string {
	return [...]string{"listener", "route configuration", "cluster", "load assignment", "secret", "virtual hosts of", "filter configuration"}[k]
}

// SetSecrets puts secrets in force that come from elsewhere than xDS: the workload's own identity.
func (s *Store) SetSecrets(secrets ...*plan.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sec := range secrets {
		s.local[sec.Name] = true
		e := s.entry(plan.KindSecret, sec.Name)
		e.live = &version{Compiled: compile.Compiled{Secret: sec}, updated: s.cfg.Now()}
		s.touch(plan.KindSecret, sec.Name)
		s.arrived(plan.KindSecret, sec.Name)
	}
	s.settle()
}

// Run watches initial_fetch_timeout until ctx ends.
func (s *Store) Run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		next, some := s.nextDeadline()
		s.mu.Unlock()
		wait := time.Hour
		if some {
			wait = max(0, next.Sub(s.cfg.Now()))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-timer.C:
			s.mu.Lock()
			s.settle()
			s.mu.Unlock()
		}
	}
}

func (s *Store) nextDeadline() (next time.Time, some bool) {
	for _, w := range s.wants {
		if !w.settled && !w.deadline.IsZero() && (!some || w.deadline.Before(next)) {
			next, some = w.deadline, true
		}
	}
	for _, until := range s.lost {
		if !some || until.Before(next) {
			next, some = until, true
		}
	}
	return next, some
}

// Ready reports whether everything that the proxy starts with is live, and if not, what is missing.
func (s *Store) Ready() (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.cfg.Await {
		if !s.received[k] {
			return false, fmt.Sprintf("%s has not answered yet", k)
		}
	}
	for _, k := range []plan.Kind{plan.KindCluster, plan.KindListener} {
		for name, e := range s.pending[k] {
			if e.live == nil {
				return false, fmt.Sprintf("%s %q waits for %s", noun(k), name, s.missing(e.warming))
			}
		}
	}
	return true, ""
}
