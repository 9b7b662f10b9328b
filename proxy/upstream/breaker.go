package upstream

import (
	"sync/atomic"

	"lateen.dev/lateen/proxy/plan"
)

// breaker counts what a cluster's circuit breaker of one routing priority limits.
type breaker struct {
	connections, pending, requests, retries atomic.Int64
}

// take counts one against a limit and reports whether it fits. Nothing is counted when it doesn't.
func take(n *atomic.Int64, limit uint32) bool {
	if n.Add(1) <= int64(limit) {
		return true
	}
	n.Add(-1)
	return false
}

// BeginRequest counts a request against max_requests. Every true is answered by one EndRequest.
func (c *Cluster) BeginRequest(priority uint8) bool {
	limits := c.Config().Limits[priority&1]
	return take(&c.breakers[priority&1].requests, limits.MaxRequests)
}

// EndRequest takes a request back.
func (c *Cluster) EndRequest(priority uint8) { c.breakers[priority&1].requests.Add(-1) }

// BeginRetry counts a retry against max_retries or the retry budget. Every true is answered by one EndRetry.
func (c *Cluster) BeginRetry(shard uint32, priority uint8) bool {
	b, limits := &c.breakers[priority&1], c.Config().Limits[priority&1]
	if take(&b.retries, retryLimit(limits, b.requests.Load()+b.pending.Load())) {
		return true
	}
	c.Stats.Inc(shard, RqRetryOverflow)
	return false
}

// EndRetry takes a retry back.
func (c *Cluster) EndRetry(priority uint8) { c.breakers[priority&1].retries.Add(-1) }

// retryLimit is max_retries, or the budget's share of the active requests.
func retryLimit(limits plan.CircuitBreaker, active int64) uint32 {
	b := limits.RetryBudget
	if b == nil {
		return limits.MaxRetries
	}
	return max(b.MinConcurrency, uint32(float64(active)*b.Percent/100))
}

// Open tells which limits of a routing priority are reached: connections, pending requests, requests, retries.
func (c *Cluster) Open(priority uint8) (cx, pending, rq, retry bool) {
	b, l := &c.breakers[priority&1], c.Config().Limits[priority&1]
	return b.connections.Load() >= int64(l.MaxConnections), b.pending.Load() >= int64(l.MaxPendingRequests),
		b.requests.Load() >= int64(l.MaxRequests), b.retries.Load() >= int64(retryLimit(l, b.requests.Load()))
}
