package kit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// discovery gives connected proxies their resources: what translate makes, and the secrets of their identities, for
// Envoys that have no agent beside them.
type discovery struct {
	translator *translate.Translator
	sub        *world.Subscription
	authority  *ca.Authority

	mu       sync.Mutex // guards what follows
	members  map[string]*member
	sessions map[*session]struct{}
}

// member is a proxy that may connect.
type member struct {
	proxy   *model.Proxy
	secrets *xds.Set
}

func newDiscovery(w *world.World, a *ca.Authority) *discovery {
	return &discovery{translator: translate.New(w.Snapshot()), sub: w.Subscribe(), authority: a,
		members: map[string]*member{}, sessions: map[*session]struct{}{}}
}

func (d *discovery) join(nodeID string, p *model.Proxy, m *identity.Material) error {
	secrets, err := secretsOf(m)
	if err != nil {
		return fmt.Errorf("secrets of %s: %w", nodeID, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members[nodeID] = &member{proxy: p, secrets: secrets}
	return nil
}

// run translates each new Snapshot for those who are connected.
func (d *discovery) run(ctx context.Context) {
	defer d.sub.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.sub.Ready():
			snap, change := d.sub.Take()
			d.translator.Advance(snap, change, time.Now())
			for _, s := range d.all() {
				s.refresh()
			}
		}
	}
}

func (d *discovery) all() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*session, 0, len(d.sessions))
	for s := range d.sessions {
		out = append(out, s)
	}
	return out
}

// Attach implements server.Provider.
func (d *discovery) Attach(_ context.Context, c server.Client) (server.Session, error) {
	d.mu.Lock()
	m := d.members[c.Node.ID]
	if m == nil {
		d.mu.Unlock()
		return nil, fmt.Errorf("no host of this mesh calls itself %s", c.Node.ID)
	}
	s := &session{discovery: d, member: m, changed: make(chan struct{}, 1)}
	d.sessions[s] = struct{}{}
	d.mu.Unlock()
	s.refresh()
	return s, nil
}

// session is one connected proxy.
type session struct {
	discovery *discovery
	member    *member
	changed   chan struct{}
	state     atomic.Pointer[xds.State]

	mu   sync.Mutex // one refresh at a time
	base *xds.State
}

func (s *session) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.discovery.translator.State(s.member.proxy)
	if next == s.base {
		return
	}
	s.base = next
	sets := []*xds.Set{s.member.secrets}
	for _, t := range next.Types() {
		sets = append(sets, next.Set(t))
	}
	s.state.Store(xds.NewState(next.Revision, next.Changed, sets...))
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
	defer d.mu.Unlock()
	delete(d.sessions, s)
}

var (
	_ server.Provider = (*discovery)(nil)
	_ server.Session  = (*session)(nil)
)
