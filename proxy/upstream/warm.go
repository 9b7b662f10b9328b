package upstream

import (
	"math"
	"time"

	"lateen.dev/lateen/proxy/plan"
)

// fullShare is the weight by which endpoints' weights are multiplied while any of a cluster's hosts warms up, so that a
// part of a small weight is still a number.
const fullShare = 100

// share is the part of its weight that a host has which is there since then, out of fullShare.
func share(s *plan.SlowStart, there time.Duration) uint32 {
	if there >= s.Window {
		return fullShare
	}
	progress := max(there.Seconds(), 1) / s.Window.Seconds()
	part := math.Max(s.MinWeightPercent/100, math.Pow(progress, 1/s.Aggression))
	return uint32(math.Max(1, math.Min(1, part)*fullShare))
}

// warmingLocked tells whether any host has been there for less than the slow start window.
func (c *Cluster) warmingLocked(now time.Time) bool {
	s := c.Config().SlowStart
	if s == nil {
		return false
	}
	for _, h := range c.hosts {
		if now.Sub(h.since) < s.Window {
			return true
		}
	}
	return false
}

// warm raises the weights of hosts that warm up.
func (c *Cluster) warm() {
	if c.Config().SlowStart == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warming { // once more when the last one is warm
		c.rebuildLocked(c.assignmentLocked())
	}
}
