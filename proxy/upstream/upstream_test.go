package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/proxy/h1"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/transport"
)

// names is a resolver whose answers tests change.
type names struct {
	mu    sync.Mutex
	addrs map[string][]string
	asked int
}

func (n *names) set(name string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[name] = addrs
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	var out []netip.Addr
	for _, a := range n.addrs[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(out) == 0 {
		return nil, errors.New("no such host")
	}
	return out, nil
}

// rig is a set that runs, and the plan it is given.
type rig struct {
	t     *testing.T
	set   *Set
	names *plan.Names
	prev  *plan.Plan
}

func newRig(t *testing.T, o Options) (*rig, func()) {
	o.Shards, o.Transport = max(1, o.Shards), transport.NewSource(&plan.Current{}, nil)
	r := &rig{t: t, set: NewSet(o), names: plan.NewNames(), prev: &plan.Plan{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.set.Run(ctx) })
	return r, func() { cancel(); wg.Wait() }
}

func (r *rig) apply(clusters ...*plan.Cluster) {
	next := plan.New(r.names, plan.Parts{Clusters: clusters})
	r.set.Prepare(r.prev, next)
	r.set.Activate(next)
	r.prev = next
}

func endpoints(list ...plan.Endpoint) *plan.Endpoints {
	for i := range list {
		list[i].Weight, list[i].TransportSocket = 1, -1
	}
	return &plan.Endpoints{Priorities: []plan.Priority{{Localities: []plan.LocalityEndpoints{{Weight: 1, Endpoints: list}}}}}
}

func addresses(c *Cluster) []string {
	var out []string
	for _, h := range c.Hosts() {
		out = append(out, h.Addr().String())
	}
	slices.Sort(out)
	return out
}

func TestStrictDNSFollowsItsNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &names{addrs: map[string][]string{}}
		dns.set("db.test", "10.0.0.1", "10.0.0.2")
		r, stop := newRig(t, Options{Resolver: dns})
		defer stop()
		cfg := &plan.Cluster{Name: "db", Discovery: plan.StrictDNS, DNS: plan.DNSOptions{Refresh: time.Minute, Family: plan.V4Only},
			Endpoints: endpoints(plan.Endpoint{Address: plan.Address{Host: "db.test", Port: 5432}})}
		r.apply(cfg)
		synctest.Wait()
		c := Of(cfg)
		if got := addresses(c); !slices.Equal(got, []string{"10.0.0.1:5432", "10.0.0.2:5432"}) {
			t.Fatalf("hosts %v", got)
		}
		kept := c.Hosts()[1]
		dns.set("db.test", "10.0.0.2", "10.0.0.3")
		time.Sleep(time.Minute + time.Second)
		if got := addresses(c); !slices.Equal(got, []string{"10.0.0.2:5432", "10.0.0.3:5432"}) {
			t.Errorf("after a change: %v", got)
		}
		if c.Hosts()[0] != kept {
			t.Error("a host that stays must be the same")
		}
		dns.set("db.test")
		time.Sleep(10 * time.Minute)
		if got := addresses(c); len(got) != 2 {
			t.Errorf("when nothing is found any more the last hosts stay, got %v", got)
		}
		// A change of settings keeps the addresses from the first moment.
		changed := *cfg
		changed.Runtime, changed.Version = nil, 2
		r.apply(&changed)
		if got := addresses(Of(&changed)); len(got) != 2 {
			t.Errorf("after a change of settings: %v", got)
		}
	})
}

func TestLogicalDNSTakesOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &names{addrs: map[string][]string{"a.test": {"10.0.0.9", "10.0.0.1"}}}
		r, stop := newRig(t, Options{Resolver: dns})
		defer stop()
		cfg := &plan.Cluster{Name: "a", Discovery: plan.LogicalDNS, Endpoints: endpoints(plan.Endpoint{Address: plan.Address{Host: "a.test", Port: 80}})}
		r.apply(cfg)
		synctest.Wait()
		if got := addresses(Of(cfg)); len(got) != 1 {
			t.Errorf("hosts %v", got)
		}
	})
}

func TestEndpointsChangeUnderOneRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stop := newRig(t, Options{})
		defer stop()
		at := func(s string) plan.Endpoint {
			return plan.Endpoint{Address: plan.Address{IP: netip.MustParseAddrPort(s)}}
		}
		cfg := &plan.Cluster{Name: "a", Endpoints: endpoints(at("10.0.0.1:80"), at("10.0.0.2:80"))}
		r.apply(cfg)
		c := Of(cfg)
		stays := c.Hosts()[1]
		next := *cfg
		next.Endpoints = endpoints(at("10.0.0.2:80"), at("10.0.0.3:80"))
		r.apply(&next)
		if Of(&next) != c || c.Hosts()[0] != stays || len(c.Hosts()) != 2 {
			t.Errorf("hosts %v", addresses(c))
		}
		if got := c.Stats.Value(MembershipChange); got != 2 {
			t.Errorf("membership_change %d", got)
		}
		r.apply()
		if len(r.set.Clusters()) != 0 {
			t.Error("a removed cluster is still there")
		}
	})
}

func TestOriginalDestinationsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stop := newRig(t, Options{})
		defer stop()
		cfg := &plan.Cluster{Name: "PassthroughCluster", Discovery: plan.OriginalDestination, OriginalDst: plan.OriginalDstOptions{CleanupInterval: 5 * time.Second}}
		r.apply(cfg)
		c := Of(cfg)
		choice := Choice{OriginalDst: netip.MustParseAddrPort("10.9.9.9:443")}
		h := c.Pick(&choice)
		if h == nil || h.Addr().String() != "10.9.9.9:443" || c.Pick(&choice) != h {
			t.Fatalf("picked %v", h)
		}
		if c.Pick(&Choice{}) != nil {
			t.Error("without an address there is no host")
		}
		time.Sleep(30 * time.Second)
		c.mu.Lock()
		left := len(c.hosts)
		c.mu.Unlock()
		if left != 0 {
			t.Errorf("%d unused hosts are left", left)
		}
		r.apply()
		if h := c.Pick(&choice); h == nil || h.Addr().String() != "10.9.9.9:443" {
			t.Errorf("a request that was routed to the cluster before it was removed gets %v", h)
		}
	})
}

func TestConnectFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stop := newRig(t, Options{Dial: func(string) Dialer {
			return func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		}})
		defer stop()
		cfg := &plan.Cluster{Name: "a", ConnectTimeout: 2 * time.Second, Limits: [2]plan.CircuitBreaker{{MaxConnections: 1, MaxPendingRequests: 9}},
			Endpoints: endpoints(plan.Endpoint{Address: plan.Address{IP: netip.MustParseAddrPort("10.0.0.1:80")}})}
		r.apply(cfg)
		h := Of(cfg).Pick(&Choice{})
		start := time.Now()
		_, err := h.Connect(t.Context(), &ConnectOptions{})
		var ce *ConnectError
		if !errors.As(err, &ce) || !ce.Timeout || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		go h.Connect(t.Context(), &ConnectOptions{}) //nolint:errcheck // only to use up the limit
		synctest.Wait()
		if _, err := h.Connect(t.Context(), &ConnectOptions{}); !errors.As(err, &ce) || !ce.Overflow {
			t.Errorf("beyond max_connections: %v", err)
		}
		time.Sleep(3 * time.Second)
	})
}

// TestIdleConnectionsElsewhere: at the limit of connections, one that idles on another shard is used, and one that idles
// towards another host makes room.
func TestIdleConnectionsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		r, stop := newRig(t, Options{Shards: 2, Dial: func(string) Dialer {
			return func(context.Context, string, string) (net.Conn, error) {
				dials++
				near, far := net.Pipe()
				t.Cleanup(func() { far.Close() })
				return near, nil
			}
		}})
		defer stop()
		cfg := &plan.Cluster{Name: "a", ConnectTimeout: 2 * time.Second, Limits: [2]plan.CircuitBreaker{{MaxConnections: 1, MaxPendingRequests: 9}},
			Endpoints: endpoints(plan.Endpoint{Address: plan.Address{IP: netip.MustParseAddrPort("10.0.0.1:80")}},
				plan.Endpoint{Address: plan.Address{IP: netip.MustParseAddrPort("10.0.0.2:80")}})}
		r.apply(cfg)
		hosts := Of(cfg).Hosts()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		take := func(h *Host, shard uint32) *h1.Upstream {
			u, err := h.Exchange(ctx, &Ask{ConnectOptions: ConnectOptions{Shard: shard}})
			if err != nil {
				t.Fatal(err)
			}
			return u.(*h1.Upstream)
		}
		first := take(hosts[0], 0)
		hosts[0].pool(0, variant{}).Idle(first)
		if again := take(hosts[0], 1); again != first || dials != 1 {
			t.Errorf("another shard opened a connection: %d dials", dials)
		}
		hosts[0].pool(0, variant{}).Idle(first)
		if other := take(hosts[1], 1); other == first || dials != 2 {
			t.Errorf("another host's connection was not made room for: %d dials", dials)
		} else {
			other.Discard()
		}
	})
}
