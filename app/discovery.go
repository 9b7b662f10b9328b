package app

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/model"
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
}

// discovery gives every connected proxy its resources: it is the provider
// behind the discovery server. Its run function is the only one that advances
// the translator.
type discovery struct {
	translator *translate.Translator
	sub        *world.Subscription
	attendance attendance

	mu       sync.Mutex // guards sessions
	sessions map[*session]struct{}
}

func newDiscovery(w *world.World, a attendance) *discovery {
	return &discovery{translator: translate.New(w.Snapshot()), sub: w.Subscribe(), attendance: a, sessions: map[*session]struct{}{}}
}

// run translates each new Snapshot for those who are connected. The first change
// after a pause goes out at once; in a storm, Snapshots merge while the clients
// take in what was sent to them.
func (d *discovery) run(ctx context.Context) error {
	defer d.sub.Close()
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.sub.Ready():
			snap, change := d.sub.Take()
			d.translator.Advance(snap, change, time.Now())
			sessions := d.all()
			for _, s := range sessions {
				s.refresh(d.translator)
			}
			rest.Reset(min(time.Duration(len(sessions))*restForEach, restAtMost))
		}
	}
}

// How long translation rests after each Snapshot: about what it takes to send a
// small change to every client, and to hear from it.
const (
	restForEach = 80 * time.Microsecond
	restAtMost  = 100 * time.Millisecond
)

func (d *discovery) all() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*session, 0, len(d.sessions))
	for s := range d.sessions {
		list = append(list, s)
	}
	return list
}

// Attach implements server.Provider.
func (d *discovery) Attach(_ context.Context, c server.Client) (server.Session, error) {
	if err := d.attendance.Connected(c); err != nil {
		return nil, fmt.Errorf("registering the workload of %s: %w", c.Node.ID, err)
	}
	s := &session{discovery: d, client: c, proxy: newProxy(c, d.translator.Snapshot().Mesh()), changed: make(chan struct{}, 1)}
	d.mu.Lock()
	d.sessions[s] = struct{}{}
	d.mu.Unlock()
	s.refresh(d.translator)
	return s, nil
}

// session is one connected proxy.
type session struct {
	discovery *discovery
	client    server.Client
	proxy     *model.Proxy
	changed   chan struct{}
	state     atomic.Pointer[xds.State]

	mu sync.Mutex // one refresh at a time, so that an older state never follows a newer
}

func (s *session) refresh(t *translate.Translator) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := t.State(s.proxy)
	if s.state.Swap(next) == next {
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// State implements server.Session.
func (s *session) State() *xds.State { return s.state.Load() }

// Changed implements server.Session.
func (s *session) Changed() <-chan struct{} { return s.changed }

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
)
