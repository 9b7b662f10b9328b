package check

import (
	"time"

	"lateen.dev/lateen/proxy/plan"
)

// Result is how a check ended.
type Result uint8

// The results.
const (
	Passed Result = iota
	// Failed means that the host has answered, and that it is not well: one of these is enough.
	Failed
	// Unreachable means that it has not answered, or not in time: unhealthy_threshold of these in a row count.
	Unreachable
)

// State is what is known of a host's health. The zero value is that of a host that has not been checked.
type State struct {
	Known, Healthy bool
	passed, failed uint32 // in a row
}

// Step takes a result, and tells whether the host's health is another than before, or known for the first time.
func (s *State) Step(r Result, c *plan.HealthCheck) (changed bool) {
	healthy := s.Healthy
	if r == Passed {
		s.passed, s.failed = s.passed+1, 0
		healthy = healthy || !s.Known || s.passed >= c.HealthyThreshold // one is enough at first
	} else {
		s.passed, s.failed = 0, s.failed+1
		if r == Failed || !s.Known || s.failed >= c.UnhealthyThreshold {
			healthy = false
		}
	}
	changed = healthy != s.Healthy || !s.Known
	s.Known, s.Healthy = true, healthy
	return changed
}

// Next is how long to wait for the next check. busy says that the cluster has had traffic, random is within [0, 1).
func (s *State) Next(c *plan.HealthCheck, busy bool, random float64) time.Duration {
	wait := c.Interval
	switch {
	case !busy:
		wait = c.NoTrafficInterval
	case !s.Healthy:
		wait = c.UnhealthyInterval
	}
	return wait + time.Duration(random*float64(c.IntervalJitter))
}
