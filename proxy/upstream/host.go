package upstream

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/outlier"
	"lateen.dev/lateen/wire/tlsconn"
)

// Host is one endpoint of a cluster at run time. It lives as long as the cluster has an endpoint of this address with
// the same transport, whatever else of the endpoint changes.
type Host struct {
	cluster *Cluster
	key     hostKey
	// endpoint is the newest of the plan's.
	endpoint atomic.Pointer[plan.Endpoint]
	shards   []hostShard

	active  atomic.Int64 // requests in flight, for least request
	removed atomic.Bool  // no longer in the cluster
	ejected atomic.Bool
	failing atomic.Bool // something has failed since the last success
	// unhealthy says that active health checks have failed, or that there has been none of a host that came later.
	unhealthy  atomic.Bool
	stopChecks context.CancelFunc // nil without checks; the cluster's mu guards it
	since      time.Time          // when the host became one that can be used; the cluster's mu guards it
	unused     atomic.Bool        // ORIGINAL_DST: not used since the last look
	state      outlier.Host

	interval struct{ requests, failures atomic.Uint64 } // since the last outlier tick

	// Stats are the endpoint's numbers in admin's /clusters.
	Stats HostStats

	mu      sync.Mutex // guards clients
	clients map[clientKey]*tlsconn.Client

	principal atomic.Pointer[string] // SPIFFE id of the last certificate seen

	// Peer is telemetry's: what is bound for requests to this host.
	Peer atomic.Pointer[any]
}

// HostStats count what happened with one endpoint.
type HostStats struct {
	CxTotal, CxActive, CxConnectFail, RqTotal, RqSuccess, RqError, RqTimeout atomic.Int64
}

// hostKey tells hosts apart. Endpoints of one address that differ in how they are spoken to are different hosts.
type hostKey struct {
	addr     netip.AddrPort
	name     string // path of a unix socket, or DNS name
	socket   int    // the transport socket match
	priority int
}

// clientKey tells TLS clients of one host apart.
type clientKey struct{ sni, alpn string }

type hostShard struct {
	mu    sync.Mutex
	pools []*pool
	// clients are the pools of connections that begin with a PROXY header; nil as long as there are none.
	clients map[clientPoolKey]*pool
	_       [16]byte
}

func newHost(c *Cluster, key hostKey, e *plan.Endpoint) *Host {
	h := &Host{cluster: c, key: key, shards: make([]hostShard, c.set.opts.Shards)}
	h.endpoint.Store(e)
	h.state.ID = key.addr.String()
	h.since = time.Now()
	return h
}

// Cluster is the host's cluster.
func (h *Host) Cluster() *Cluster { return h.cluster }

// Endpoint is what the plan says of the host.
func (h *Host) Endpoint() *plan.Endpoint { return h.endpoint.Load() }

// Addr is the host's address; invalid for unix sockets.
func (h *Host) Addr() netip.AddrPort { return h.key.addr }

// Name is the path of a unix socket, or the DNS name the address was resolved from; else empty.
func (h *Host) Name() string { return h.key.name }

// Priority is the host's failover level.
func (h *Host) Priority() int { return h.key.priority }

// Active is how many requests are in flight.
func (h *Host) Active() int64 { return h.active.Load() }

// Ejected tells whether outlier detection keeps the host out.
func (h *Host) Ejected() bool { return h.ejected.Load() }

// Usable tells whether the host gets requests when its cluster isn't panicking.
func (h *Host) Usable() bool {
	return h.Endpoint().Health.Usable() && !h.ejected.Load() && !h.unhealthy.Load()
}

// FailsChecks tells whether active health checks keep the host out.
func (h *Host) FailsChecks() bool { return h.unhealthy.Load() }

// Principal is the SPIFFE id that the host has proved, or "".
func (h *Host) Principal() string {
	if p := h.principal.Load(); p != nil {
		return *p
	}
	return ""
}

// BeginRequest counts a try; EndRequest must follow.
func (h *Host) BeginRequest(shard uint32) {
	h.active.Add(1)
	h.Stats.RqTotal.Add(1)
	h.cluster.Stats.Inc(shard, RqActive)
}

// EndRequest takes a try off the books.
func (h *Host) EndRequest(shard uint32) {
	h.active.Add(-1)
	h.cluster.Stats.Add(shard, RqActive, -1)
}

// Answered counts a response.
func (h *Host) Answered(shard uint32, code int) {
	h.cluster.Stats.Inc(shard, RqCompleted)
	h.cluster.Stats.Inc(shard, codeClass(code))
	h.Report(code, false)
}

// pool returns the host's pool of a shard for a kind of connection.
func (h *Host) pool(shard uint32, v variant) *pool {
	s := &h.shards[shard%uint32(len(h.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pools {
		if p.variant == v {
			return p
		}
	}
	p := &pool{host: h, shard: shard, variant: v}
	s.pools = append(s.pools, p)
	return p
}

// eachPool calls f with every pool of the host.
func (h *Host) eachPool(f func(*pool)) {
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		pools := append([]*pool(nil), s.pools...)
		for _, p := range s.clients {
			pools = append(pools, p)
		}
		s.mu.Unlock()
		for _, p := range pools {
			f(p)
		}
	}
}

// remove closes what idles; connections in use are closed when they come back.
func (h *Host) remove() {
	h.removed.Store(true)
	h.eachPool((*pool).closeIdle)
}
