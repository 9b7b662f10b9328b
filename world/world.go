package world

import (
	"sync"
	"sync/atomic"
	"time"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/derive"
)

// Options are what a World is made with.
type Options struct {
	// Mesh is the mesh's configuration before any MeshConfig object was read, complete with defaults.
	Mesh *meshconfig.MeshConfig
	// Domain is the DNS suffix of Services; cluster.local if empty.
	Domain string
	// Cluster and Network are those of workloads that name none.
	Cluster string
	Network string
	// Sources are the names of the sources in order of precedence: where two have an object of one key, the first has it.
	// Those not listed come after, by name.
	Sources []string
	// OnPanic is told when the derivation of one object panicked; the object then keeps what was derived from it before. Nil
	// lets the panic go on.
	OnPanic func(derive.Panic)
	// Now tells the time, for the times in the debug dump. Nil means time.Now.
	Now func() time.Time
}

// Batch is a set of changes that belong together: no Snapshot shows a part of them.
type Batch struct {
	// Source names where the batch comes from.
	Source string
	// Initial marks the complete set of a source that starts (again): what is not in it is gone.
	Initial bool
	// Revision numbers the source's state after the batch.
	Revision uint64
	Changes  []ObjectChange
}

// ObjectChange is one object that is there now (Object) or gone (nil).
type ObjectChange struct {
	Key    config.Key
	Object *config.Object
}

// World holds the present Snapshot and makes the next.
type World struct {
	current atomic.Pointer[Snapshot]

	// apply is held for the whole of a batch. It comes before subsMu.
	apply  sync.Mutex
	intake intake
	plan   *plan
	vips   *allocator
	next   *builder // of the batch that is being applied

	subsMu sync.Mutex
	subs   map[*Subscription]struct{}
}

// New returns a World that knows nothing yet.
func New(o Options) *World {
	if o.Mesh == nil {
		o.Mesh = mesh.Default()
	}
	if o.Domain == "" {
		o.Domain = host.DefaultDomain
	}
	w := &World{intake: newIntake(o.Sources), plan: newPlan(o), vips: newAllocator(), subs: make(map[*Subscription]struct{})}
	first := &Snapshot{mesh: meshOf(o.Mesh, config.Origin{}, o), lazy: newLazyViews(), peerAuths: newPeerAuths()}
	w.next = newBuilder(first, w.vips)
	w.watch()
	snap, _ := w.next.finish(nil)
	snap.version = 1
	w.next = nil
	w.current.Store(snap)
	return w
}

// Apply takes a batch in: when it returns, Snapshot has it and subscribers have been told. Batches of several goroutines are
// applied one after the other.
func (w *World) Apply(b Batch) {
	w.apply.Lock()
	defer w.apply.Unlock()
	w.next = newBuilder(w.current.Load(), w.vips)
	defer func() { w.next = nil }()
	objects := w.intake.apply(b)
	w.plan.graph.Update(func() {
		for key, o := range objects {
			src := w.plan.sources[key.Kind]
			switch {
			case src == nil: // a kind that the mesh doesn't read
			case o == nil:
				src.Delete(key)
			default:
				src.Set(key, o)
			}
		}
	})
	w.publish(w.next.finish(w.intake.revisions))
}

// Collections describes the derivation: each collection with its size, and what was computed in it when.
func (w *World) Collections() []derive.Stat { return w.plan.graph.Dump() }

// Snapshot returns the present Snapshot; never nil.
func (w *World) Snapshot() *Snapshot { return w.current.Load() }

// Subscription tells one reader about new Snapshots. A reader that is slow misses Snapshots, but no change: changes add up
// until they are taken.
type Subscription struct {
	w     *World
	ready chan struct{}

	mu      sync.Mutex
	snap    *Snapshot
	pending *Change
}

// Subscribe starts a subscription, which must be closed. The first Take returns the present Snapshot as a Change from zero.
func (w *World) Subscribe() *Subscription {
	s := &Subscription{w: w, ready: make(chan struct{}, 1)}
	w.subsMu.Lock()
	defer w.subsMu.Unlock()
	snap := w.current.Load()
	s.snap, s.pending = snap, &Change{To: snap.version, Mesh: true}
	s.ready <- struct{}{}
	w.subs[s] = struct{}{}
	return s
}

// Ready receives a value when there is something to take.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Take returns the newest Snapshot and what changed since the last Take. The Change is empty if nothing did.
func (s *Subscription) Take() (*Snapshot, Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c Change
	if s.pending != nil {
		c = *s.pending
		s.pending = nil
	} else {
		c = Change{From: s.snap.version, To: s.snap.version}
	}
	return s.snap, c
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.w.subsMu.Lock()
	defer s.w.subsMu.Unlock()
	delete(s.w.subs, s)
}

func (s *Subscription) offer(snap *Snapshot, c Change) {
	s.mu.Lock()
	s.snap = snap
	if s.pending != nil {
		c = s.pending.Then(c)
	}
	s.pending = &c
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (w *World) publish(snap *Snapshot, c Change) {
	w.subsMu.Lock()
	defer w.subsMu.Unlock()
	w.current.Store(snap)
	for s := range w.subs {
		s.offer(snap, c)
	}
}
