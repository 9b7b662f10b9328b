package app

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/lib/backoff"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/source/mcp"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// attendance is told which registered workloads have a proxy connected.
type attendance interface {
	// Connected is called when the proxy of a registered workload connects, and
	// Disconnected when that stream has ended.
	Connected(c server.Client) error
	Disconnected(c server.Client)
	// Health is called when its proxy tells how the workload does.
	Health(c server.Client, healthy bool, reason string) error
}

// discovery gives every connected proxy its resources: it is the provider
// behind the discovery server. Its run function is the only one that advances
// the translator.
type discovery struct {
	translator *translate.Translator
	sub        *world.Subscription
	attendance attendance
	uses       *uses // may be nil
	// state translates for one proxy, and tells the revision up to which that is right.
	state func(*model.Proxy) (state *xds.State, upto uint64)
	// arrived is when the oldest change came that a Snapshot has and none before
	// had. begin is told of it before anybody is offered the Snapshot.
	arrived func(snapshot uint64) time.Time
	begin   func(snapshot uint64, changed time.Time)
	// settle is called when all sessions have been refreshed.
	settle  func()
	failed  func(*translationError) // is told of panics
	retries backoff.Backoff         // of those
	// http10 has every proxy accept HTTP/1.0, not only those that ask for it.
	http10 bool

	mu       sync.Mutex // guards sessions
	sessions map[*session]struct{}
}

func newDiscovery(w *world.World, a attendance, failed func(*translationError)) *discovery {
	t := translate.New(w.Snapshot())
	return &discovery{translator: t, state: t.Current, sub: w.Subscribe(), attendance: a, failed: failed,
		arrived: func(uint64) time.Time { return time.Time{} }, begin: func(uint64, time.Time) {}, settle: func() {}, sessions: map[*session]struct{}{}}
}

// run translates each new Snapshot for those who are connected. The first change
// after a pause goes out at once; in a storm, Snapshots merge while the clients
// take in what was sent to them. A proxy whose translation panics keeps what it
// has; it is tried again after a while, or with the next Snapshot.
func (d *discovery) run(ctx context.Context) error {
	defer d.sub.Close()
	var pace pace
	rest, retry := time.NewTimer(0), time.NewTimer(0)
	defer rest.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C: // at the latest; what did not fail is not translated anew
		case <-d.sub.Ready():
			d.advance()
		}
		began := time.Now()
		if err := refreshAll(d.all()); err != nil {
			d.failed(err)
			retry.Reset(d.retries.Next())
		} else {
			d.retries.Reset()
		}
		d.settle()
		rest.Reset(pace.rest(began, time.Now()))
	}
}

// advance takes in the newest Snapshot.
func (d *discovery) advance() {
	snap, change := d.sub.Take()
	changed := d.arrived(snap.Version())
	if changed.IsZero() {
		changed = time.Now()
	}
	d.begin(snap.Version(), changed)
	d.translator.Advance(snap, change, changed)
}

// prepare is called before run and before anyone is served: a proxy that came
// first would be told of the mesh as it was when the discovery was made, of nothing.
func (d *discovery) prepare() {
	select {
	case <-d.sub.Ready():
		d.advance()
	default:
	}
}

// ahead translates what all proxies need, while the first of them may be served already.
func (d *discovery) ahead() {
	defer func() {
		if p := recover(); p != nil {
			d.failed(&translationError{node: "nobody yet", value: p, stack: string(debug.Stack())})
		}
	}()
	d.translator.Ahead()
}

// refreshAll gives each its newest state, on as many cores as there are. The
// error is the first panic, with the number of them.
func refreshAll(sessions []*session) *translationError {
	const share = 64 // sessions that are worth a goroutine
	workers := min(runtime.GOMAXPROCS(0), 1+len(sessions)/share)
	failures := make([]*translationError, workers)
	var g sync.WaitGroup
	for i := range workers {
		g.Go(func() { failures[i] = refreshEach(sessions[i*len(sessions)/workers : (i+1)*len(sessions)/workers]) })
	}
	g.Wait()
	return merged(failures)
}

func refreshEach(sessions []*session) *translationError {
	var failures []*translationError
	for _, s := range sessions {
		if err := s.refresh(); err != nil {
			err.proxies = 1
			failures = append(failures, err)
		}
	}
	return merged(failures)
}

// merged is the first failure, with the number of proxies of all.
func merged(failures []*translationError) *translationError {
	var first *translationError
	for _, err := range failures {
		switch {
		case err == nil:
		case first == nil:
			first = err
		default:
			first.proxies += err.proxies
		}
	}
	return first
}

// translationError is a panic in the translation for a proxy.
type translationError struct {
	node    string
	value   any
	stack   string
	proxies int // that it hit in the same moment
}

func (e *translationError) Error() string {
	return fmt.Sprintf("translation for %s panicked: %v", e.node, e.value)
}

func (e *translationError) report(m *controlMetrics, log *slog.Logger) {
	m.failures.Counter.Add(0, int64(e.proxies))
	log.Error("translation panicked; the proxies keep what they have, it is tried again", "proxy", e.node, "proxies", e.proxies,
		"panic", e.value, "stack", e.stack)
}

func (d *discovery) all() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*session, 0, len(d.sessions))
	for s := range d.sessions {
		list = append(list, s)
	}
	return list
}

// Attach implements server.Provider. The session is translated for before it is
// known to run, so that what takes long for a newcomer delays nobody else.
func (d *discovery) Attach(_ context.Context, c server.Client) (server.Session, error) {
	if err := d.attendance.Connected(c); err != nil {
		return nil, fmt.Errorf("registering the workload of %s: %w", c.Node.ID, err)
	}
	s := &session{discovery: d, client: c, proxy: newProxy(c, d.translator.Snapshot().Mesh())}
	s.proxy.HTTP10 = s.proxy.HTTP10 || d.http10
	err := s.refresh()
	d.mu.Lock()
	d.sessions[s] = struct{}{}
	d.mu.Unlock()
	if d.uses != nil {
		s.remembered.Store(d.uses.of(s.proxy))
	}
	if err == nil {
		err = s.refresh() // a Snapshot may have come before run knew the session
	}
	if err != nil {
		s.Close()
		err.proxies = 1
		d.failed(err)
		return nil, fmt.Errorf("translation for %s failed; the control plane's log says why", c.Node.ID)
	}
	return s, nil
}

// providers serve proxies and, those who ask for it, configuration.
type providers struct {
	proxies   *discovery
	elsewhere *mcp.Server
}

// Attach implements server.Provider.
func (p providers) Attach(ctx context.Context, c server.Client) (server.Session, error) {
	switch {
	case !mcp.Asks(c.Node):
		return p.proxies.Attach(ctx, c)
	case c.Node.Meta(metaLateen) != "":
		return p.elsewhere.Attach(mcp.Ours), nil
	}
	return p.elsewhere.Attach(mcp.Others), nil
}

// session is one connected proxy.
type session struct {
	discovery *discovery
	client    server.Client
	proxy     *model.Proxy
	state     atomic.Pointer[xds.State]
	lasting   lasting
	// push takes the state to the client; nil before there is somebody to tell.
	push atomic.Pointer[func()]

	// remembered is what the workload used before; nil if nothing is known.
	remembered atomic.Pointer[xds.Set]
	made       struct{ of, with *xds.State } // with remembered; guarded by mu

	mu sync.Mutex // one refresh at a time, so that an older state never follows a newer
}

// refresh takes the newest state, and takes it to the client. After a panic in
// its translation the session keeps the one it has.
func (s *session) refresh() (failure *translationError) {
	changed, failure := s.translate()
	if push := s.push.Load(); changed && push != nil {
		(*push)()
		s.lasting.taken()
	}
	return failure
}

func (s *session) translate() (changed bool, failure *translationError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			failure = &translationError{node: s.client.Node.ID, value: p, stack: string(debug.Stack())}
		}
	}()
	next, upto := s.discovery.state(s.proxy)
	if set := s.remembered.Load(); set != nil && next.Set(xds.ClusterType).OnDemand() {
		if s.made.of != next {
			s.made.of, s.made.with = next, next.With(set)
		}
		next = s.made.with
	}
	s.lasting.note(next, upto)
	return s.state.Swap(next) != next, nil
}

// lasting knows up to which revisions a session's States are right.
type lasting struct {
	mu        sync.Mutex // a leaf: nothing is done under it
	now, was  *xds.State
	upto, old uint64 // of these
}

func (l *lasting) note(state *xds.State, upto uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if state != l.now {
		l.was, l.old, l.now = l.now, l.upto, state
	}
	l.upto = upto
}

// taken notes that nobody needs the State before any more, nor what it holds.
func (l *lasting) taken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.was = nil
}

// Upto implements server.Lasting.
func (s *session) Upto(state *xds.State) uint64 {
	l := &s.lasting
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case l.now:
		return l.upto
	case l.was:
		return l.old
	}
	return state.Revision
}

// State implements server.Session.
func (s *session) State() *xds.State { return s.state.Load() }

// Changed implements server.Session; changes are pushed instead.
func (s *session) Changed() <-chan struct{} { return nil }

// Follow implements server.Follower.
func (s *session) Follow(push func()) { s.push.Store(&push) }

// Health implements server.Healthy.
func (s *session) Health(healthy bool, reason string) error {
	return s.discovery.attendance.Health(s.client, healthy, reason)
}

// Close implements server.Session.
func (s *session) Close() {
	d := s.discovery
	d.mu.Lock()
	delete(d.sessions, s)
	d.mu.Unlock()
	d.attendance.Disconnected(s.client)
}

var (
	_ server.Provider = (*discovery)(nil)
	_ server.Session  = (*session)(nil)
	_ server.Follower = (*session)(nil)
	_ server.Asker    = (*session)(nil)
	_ server.Lasting  = (*session)(nil)
	_ server.Healthy  = (*session)(nil)
)
