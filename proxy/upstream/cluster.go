package upstream

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/lb"
	"lateen.dev/lateen/proxy/upstream/outlier"
)

// Cluster is the runtime of a cluster.
type Cluster struct {
	Name string
	// Stats are Envoy's statistics of the cluster.
	Stats *Stats

	set       *Set
	config    atomic.Pointer[plan.Cluster]
	view      atomic.Pointer[view]
	breakers  [2]breaker
	waiters   waiters
	originals originals
	dial      Dialer
	dns       dnsState

	mu       sync.Mutex // guards what follows; never taken by a request that goes well
	hosts    map[hostKey]*Host
	detector *outlier.Detector
	ticked   int64 // when outlier detection last ticked, in nanoseconds
	closed   bool
	checking bool // active health checks have begun
	warming  bool // some hosts had less than their weight when the view was made

	// Bound is telemetry's, for requests that reach no host.
	Bound atomic.Pointer[any]
}

// view is what a request picks from: immutable, replaced when hosts or their health change.
type view struct {
	hosts    []*Host
	balancer *lb.Balancer
	drop     float64 // percent of requests to drop
}

// Of returns the runtime of a plan's cluster, or nil.
func Of(c *plan.Cluster) *Cluster {
	if c == nil {
		return nil
	}
	r, _ := c.Runtime.(*Cluster)
	return r
}

func newCluster(s *Set, cfg *plan.Cluster, before *Cluster) *Cluster {
	c := &Cluster{Name: cfg.Name, set: s, hosts: map[hostKey]*Host{}, dial: s.dialer(cfg)}
	if before != nil {
		c.Stats = before.Stats
	} else {
		c.Stats = newStats(s.opts.Shards)
	}
	c.config.Store(cfg)
	c.setOutlier(cfg)
	c.view.Store(&view{balancer: lb.New(lb.Config{}, nil, nil)})
	if before != nil {
		defer c.inherit(before)
	}
	if cfg.Discovery == plan.Static || cfg.Discovery == plan.EDS {
		c.update(cfg.Endpoints)
	} else if before != nil && before.Config().Discovery == cfg.Discovery {
		c.adoptResolved(before)
	}
	return c
}

// inherit takes over what its predecessor knew of the hosts' health, and how long they have been there.
func (c *Cluster) inherit(before *Cluster) {
	before.mu.Lock()
	since, checked := map[hostKey]time.Time{}, before.checking
	failing := map[hostKey]bool{}
	for key, h := range before.hosts {
		since[key], failing[key] = h.since, h.unhealthy.Load()
	}
	before.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, h := range c.hosts {
		if at, ok := since[key]; ok {
			h.since = at
			h.unhealthy.Store(checked && failing[key] && len(c.Config().HealthChecks) > 0)
		}
	}
	c.rebuildLocked(c.assignmentLocked())
}

// Config is the newest plan's cluster.
func (c *Cluster) Config() *plan.Cluster { return c.config.Load() }

// Hosts are the hosts at present, in the order of the plan. The slice must not be changed.
func (c *Cluster) Hosts() []*Host { return c.view.Load().hosts }

// reconfigure takes over a new copy of the configuration in which only endpoints differ.
func (c *Cluster) reconfigure(cfg *plan.Cluster) {
	old := c.config.Swap(cfg)
	if old.Endpoints != cfg.Endpoints && (cfg.Discovery == plan.Static || cfg.Discovery == plan.EDS) {
		c.update(cfg.Endpoints)
	}
}

// update replaces the hosts by those of a load assignment, keeping the ones that stay.
func (c *Cluster) update(e *plan.Endpoints) {
	c.mu.Lock()
	gone := c.updateLocked(e)
	c.mu.Unlock()
	for _, h := range gone {
		h.remove()
	}
}

func (c *Cluster) updateLocked(e *plan.Endpoints) (gone []*Host) {
	if c.closed {
		return nil
	}
	next := make(map[hostKey]*Host, e.Len())
	changed := false
	if e != nil {
		for p := range e.Priorities {
			for l := range e.Priorities[p].Localities {
				list := e.Priorities[p].Localities[l].Endpoints
				for i := range list {
					changed = c.keepLocked(next, keyOf(&list[i], p), &list[i]) || changed
				}
			}
		}
	}
	for key, h := range c.hosts {
		if next[key] != h {
			gone = append(gone, h)
			changed = true
			h.stopLocked()
		}
	}
	c.hosts = next
	if changed {
		c.Stats.Inc(0, MembershipChange)
	}
	c.Stats.Inc(0, UpdateSuccess)
	c.rebuildLocked(e)
	return gone
}

func (c *Cluster) keepLocked(next map[hostKey]*Host, key hostKey, e *plan.Endpoint) (isNew bool) {
	h := c.hosts[key]
	if h == nil {
		h = newHost(c, key, e)
		isNew = true
		if c.checking {
			h.unhealthy.Store(true) // until a check has passed
			c.checkLocked(h)
		}
	} else {
		h.endpoint.Store(e)
	}
	next[key] = h
	return isNew
}

func keyOf(e *plan.Endpoint, priority int) hostKey {
	k := hostKey{addr: e.Address.IP, name: e.Address.Path, socket: e.TransportSocket, priority: priority}
	if !k.addr.IsValid() && k.name == "" {
		k.name = e.Address.Host
	}
	return k
}

// rebuildLocked makes a new view of the present hosts in the places that e gives them.
func (c *Cluster) rebuildLocked(e *plan.Endpoints) {
	v := &view{}
	now := time.Now()
	c.warming = c.warmingLocked(now)
	var priorities []lb.Priority
	var hosts []lb.Host
	if e != nil {
		v.drop = e.DropPercent
		for p := range e.Priorities {
			var pr lb.Priority
			for l := range e.Priorities[p].Localities {
				from := &e.Priorities[p].Localities[l]
				loc := lb.Locality{Weight: from.Weight}
				for i := range from.Endpoints {
					h := c.hosts[keyOf(&from.Endpoints[i], p)]
					loc.Hosts = append(loc.Hosts, len(v.hosts))
					v.hosts = append(v.hosts, h)
					hosts = append(hosts, c.lbHostLocked(h, now))
				}
				pr.Localities = append(pr.Localities, loc)
			}
			priorities = append(priorities, pr)
		}
	}
	cfg := c.Config().LB
	cfg.Shards, cfg.Seed = c.set.opts.Shards, rand.Uint64()
	if e != nil && e.Overprovisioning > 0 {
		cfg.Overprovisioning = e.Overprovisioning
	}
	v.balancer = lb.New(cfg, hosts, priorities)
	c.view.Store(v)
	if c.detector != nil {
		var states []*outlier.Host
		for _, h := range v.hosts {
			states = append(states, &h.state)
		}
		c.detector.SetHosts(states)
	}
}

func (c *Cluster) lbHostLocked(h *Host, now time.Time) lb.Host {
	e := h.Endpoint()
	weight := e.Weight
	if c.warming {
		weight = max(1, min(weight, math.MaxUint32/fullShare)) * share(c.Config().SlowStart, now.Sub(h.since))
	}
	key := h.key.addr.String()
	if h.key.name != "" {
		key = h.key.name
	}
	if c.Config().ConsistentHash.UseHostname && e.Hostname != "" {
		key = e.Hostname
	}
	if k := e.Metadata.String("envoy.lb", "hash_key"); k != "" {
		key = k
	}
	return lb.Host{Weight: weight, HashKey: key, Active: &h.active, Healthy: h.Usable()}
}

// Choice is what picking a host depends on.
type Choice struct {
	Shard   uint32
	Hash    uint64
	HasHash bool
	// Avoid are hosts that were tried already; up to Attempts hosts are drawn to find another.
	Avoid    []*Host
	Attempts uint32
	// OriginalDst is the address of ORIGINAL_DST clusters.
	OriginalDst netip.AddrPort

	request lb.Request // here because balancers are called through an interface, and would make it escape
}

// Pick chooses a host, or returns nil when there is none.
func (c *Cluster) Pick(ch *Choice) *Host {
	if c.Config().Discovery == plan.OriginalDestination {
		return c.original(ch.OriginalDst)
	}
	v := c.view.Load()
	r := &ch.request
	*r = lb.Request{Hash: ch.Hash, HasHash: ch.HasHash, Shard: int(ch.Shard)}
	var h *Host
	for range max(1, ch.Attempts) {
		r.Rand = rand.Uint64()
		i := v.balancer.Pick(r)
		if i < 0 {
			c.Stats.Inc(ch.Shard, CxNoSuccessfulHost)
			return nil
		}
		if h = v.hosts[i]; len(ch.Avoid) == 0 || !slices.Contains(ch.Avoid, h) {
			break
		}
	}
	return h
}

// Dropped decides whether a request is dropped by the load assignment's drop overload.
func (c *Cluster) Dropped() bool {
	d := c.view.Load().drop
	return d > 0 && rand.Float64()*100 < d
}

// close ends the cluster: idle connections are closed now, the others when they come back.
func (c *Cluster) close() {
	c.mu.Lock()
	c.closed = true
	hosts := c.hosts
	c.hosts = map[hostKey]*Host{}
	for _, h := range hosts {
		h.stopLocked()
	}
	c.mu.Unlock()
	for _, h := range hosts {
		h.remove()
	}
}
