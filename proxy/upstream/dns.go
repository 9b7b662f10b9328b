package upstream

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"lateen.dev/lateen/proxy/plan"
)

// Resolver looks names up. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// dnsState is what a DNS cluster knows of its names. It is guarded by the cluster's mu.
type dnsState struct {
	addrs    map[string][]netip.Addr // by name
	resolved *plan.Endpoints
	cancel   context.CancelFunc
}

// defaultRefresh is how often names are looked up, and lookupTimeout how long that may take.
const (
	defaultRefresh = 5 * time.Second
	lookupTimeout  = 10 * time.Second
)

func isDNS(d plan.DiscoveryType) bool { return d == plan.StrictDNS || d == plan.LogicalDNS }

// adoptResolved starts with the addresses that the cluster's predecessor had, so that a change of settings never
// leaves a moment without hosts.
func (c *Cluster) adoptResolved(before *Cluster) {
	before.mu.Lock()
	addrs := before.dns.addrs
	before.mu.Unlock()
	c.dns.addrs = addrs
	if len(addrs) > 0 {
		c.resolvedTo(addrs)
	}
}

// resolve looks the cluster's names up until ctx ends.
func (c *Cluster) resolve(ctx context.Context) {
	failures := 0
	for {
		wait := c.Config().DNS.Refresh
		if wait <= 0 {
			wait = defaultRefresh
		}
		if c.resolveOnce(ctx) {
			failures = 0
		} else {
			failures++
			wait = c.failureWait(failures, wait)
		}
		if j := c.Config().DNS.Jitter; j > 0 {
			wait += rand.N(j)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// failureWait is an exponential backoff within the configured bounds.
func (c *Cluster) failureWait(failures int, refresh time.Duration) time.Duration {
	o := c.Config().DNS
	if o.FailureBase <= 0 {
		return min(refresh, time.Second<<min(failures-1, 10))
	}
	wait := o.FailureBase << min(failures-1, 10)
	return min(wait, max(o.FailureMax, o.FailureBase))
}

// resolveOnce looks every name up. Names that fail keep the addresses that they had.
func (c *Cluster) resolveOnce(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	cfg := c.Config()
	c.mu.Lock()
	known := c.dns.addrs
	c.mu.Unlock()
	addrs, ok := map[string][]netip.Addr{}, true
	eachEndpoint(cfg.Endpoints, func(e *plan.Endpoint) {
		name := e.Address.Host
		if name == "" || addrs[name] != nil {
			return
		}
		got, err := lookup(ctx, c.set.opts.Resolver, name, cfg.DNS.Family)
		if err != nil {
			ok = false
			got = known[name]
			c.Stats.Inc(0, UpdateFailure)
		}
		addrs[name] = got
	})
	if ctx.Err() == nil {
		c.resolvedTo(addrs)
	}
	return ok
}

func eachEndpoint(e *plan.Endpoints, f func(*plan.Endpoint)) {
	if e == nil {
		return
	}
	for p := range e.Priorities {
		for l := range e.Priorities[p].Localities {
			list := e.Priorities[p].Localities[l].Endpoints
			for i := range list {
				f(&list[i])
			}
		}
	}
}

func lookup(ctx context.Context, r Resolver, name string, family plan.DNSFamily) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	network := "ip"
	switch family {
	case plan.V4Only:
		network = "ip4"
	case plan.V6Only:
		network = "ip6"
	}
	got, err := r.LookupNetIP(ctx, network, name)
	if err != nil {
		return nil, err
	}
	for i := range got {
		got[i] = got[i].Unmap()
	}
	slices.SortFunc(got, netip.Addr.Compare)
	return preferred(slices.Compact(got), family), nil
}

// preferred keeps one family where only one is wanted.
func preferred(addrs []netip.Addr, family plan.DNSFamily) []netip.Addr {
	if family != plan.FamilyAuto && family != plan.V4Preferred {
		return addrs
	}
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	first, second := v6, v4
	if family == plan.V4Preferred {
		first, second = v4, v6
	}
	if len(first) > 0 {
		return first
	}
	return second
}

// resolvedTo makes endpoints of the addresses and takes them over if anything has changed.
func (c *Cluster) resolvedTo(addrs map[string][]netip.Addr) {
	cfg := c.Config()
	e := expand(cfg.Endpoints, addrs, cfg.Discovery == plan.LogicalDNS)
	c.mu.Lock()
	same := c.dns.resolved != nil && sameAddresses(c.dns.resolved, e)
	c.dns.addrs = addrs
	var gone []*Host
	if !same {
		c.dns.resolved = e
		gone = c.updateLocked(e)
	}
	c.mu.Unlock()
	for _, h := range gone {
		h.remove()
	}
}

// expand puts the addresses in the place of names: all of them, or for LOGICAL_DNS the first.
func expand(in *plan.Endpoints, addrs map[string][]netip.Addr, first bool) *plan.Endpoints {
	if in == nil {
		return &plan.Endpoints{}
	}
	out := *in
	out.Priorities = make([]plan.Priority, len(in.Priorities))
	for p := range in.Priorities {
		for _, l := range in.Priorities[p].Localities {
			to := l
			to.Endpoints = nil
			for _, e := range l.Endpoints {
				if e.Address.Host == "" {
					to.Endpoints = append(to.Endpoints, e)
					continue
				}
				list := addrs[e.Address.Host]
				if first && len(list) > 1 {
					list = list[:1]
				}
				for _, a := range list {
					r := e
					r.Address.IP = netip.AddrPortFrom(a, e.Address.Port)
					if r.Hostname == "" {
						r.Hostname = e.Address.Host
					}
					to.Endpoints = append(to.Endpoints, r)
				}
			}
			out.Priorities[p].Localities = append(out.Priorities[p].Localities, to)
		}
	}
	return &out
}

func sameAddresses(a, b *plan.Endpoints) bool {
	var x, y []netip.AddrPort
	eachEndpoint(a, func(e *plan.Endpoint) { x = append(x, e.Address.IP) })
	eachEndpoint(b, func(e *plan.Endpoint) { y = append(y, e.Address.IP) })
	return slices.Equal(x, y)
}
