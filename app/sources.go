package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/lib/backoff"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/kept"
)

// wantedSource is a source that flags or MeshConfig.configSources name.
type wantedSource struct {
	// id is what the world knows it by. It begins with its place, so that
	// sources have precedence as they are listed, and changes with anything that
	// the user wrote about it.
	id string
	// name is the user's.
	name string
	open func() (source.Source, error)
	// away: it is on another machine, so what it said is kept for a start without
	// it.
	away bool
}

// errUnusable means that trying again can't help.
var errUnusable = errors.New("this source can't be used")

// sources runs the sources beside the store and the registrations. The ones
// that MeshConfig names come and go with what it says.
type sources struct {
	sink func(id string, told func()) source.Sink
	log  *slog.Logger
	dir  string // where it is kept what they said

	mu      sync.Mutex // guards what follows
	wanted  []wantedSource
	running map[string]*runningSource
	settled bool          // what is wanted is running
	moved   chan struct{} // closed and replaced when any of this changes
}

// runningSource is one of them.
type runningSource struct {
	wantedSource
	cancel context.CancelFunc
	done   chan struct{}

	// What follows is guarded by sources.mu.
	source source.Source // nil while it can't be opened
	told   bool          // it has told the whole of what it has
	// stale is when what is live was saved, by an earlier process; zero as soon as
	// the source has told what it has.
	stale   time.Time
	objects int       // of then
	failed  time.Time // since when it isn't running; zero while it is
	reason  string
	fails   uint64
}

func newSources(log *slog.Logger, dir string, sink func(id string, told func()) source.Sink) *sources {
	return &sources{sink: sink, log: log, dir: dir, running: map[string]*runningSource{}, settled: true, moved: make(chan struct{})}
}

// want replaces what shall run. It returns at once.
func (s *sources) want(list []wantedSource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted, s.settled = list, false
	s.moveLocked()
}

func (s *sources) moveLocked() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// run starts and stops sources until ctx ends, and waits for their ends.
func (s *sources) run(ctx context.Context) error {
	for {
		stopped, moved := s.reconcile(ctx)
		for _, r := range stopped {
			<-r.done
			// What it had is nobody's now.
			s.sink(r.id, func() {}).Apply(source.Batch{Initial: true})
			if err := kept.Forget(s.keptFile(r.id)); err != nil {
				s.log.Error("what a source said is not forgotten", "source", r.name, "error", err)
			}
		}
		select {
		case <-moved:
		case <-ctx.Done():
			s.mu.Lock()
			s.wanted = nil
			s.mu.Unlock()
			stopped, _ := s.reconcile(ctx)
			for _, r := range stopped {
				<-r.done
			}
			return nil
		}
	}
}

// reconcile starts what is wanted and returns what was told to stop.
func (s *sources) reconcile(ctx context.Context) (stopped []*runningSource, moved <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.running {
		if !slices.ContainsFunc(s.wanted, func(w wantedSource) bool { return w.id == id }) {
			r.cancel()
			delete(s.running, id)
			stopped = append(stopped, r)
			if ctx.Err() == nil {
				s.log.Info("source is left", "source", r.name)
			}
		}
	}
	for _, w := range s.wanted {
		if s.running[w.id] != nil {
			continue
		}
		one, cancel := context.WithCancel(ctx)
		r := &runningSource{wantedSource: w, cancel: cancel, done: make(chan struct{})}
		s.running[w.id] = r
		go func() { // run waits for it
			defer close(r.done)
			defer cancel()
			s.runOne(one, r)
		}()
	}
	if !s.settled {
		s.settled = true
		s.moveLocked()
	}
	return stopped, s.moved
}

// runOne keeps a source running: one that ends by itself is opened anew, while
// what it had stays.
func (s *sources) runOne(ctx context.Context, r *runningSource) {
	var retry backoff.Backoff
	sink := s.sink(r.id, func() { s.note(func() { r.told, r.stale = true, time.Time{} }) })
	if r.away {
		var done func()
		sink, done = s.keep(ctx, r, sink)
		defer done()
	}
	for {
		src, err := r.open()
		if err == nil {
			s.note(func() { r.source, r.failed, r.reason = src, time.Time{}, "" })
			err = src.Run(ctx, sink)
		}
		if ctx.Err() != nil {
			return
		}
		s.note(func() {
			if r.failed.IsZero() {
				r.failed = time.Now()
			}
			if err != nil {
				r.reason = err.Error()
			}
			r.fails++
		})
		s.log.Warn("source has failed; what it had stays live", "source", r.name, "reason", err)
		if errors.Is(err, errUnusable) {
			s.note(func() { r.told = true })
			<-ctx.Done()
			return
		}
		if retry.Wait(ctx) != nil {
			return
		}
	}
}

// note changes what is known of a source.
func (s *sources) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.moveLocked()
}

// wait returns when all that is wanted has told the whole of what it has.
// waiting hears of those that haven't, when they have kept others waiting for a
// while.
func (s *sources) wait(ctx context.Context, patience time.Duration, waiting func(names []string)) error {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		missing, moved := s.missing()
		if missing == nil {
			return nil
		}
		select {
		case <-moved:
		case <-tick.C:
			waiting(missing)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// missing are the sources that haven't told everything; nil when there are none.
func (s *sources) missing() ([]string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	if !s.settled {
		names = []string{}
	}
	for _, r := range s.running {
		if !r.told {
			names = append(names, r.name)
		}
	}
	slices.Sort(names)
	return names, s.moved
}

// all are the running sources in their order.
func (s *sources) all() []*runningSource {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*runningSource, 0, len(s.running))
	for _, r := range s.running {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *runningSource) int { return strings.Compare(a.id, b.id) })
	return all
}

// conditions say how the sources do.
func (s *sources) conditions() []source.Condition {
	var out []source.Condition
	for _, r := range s.all() {
		out = append(out, s.condition(r))
	}
	return out
}

func (s *sources) condition(r *runningSource) source.Condition {
	s.mu.Lock()
	src := r.source
	c := source.Condition{Source: r.name, State: source.Waiting, Since: r.failed, Failures: r.fails, Reason: r.reason}
	if r.told {
		c.State = source.Ready
		if r.reason != "" {
			c.State = source.Failing
		}
	}
	failed, stale, saved := !r.failed.IsZero(), r.stale, r.objects
	s.mu.Unlock()
	if !stale.IsZero() {
		if src, ok := src.(source.Conditioned); ok && !failed {
			c = src.Condition()
		}
		c.State, c.Heard, c.Objects = source.Stale, stale, saved
		return c
	}
	switch src := src.(type) {
	case source.Conditioned:
		if !failed {
			return src.Condition()
		}
	case interface {
		Count() (objects int, revision uint64)
	}:
		c.Objects, c.Revision = src.Count()
		if reason := unreadable(src.(source.Source).Problems()); reason != "" {
			c.State, c.Reason = source.Failing, reason
		}
	}
	return c
}

// problems are the complaints of all of them.
func (s *sources) problems() config.Problems {
	var ps config.Problems
	for _, r := range s.all() {
		s.mu.Lock()
		src, failed, stale := r.source, !r.failed.IsZero(), !r.stale.IsZero()
		s.mu.Unlock()
		if failed || stale {
			c := s.condition(r)
			if p, ok := c.Problem(); ok {
				ps = append(ps, p)
			}
		}
		if src == nil {
			continue
		}
		for _, p := range src.Problems() {
			if !stale || p.Code != config.CodeSourceUnavailable.ID { // that it is away has been said
				ps = append(ps, p)
			}
		}
	}
	return ps
}
