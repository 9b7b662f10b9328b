package translate

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// Translator makes resources and remembers them. The zero Translator is not usable; see New.
type Translator struct {
	mu      sync.Mutex
	now     *generation
	groups  map[groupKey]*group
	views   map[View]*viewState
	proxies map[*model.Proxy]*known
	history []step // the last changes, oldest first

	answers answers
	shared  sharedSets
	// scratch holds buffers for what is encoded before its length is known.
	scratch sync.Pool
}

const (
	// historyLength is how many changes are kept so that a group that was not built for a while can catch up.
	historyLength = 512
	// idleGenerations is for how many Snapshots a group or View stays without being built.
	idleGenerations = 256
	// sweepEvery is how many Snapshots pass between two searches for idle ones.
	sweepEvery = 64
)

// generation is one Snapshot with what is computed once for it.
type generation struct {
	seq  uint64
	snap *world.Snapshot
	at   time.Time
	// peers counts changes of PeerAuthentication, which answers about endpoints depend on.
	peers uint64

	mu sync.Mutex
	// labels are the label keys of clients that matter, by namespace.
	labels map[string][]string
}

// New returns a Translator for the Snapshot.
func New(snap *world.Snapshot) *Translator {
	return &Translator{
		now:     &generation{seq: 1, snap: snap, labels: map[string][]string{}},
		groups:  map[groupKey]*group{},
		views:   map[View]*viewState{},
		proxies: map[*model.Proxy]*known{},
		scratch: sync.Pool{New: func() any { return new([]byte) }},
	}
}

// Advance makes snap the newest Snapshot. change is what differs from the one before, and at is when that reached the
// control plane. Calls must come in the order of Snapshots.
func (t *Translator) Advance(snap *world.Snapshot, change world.Change, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if snap == t.now.snap {
		return
	}
	next := &generation{seq: t.now.seq + 1, snap: snap, at: at, peers: t.now.peers, labels: map[string][]string{}}
	if change.Mesh || touches(change.Policies, "PeerAuthentication") {
		next.peers++
	}
	if !change.Mesh && len(change.VirtualServices)+len(change.DestinationRules) == 0 {
		t.now.mu.Lock()
		for k, v := range t.now.labels {
			next.labels[k] = v
		}
		t.now.mu.Unlock()
	}
	t.now = next
	t.history = append(t.history, newStep(snap, change))
	if len(t.history) > historyLength {
		t.history = append([]step(nil), t.history[len(t.history)-historyLength/2:]...)
	}
	if next.seq%sweepEvery == 0 {
		t.sweep()
	}
}

func touches(keys map[model.ConfigKey]struct{}, kind string) bool {
	for k := range keys {
		if k.Kind.String() == kind {
			return true
		}
	}
	return false
}

// sweep forgets groups and Views that nobody asked for lately.
func (t *Translator) sweep() {
	seq := t.now.seq
	for k, g := range t.groups {
		if g.last.Load()+idleGenerations < seq {
			g.gone.Store(true)
			delete(t.groups, k)
		}
	}
	for k, p := range t.proxies {
		if p.used.Load()+idleGenerations < seq {
			delete(t.proxies, k)
		}
	}
	for k, v := range t.views {
		if v.last.Load()+idleGenerations < seq {
			v.gone.Store(true)
			delete(t.views, k)
		}
	}
}

// since returns what changed after the version up to the generation's Snapshot, or false if that is no longer known.
func (t *Translator) since(version uint64, gen *generation) (world.Change, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := world.Change{From: version, To: version}
	for _, s := range stepsFrom(t.history, version) {
		if s.change.From == out.To && s.change.To <= gen.snap.Version() {
			out = out.Then(s.change)
		}
	}
	return out, out.To == gen.snap.Version()
}

// stepsFrom returns the steps of a history from a version on: mostly none, or the last one.
func stepsFrom(history []step, version uint64) []step {
	if n := len(history); n > 0 && history[n-1].change.From <= version {
		if history[n-1].change.From == version {
			return history[n-1:]
		}
		return nil
	}
	first, _ := slices.BinarySearchFunc(history, version, func(s step, v uint64) int { return cmp.Compare(s.change.From, v) })
	return history[first:]
}

// Snapshot returns the newest Snapshot.
func (t *Translator) Snapshot() *world.Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.snap
}

// State returns what the proxy shall have now.
func (t *Translator) State(p *model.Proxy) *xds.State {
	if at, ok := t.unchanged(p); ok {
		return t.build(at)
	}
	return t.Build(t.View(p))
}

// Current returns what the proxy shall have, and the revision up to which that is right: the State is the one of before as
// long as nothing but the revision changes.
func (t *Translator) Current(p *model.Proxy) (state *xds.State, revision uint64) {
	at, ok := t.unchanged(p)
	if !ok {
		at = t.site(t.View(p))
	}
	at.view.mu.Lock()
	defer at.view.mu.Unlock()
	t.buildLocked(at)
	return at.view.built, at.view.upTo
}

// Build returns what proxies of the View shall have. Views that are equal get the same State.
func (t *Translator) Build(v View) *xds.State { return t.build(t.site(v)) }

// site is where a View's State is made.
type site struct {
	view  *viewState
	group *group
	gen   *generation
}

func (t *Translator) site(v View) site {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.siteLocked(t.viewLocked(v))
}

func (t *Translator) siteLocked(v *viewState) site {
	g := v.group.Load()
	if g == nil || g.gone.Load() {
		g = t.groupLocked(v.key.out)
		v.group.Store(g)
	}
	return v.used(g, t.now)
}

// used notes that the View is asked for.
func (v *viewState) used(g *group, gen *generation) site {
	if v.last.Load() != gen.seq {
		v.last.Store(gen.seq)
	}
	if g.last.Load() != gen.seq {
		g.last.Store(gen.seq)
	}
	return site{v, g, gen}
}

func (t *Translator) build(at site) *xds.State {
	state := at.view
	state.mu.Lock()
	defer state.mu.Unlock()
	t.buildLocked(at)
	if state.built.Revision != state.upTo {
		state.built = state.built.At(state.upTo, state.at)
	}
	return state.built
}

// buildLocked brings the State of a View, whose lock is held, up to date.
func (t *Translator) buildLocked(at site) {
	state := at.view
	if state.built != nil && state.seq >= at.gen.seq {
		return
	}
	whole := false
	defer func() {
		if !whole {
			t.forget(state.key)
		}
	}()
	state.build(at.group.at(t, at.gen), at.gen)
	whole = true
}

// Ahead makes for the newest Snapshot what does not depend on who asks: load assignments and virtual hosts of services, and
// Lateen's own clusters and listeners. The first client finds them made.
func (t *Translator) Ahead() {
	p := &model.Proxy{ID: "nobody", Namespace: t.Snapshot().Mesh().RootNamespace, Flavor: model.LateenProxy, DNSCapture: true}
	v := t.View(p)
	t.Build(v)
	t.forget(v)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.proxies, p)
}

// forget drops what a panic may have left half done: the next Build of the View
// begins from scratch.
func (t *Translator) forget(v View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if state := t.views[v]; state != nil {
		state.gone.Store(true)
		delete(t.views, v)
	}
	if g := t.groups[v.out]; g != nil {
		g.gone.Store(true)
		delete(t.groups, v.out)
	}
}

func (t *Translator) generation() *generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

func (t *Translator) groupLocked(key groupKey) *group {
	g := t.groups[key]
	if g == nil {
		g = &group{key: key}
		t.groups[key] = g
	}
	return g
}

func (t *Translator) viewLocked(v View) *viewState {
	state := t.views[v]
	if state == nil {
		state = &viewState{key: v}
		t.views[v] = state
	}
	return state
}

// Size says how much is remembered, for the debug page.
type Size struct {
	Views, Groups, Resources int
}

// Size counts what is remembered.
func (t *Translator) Size() Size {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Size{Views: len(t.views), Groups: len(t.groups), Resources: t.answers.len()}
}
