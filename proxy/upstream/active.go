package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/check"
)

// startChecks begins the active health checks of the hosts that are there; those that come later are checked, too.
func (c *Cluster) startChecks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.Config().HealthChecks) == 0 || c.checking {
		return
	}
	c.checking = true
	for _, h := range c.hosts {
		c.checkLocked(h)
	}
}

// checkLocked starts a host's checks, which end when it is removed.
func (c *Cluster) checkLocked(h *Host) {
	if h.Endpoint().NoHealthCheck {
		h.unhealthy.Store(false)
		return
	}
	ctx, cancel := context.WithCancel(c.set.ctx)
	h.stopChecks = cancel
	cfg := &c.Config().HealthChecks[0]
	c.set.run(func() { h.check(ctx, cfg) })
}

// stopLocked ends the host's checks.
func (h *Host) stopLocked() {
	if h.stopChecks != nil {
		h.stopChecks()
		h.stopChecks = nil
	}
}

// check checks the host until ctx ends.
func (h *Host) check(ctx context.Context, cfg *plan.HealthCheck) {
	checker, err := check.New(cfg, check.Target{Host: h.checkName(), Dial: func(ctx context.Context) (net.Conn, error) { return h.dialCheck(ctx, cfg) }})
	if err != nil {
		return // it is a programming error of grpc's; the host stays as it is
	}
	defer checker.Close()
	c := h.cluster
	var state check.State
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.Stats.Inc(0, HealthAttempt)
		trying, cancel := context.WithTimeout(ctx, cfg.Timeout)
		result, _ := checker.Check(trying) // why it failed is seen in the statistics of connections
		cancel()
		if ctx.Err() != nil {
			return
		}
		if result == check.Passed {
			c.Stats.Inc(0, HealthSuccess)
		} else {
			c.Stats.Inc(0, HealthFailure)
		}
		if state.Step(result, cfg) {
			c.judge(h, state.Healthy)
		}
		timer.Reset(state.Next(cfg, c.Stats.Value(CxTotal) > 0, rand.Float64()))
	}
}

// judge takes what the checks have found out.
func (c *Cluster) judge(h *Host, healthy bool) {
	c.mu.Lock()
	was := h.unhealthy.Swap(!healthy)
	if was == healthy {
		if healthy {
			h.since = time.Now() // it warms up anew
		}
		c.rebuildLocked(c.assignmentLocked())
	}
	c.mu.Unlock()
	if !healthy && c.Config().CloseOnHealthFailure {
		h.eachPool((*pool).closeIdle)
	}
}

// checkName is the host header of checks that name none.
func (h *Host) checkName() string {
	e := h.Endpoint()
	switch {
	case e.HealthCheckHost != "":
		return e.HealthCheckHost
	case e.Hostname != "":
		return e.Hostname
	}
	return h.cluster.Name
}

// dialCheck opens a connection for a check, which no statistics and circuit breakers count.
func (h *Host) dialCheck(ctx context.Context, cfg *plan.HealthCheck) (net.Conn, error) {
	network, address := h.where()
	if a := h.Endpoint().HealthCheckAddress; a != nil {
		if network, address = "tcp", a.IP.String(); !a.IP.IsValid() {
			network, address = "unix", a.Path
		}
	}
	o := &ConnectOptions{}
	if t := h.cluster.Config().TLSFor(h.Endpoint()); t != nil && len(t.ALPN) == 0 && (cfg.HTTP2 || cfg.Kind == plan.CheckGRPC) {
		o.ALPN = []string{"h2"}
	}
	l, err := h.openAt(ctx, network, address, o, cfg.Timeout)
	if err != nil {
		return nil, fmt.Errorf("health check: %w", err)
	}
	return &netConn{link: l, end: func() { _ = l.Conn.Close() }}, nil // what closing it could report has no reader
}
