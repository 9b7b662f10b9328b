package app

import "time"

// pace says how long translation rests after a Snapshot, so that in a storm Snapshots merge and most of the time is left for
// hearing from the clients. What has been worked lately is a debt that rests pay back. Changes that few clients see make
// little of it, and rarely wait for long; neither does a single one that everybody sees. A stream of such
// changes leads to as much rest as work, as long as no single one takes very long.
type pace struct {
	debt time.Duration
	last time.Time // of which debt is
}

const (
	// restFactor is how many times as long as its work translation rests, as long as
	// that is no more than restMost: looking for whom a change concerns has its price, too.
	restFactor = 4
	restMost   = 20 * time.Millisecond
	// workAhead is how much may be worked without more rest than that.
	workAhead = 150 * time.Millisecond
	// mostRest bounds every rest, and with it how long a change can wait for one.
	mostRest = 100 * time.Millisecond
)

// rest is how long to rest after work that began and ended then.
func (p *pace) rest(began, ended time.Time) time.Duration {
	took := ended.Sub(began)
	p.debt = min(max(0, p.debt-began.Sub(p.last))+took, workAhead+mostRest)
	p.last = ended
	return max(min(restFactor*took, restMost), p.debt-workAhead)
}
