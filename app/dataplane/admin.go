package dataplane

import (
	"context"
	"net"
	"net/netip"
	"time"

	"lateen.dev/lateen/proxy"
	"lateen.dev/lateen/proxy/admin"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
)

// listenAdmin opens the admin address.
func listenAdmin(a netip.AddrPort) (net.Listener, error) {
	return admin.Listen(context.Background(), plan.Address{IP: a})
}

// serveAdmin serves the admin pages until ctx ends.
func (p *Proxy) serveAdmin(ctx context.Context, l net.Listener) error {
	return admin.Serve(ctx, l, admin.Handler(p.adminOptions()))
}

func (p *Proxy) adminOptions() admin.Options {
	o := admin.Options{
		Store: p.store, Current: p.current, Bootstrap: p.bootstrap, Hosts: p.hosts, Bound: p.bound, Stats: p.stats,
		Prometheus: p.metrics.Handler(), Levels: p.config.Scopes, Quit: p.Quit,
		Drain: func(d admin.Drain) {
			p.engine.DrainListeners(proxy.DrainOptions{InboundOnly: d.InboundOnly, Graceful: d.Graceful, SkipExit: d.SkipExit})
		},
		FailHealthCheck: p.failHealthCheck,
		Info:            admin.Info{Version: p.config.Version, Start: time.Now(), Node: p.node, Draining: p.engine.Draining},
	}
	if p.restart != nil && p.restart.post != nil {
		o.Info.HotRestart, o.Info.Epoch = true, p.restart.epoch()
	}
	if p.dns != nil {
		o.Resolve = func(_ context.Context, host string) []netip.Addr {
			addrs, _ := p.dns.Table().Lookup(host)
			return addrs
		}
	}
	return o
}

func (p *Proxy) failHealthCheck(fail bool) {
	if fail {
		p.engine.FailHealthCheck()
	} else {
		p.engine.PassHealthCheck()
	}
}

// bound are the addresses that a listener accepts on.
func (p *Proxy) bound(listener string) []string {
	var list []string
	for _, a := range p.engine.Listening(listener) {
		list = append(list, a.String())
	}
	return list
}

// hosts are a cluster's hosts with their statistics.
func (p *Proxy) hosts(cluster string) []admin.Host {
	c := p.engine.Clusters()[cluster]
	if c == nil {
		return nil
	}
	var list []admin.Host
	for _, h := range c.Hosts() {
		list = append(list, hostOf(h))
	}
	return list
}

func hostOf(h *upstream.Host) admin.Host {
	e := h.Endpoint()
	out := admin.Host{Address: h.Name(), Hostname: e.Hostname, Weight: e.Weight, Priority: h.Priority(), Health: e.Health, Ejected: h.Ejected(), FailedCheck: h.FailsChecks()}
	if h.Addr().IsValid() {
		out.Address = h.Addr().String()
	}
	s := &h.Stats
	out.Stats = []admin.HostStat{
		{Name: "cx_active", Value: s.CxActive.Load(), Gauge: true}, {Name: "cx_connect_fail", Value: s.CxConnectFail.Load()},
		{Name: "cx_total", Value: s.CxTotal.Load()}, {Name: "rq_active", Value: h.Active(), Gauge: true},
		{Name: "rq_error", Value: s.RqError.Load()}, {Name: "rq_success", Value: s.RqSuccess.Load()},
		{Name: "rq_timeout", Value: s.RqTimeout.Load()}, {Name: "rq_total", Value: s.RqTotal.Load()},
	}
	return out
}
