package proxy

import (
	"sync/atomic"

	"lateen.dev/lateen/proxy/hcm"
	"lateen.dev/lateen/proxy/plan"
)

// prepared marks a listener whose chains have their runtimes.
type prepared struct{}

// Prepare implements plan.Engine.
func (p *Proxy) Prepare(prev, next *plan.Plan) {
	if prev == nil {
		prev = &plan.Plan{}
	}
	p.clusters.Prepare(prev, next)
	for _, l := range next.Listeners {
		if l.Runtime == nil {
			p.prepareListener(l)
			l.Runtime = prepared{}
		}
	}
}

// Activate implements plan.Engine.
func (p *Proxy) Activate(_, next *plan.Plan) []plan.Rejection {
	p.clusters.Activate(next)
	return p.listeners.Activate(next)
}

func (p *Proxy) prepareListener(l *plan.Listener) {
	p.openLogs(l.AccessLogs)
	for _, mc := range l.Chains.Chains() {
		p.prepareChain(l, mc.Chain)
	}
	if d := l.Chains.Default(); d != nil {
		p.prepareChain(l, d)
	}
}

func (p *Proxy) prepareChain(l *plan.Listener, c *plan.FilterChain) {
	if c.TLS != nil && c.TLS.Runtime == nil {
		server, err := p.transport.Server(c.TLS, c.TransportTimeout)
		if err != nil {
			// The chain's connections will be refused, with this as the reason in the log.
			p.opts.Logger.Error("filter chain", "listener", l.Name, "chain", c.Name, "error", err)
		} else {
			c.TLS.Runtime = server
		}
	}
	for i := range c.Filters {
		switch f := c.Filters[i].Config.(type) {
		case *plan.HTTPConnectionManager:
			p.prepareManager(l, f)
		case *plan.TCPProxy:
			p.openLogs(f.AccessLogs)
		case *plan.ConnectionLimit:
			if f.Runtime == nil {
				f.Runtime = new(atomic.Int64)
			}
		}
	}
}

func (p *Proxy) prepareManager(l *plan.Listener, cfg *plan.HTTPConnectionManager) {
	p.openLogs(cfg.AccessLogs)
	if cfg.Runtime != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := statKey{l.Name, cfg.StatPrefix}
	m := hcm.New(p.http, cfg, l.Direction, p.opts.Shards, p.stats[key])
	p.stats[key] = m.Stats
	cfg.Runtime = m
}

// openLogs gives access logs their sinks. Logs of one path share one, which stays open until Shutdown.
func (p *Proxy) openLogs(logs []*plan.AccessLog) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range logs {
		if l.Runtime != nil || l.Path == "" {
			continue
		}
		sink := p.sinks[l.Path]
		if sink == nil {
			var err error
			if sink, err = p.opts.OpenLog(l.Path); err != nil {
				p.opts.Logger.Error("access log", "path", l.Path, "error", err)
				continue
			}
			p.sinks[l.Path] = sink
		}
		l.Runtime = sink
	}
}
