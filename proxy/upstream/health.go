package upstream

import (
	"math/rand/v2"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/outlier"
)

func (c *Cluster) setOutlier(cfg *plan.Cluster) {
	if cfg.Outlier == nil {
		return
	}
	c.detector = outlier.New(*cfg.Outlier)
}

// Report tells how an exchange with the host ended: by a response code, or, with local set, without an answer. A
// success on a host that is doing well costs two additions.
func (h *Host) Report(code int, local bool) {
	ok := !local && code < 500
	if ok {
		h.Stats.RqSuccess.Add(1)
	} else {
		h.Stats.RqError.Add(1)
	}
	c := h.cluster
	if c.Config().Outlier == nil {
		return
	}
	h.interval.requests.Add(1)
	if ok {
		if h.failing.Load() {
			c.mu.Lock()
			h.failing.Store(false)
			c.detector.Succeeded(&h.state)
			c.mu.Unlock()
		}
		return
	}
	h.interval.failures.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	h.failing.Store(true)
	if a, hit := c.detector.Failed(time.Now(), &h.state, outlier.Result{Code: code, Local: local}, percent()); hit {
		c.applyLocked(a)
	}
}

func percent() uint32 { return rand.Uint32N(100) }

// applyLocked carries out what the detector decided.
func (c *Cluster) applyLocked(a outlier.Action) {
	for _, h := range c.view.Load().hosts {
		if &h.state != a.Host {
			continue
		}
		h.ejected.Store(a.Eject)
		if a.Eject {
			c.Stats.Inc(0, EjectionsActive)
			c.Stats.Inc(0, EjectionsEnforcedTotal)
		} else {
			c.Stats.Add(0, EjectionsActive, -1)
		}
	}
	c.rebuildLocked(c.assignmentLocked())
}

// assignmentLocked is the load assignment that the present hosts come from.
func (c *Cluster) assignmentLocked() *plan.Endpoints {
	if e := c.dns.resolved; e != nil {
		return e
	}
	return c.Config().Endpoints
}

// tick lets outlier detection end an interval if it is time.
func (c *Cluster) tick(now time.Time) {
	cfg := c.Config().Outlier
	if cfg == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticked != 0 && now.UnixNano()-c.ticked < int64(cfg.Interval) {
		return
	}
	first := c.ticked == 0
	c.ticked = now.UnixNano()
	if first {
		return
	}
	var volumes []outlier.Volume
	for _, h := range c.view.Load().hosts {
		volumes = append(volumes, outlier.Volume{
			Host: &h.state, Requests: h.interval.requests.Swap(0), Failures: h.interval.failures.Swap(0),
		})
	}
	for _, a := range c.detector.Tick(now, volumes, percent) {
		c.applyLocked(a)
	}
}
