package mcp

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/xds"
)

// Server tells other control planes what this one's sources hold. While nobody
// asks, it keeps the objects' pointers and nothing more.
type Server struct {
	log *slog.Logger

	mu       sync.Mutex // guards what follows
	objects  map[config.Key]*config.Object
	revision uint64
	changed  time.Time
	// worlds are what clients have, for those of our own and for others; nil
	// while there are none of them.
	worlds   [2]*world
	sessions map[*Session]struct{}
}

// Audience is the kind of a client.
type Audience int

// The audiences. Others than ours know Kubernetes' Services only from
// Kubernetes: they get a ServiceEntry for each, as istiod gives them.
const (
	Ours Audience = iota
	Others
)

// world is what clients of one audience shall have.
type world struct {
	sets  map[string]*xds.Set
	state *xds.State
}

// NewServer makes a server that knows no objects.
func NewServer(log *slog.Logger) *Server {
	return &Server{log: log, objects: map[config.Key]*config.Object{}, sessions: map[*Session]struct{}{}}
}

// Asks says whether a discovery client wants configuration instead of a proxy's
// resources.
func Asks(n *xds.Node) bool { return n.Metadata.Generator == generator }

// Apply takes changes in. revision is the control plane's as of them, also
// where there are none: a client that has all has it.
func (s *Server) Apply(changes []source.Change, revision uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes = ownOnly(changes)
	for _, c := range changes {
		if c.Object == nil {
			delete(s.objects, c.Key)
		} else {
			s.objects[c.Key] = c.Object
		}
	}
	s.revision = max(s.revision, revision)
	s.changed = at
	for audience, w := range s.worlds {
		if w != nil {
			s.changeLocked(Audience(audience), w, changes)
		}
	}
	for session := range s.sessions {
		session.offer(s.worlds[session.audience].state)
	}
}

// Scheme begins the names of sources that are other control planes.
const Scheme = "xds://"

// ownOnly takes what came from other control planes as gone: two that read from
// each other would keep alive for ever what neither has.
func ownOnly(changes []source.Change) []source.Change {
	out := make([]source.Change, len(changes))
	for i, c := range changes {
		if c.Object != nil && strings.HasPrefix(c.Object.Origin.Source, Scheme) {
			c.Object = nil
		}
		out[i] = c
	}
	return out
}

// changeLocked brings what an audience has up to date.
func (s *Server) changeLocked(audience Audience, w *world, changes []source.Change) {
	put, removed := map[config.Kind][]*xds.Resource{}, map[config.Kind][]string{}
	for _, c := range changes {
		for _, shown := range shownAs(audience, c) {
			kind := shown.Key.Kind
			if shown.Object == nil {
				removed[kind] = append(removed[kind], resourceName(shown.Key))
				continue
			}
			r, err := encode(shown.Object)
			if err != nil {
				s.log.Error("an object can't be told to other control planes", "object", shown.Key, "error", err)
				continue
			}
			put[kind] = append(put[kind], r)
		}
	}
	for _, kind := range config.Kinds() {
		if len(put[kind])+len(removed[kind]) == 0 {
			continue
		}
		for _, version := range kind.Versions() {
			url := typeURL(kind, version)
			w.sets[url] = w.sets[url].With(put[kind], removed[kind])
		}
	}
	all := make([]*xds.Set, 0, len(w.sets))
	for _, set := range w.sets {
		all = append(all, set)
	}
	w.state = xds.NewState(s.revision, s.changed, all...)
}

// shownAs is what a change is to an audience. The mesh's own configuration is
// each control plane's own business.
func shownAs(audience Audience, c source.Change) []source.Change {
	if c.Key.Kind == config.MeshConfig {
		return nil
	}
	if audience == Others && c.Key.Kind == config.Service {
		return []source.Change{serviceEntry(c)}
	}
	return []source.Change{c}
}

// begunLocked makes what an audience has.
func (s *Server) begunLocked(audience Audience) *world {
	w := &world{sets: map[string]*xds.Set{}}
	for _, kind := range config.Kinds() {
		for _, version := range kind.Versions() {
			url := typeURL(kind, version)
			w.sets[url] = xds.NewSet(url, nil)
		}
	}
	changes := make([]source.Change, 0, len(s.objects))
	for _, o := range s.objects {
		changes = append(changes, source.Put(o))
	}
	s.changeLocked(audience, w, changes)
	return w
}

// Session is one client. It is the discovery server's session.
type Session struct {
	server   *Server
	audience Audience
	changed  chan struct{} // capacity 1
	state    atomic.Pointer[xds.State]
}

// Attach begins a session, which must be closed.
func (s *Server) Attach(audience Audience) *Session {
	session := &Session{server: s, audience: audience, changed: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worlds[audience] == nil {
		s.worlds[audience] = s.begunLocked(audience)
	}
	session.state.Store(s.worlds[audience].state)
	s.sessions[session] = struct{}{}
	return session
}

func (s *Session) offer(state *xds.State) {
	s.state.Store(state)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// State is what the client shall have.
func (s *Session) State() *xds.State { return s.state.Load() }

// Changed receives after State has begun to return another value.
func (s *Session) Changed() <-chan struct{} { return s.changed }

// Close ends the session. After the last one of an audience nothing is kept for
// it.
func (s *Session) Close() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	delete(s.server.sessions, s)
	for other := range s.server.sessions {
		if other.audience == s.audience {
			return
		}
	}
	s.server.worlds[s.audience] = nil
}
