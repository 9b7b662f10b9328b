// Package sourcetest is the conformance suite of source.Source: every source
// runs it in its own tests, so that whoever reads from one may rely on what
// another one does: the whole set first, revisions that never fall, the last
// good state kept and complained about while something fails, and nothing left
// running at the end.
//
// Goroutines: each test starts the source's Run and waits for its end.
//
// May import: config, source (besides lib).
package sourcetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

// Fixture is one source under test, with ways to change what it reads.
type Fixture struct {
	Source source.Source
	// Kind is that of the objects which the functions below are about. The
	// source may have others besides.
	Kind config.Kind
	// Put makes the source have an object of this name whose content depends on
	// version. It works before Run and during it.
	Put func(name string, version int)
	// Delete takes it away.
	Delete func(name string)
	// Break makes the object's description invalid; nil if it can't be.
	Break func(name string)
	// Restart makes a source of what Source reads, after Source's Run has
	// ended, as a control plane does that starts again.
	Restart func() source.Source
	// Fail makes what the source reads unreachable, and Mend ends that; nil if
	// that can't be. Put and Delete work meanwhile.
	Fail, Mend func()
}

// Wait bounds how long a test waits for something that must happen.
const Wait = 20 * time.Second

// Recorder is a Sink that checks the rules of batches and remembers their effect.
type Recorder struct {
	t        testing.TB
	applying atomic.Bool

	mu      sync.Mutex // guards what follows
	applied int
	last    uint64
	live    map[config.Key]*config.Object
	changed chan struct{} // closed and replaced at each batch
}

// NewRecorder makes a Recorder that reports to t.
func NewRecorder(t testing.TB) *Recorder {
	return &Recorder{t: t, live: map[config.Key]*config.Object{}, changed: make(chan struct{})}
}

// Apply implements source.Sink.
func (r *Recorder) Apply(b source.Batch) {
	if !r.applying.CompareAndSwap(false, true) {
		r.t.Error("Apply was called while another call was running")
	}
	defer r.applying.Store(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Initial != (r.applied == 0) {
		r.t.Errorf("batch %d has Initial %v", r.applied, b.Initial)
	}
	if b.Revision < r.last {
		r.t.Errorf("revision fell from %d to %d", r.last, b.Revision)
	}
	if !b.Initial && len(b.Changes) == 0 && b.Revision == r.last {
		r.t.Error("an empty batch, and not for a revision that somebody may wait for")
	}
	seen := map[config.Key]bool{}
	for _, c := range b.Changes {
		if seen[c.Key] {
			r.t.Errorf("two changes for %s in one batch", c.Key)
		}
		seen[c.Key] = true
		r.check(b, c)
	}
	r.last = b.Revision
	r.applied++
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Recorder) check(b source.Batch, c source.Change) {
	old := r.live[c.Key]
	switch {
	case c.Object == nil && old == nil:
		r.t.Errorf("%s deleted, but it wasn't there", c.Key)
	case c.Object == nil:
		delete(r.live, c.Key)
		return
	case c.Object.Key != c.Key:
		r.t.Errorf("change of %s has object %s", c.Key, c.Object.Key)
	case c.Object.Origin.Source == "":
		r.t.Errorf("%s has no origin", c.Key)
	case c.Object.ResourceVersion == "" || c.Object.Generation == 0:
		r.t.Errorf("%s has resource version %q and generation %d", c.Key, c.Object.ResourceVersion, c.Object.Generation)
	case b.Initial && old != nil:
		r.t.Errorf("%s twice in the first batch", c.Key)
	case old != nil && old.Equal(c.Object):
		r.t.Errorf("%s was sent again without a change", c.Key)
	}
	r.live[c.Key] = c.Object
}

// Live is a copy of what is live.
func (r *Recorder) Live() map[config.Key]*config.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	live := make(map[config.Key]*config.Object, len(r.live))
	for k, o := range r.live {
		live[k] = o
	}
	return live
}

// Revision is the last batch's.
func (r *Recorder) Revision() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Until waits until what is live satisfies ok.
func (r *Recorder) Until(what string, ok func(live map[config.Key]*config.Object) bool) {
	r.t.Helper()
	deadline := time.After(Wait)
	for {
		r.mu.Lock()
		changed, done := r.changed, r.applied > 0
		r.mu.Unlock()
		if done && ok(r.Live()) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("waited in vain until %s; live: %v", what, r.Live())
		}
	}
}

// Start runs a source into a Recorder until the test ends, and waits then for
// Run to return nil.
func Start(t testing.TB, s source.Source) (*Recorder, context.CancelFunc) {
	t.Helper()
	r := NewRecorder(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, r) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run returned %v", err)
				}
			case <-time.After(Wait):
				t.Error("Run doesn't end")
			}
		})
	}
	t.Cleanup(stop)
	return r, stop
}

// untilProblems waits for Problems, which have no event of their own.
func untilProblems(t *testing.T, s source.Source, want bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Wait)
	for s.Problems().HasErrors() != want {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("problems are %v", s.Problems())
		}
	}
}

// find is the live object of the fixture's kind and a name, nil if there is none.
func (f Fixture) find(live map[config.Key]*config.Object, name string) *config.Object {
	for k, o := range live {
		if k.Kind == f.Kind && k.Name == name {
			return o
		}
	}
	return nil
}

// count is how many objects of the fixture's kind are live.
func (f Fixture) count(live map[config.Key]*config.Object) int {
	n := 0
	for k := range live {
		if k.Kind == f.Kind {
			n++
		}
	}
	return n
}
