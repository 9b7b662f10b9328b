package upstream

import (
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/sock"
)

// original returns the host of an ORIGINAL_DST cluster for an address, making it on first use.
func (c *Cluster) original(addr netip.AddrPort) *Host {
	if !addr.IsValid() {
		return nil
	}
	if port := c.Config().OriginalDst.Port; port != 0 {
		addr = netip.AddrPortFrom(addr.Addr(), port)
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	key := hostKey{addr: addr, socket: -1}
	if h := c.originals.find(key); h != nil {
		return h
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[key]
	if h == nil {
		h = newHost(c, key, &plan.Endpoint{Address: plan.Address{IP: addr}, Weight: 1, TransportSocket: -1})
		if c.closed {
			// A request that was routed by the plan before, which had this cluster, is served by it: nobody else will use the host.
			h.remove()
			return h
		}
		c.hosts[key] = h
		c.Stats.Inc(0, MembershipChange)
	}
	c.originals.publish(c.hosts)
	return h
}

// forgetOriginals drops hosts of an ORIGINAL_DST cluster that nobody has used for a while.
func (c *Cluster) forgetOriginals(now sock.Instant) {
	cfg := c.Config()
	if cfg.Discovery != plan.OriginalDestination {
		return
	}
	interval := cfg.OriginalDst.CleanupInterval
	if interval <= 0 {
		interval = 5 * time.Second
	}
	if last := c.originals.swept; last != 0 && now.Sub(last) < interval {
		return
	}
	c.originals.swept = now
	var gone []*Host
	c.mu.Lock()
	for key, h := range c.hosts {
		idle := h.active.Load() == 0 && h.Stats.CxActive.Load() == 0
		if idle && h.unused.Swap(true) {
			delete(c.hosts, key)
			gone = append(gone, h)
		}
	}
	if len(gone) > 0 {
		c.originals.publish(c.hosts)
	}
	c.mu.Unlock()
	for _, h := range gone {
		h.remove()
	}
}

// originals is the table of an ORIGINAL_DST cluster's hosts that requests read without a lock.
type originals struct {
	table atomic.Pointer[map[hostKey]*Host]
	swept sock.Instant // the housekeeper's
}

func (o *originals) find(key hostKey) *Host {
	t := o.table.Load()
	if t == nil {
		return nil
	}
	h := (*t)[key]
	if h != nil && h.unused.Load() {
		h.unused.Store(false)
	}
	return h
}

func (o *originals) publish(hosts map[hostKey]*Host) {
	t := maps.Clone(hosts)
	o.table.Store(&t)
}
