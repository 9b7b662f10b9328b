package translate

import (
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/xds"
)

// viewState is the State of one View and what it was put together from.
type viewState struct {
	key View
	// last is when it was last asked for. gone says that it is forgotten; group may be, too. All are written under the
	// Translator's lock but last.
	last  atomic.Uint64
	gone  atomic.Bool
	group atomic.Pointer[group]

	mu    sync.Mutex
	seq   uint64
	out   outbound
	built *xds.State
	// upTo is the newest revision for which built is right.
	upTo uint64
	at   time.Time // of that
}

// outbound is what all Views of one group have in common: one set for each type.
type outbound struct {
	clusters, endpoints, listeners, routes, hosts, names, extensions *xds.Set
}

// inbound is what the workload itself adds: the listeners on which it is called and the clusters that lead to it.
type inbound struct {
	clusters, listeners []*xds.Resource
	keep                *inboundInput // what the description points to
}

// build puts the State together. Sets whose parts did not change stay the same value.
func (s *viewState) build(out outbound, gen *generation) {
	in := s.key.in
	s.seq, s.upTo, s.at = gen.seq, gen.snap.Version(), gen.at
	if s.built != nil && s.out == out {
		return
	}
	clusters, listeners, extensions := out.clusters, out.listeners, out.extensions
	if in != nil {
		extensions = s.key.extensions
		clusters = s.joined(xds.ClusterType, s.out.clusters == out.clusters, out.clusters, in.clusters)
		listeners = s.joined(xds.ListenerType, s.out.listeners == out.listeners, out.listeners, in.listeners)
	}
	s.built = xds.NewState(gen.snap.Version(), gen.at, clusters, out.endpoints, listeners, out.routes, out.hosts, out.names, extensions)
	s.out = out
}

func (s *viewState) joined(typeURL string, same bool, out *xds.Set, in []*xds.Resource) *xds.Set {
	if same && s.built != nil {
		return s.built.Set(typeURL)
	}
	return out.With(in, nil)
}
