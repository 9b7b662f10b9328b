package source

import (
	"fmt"
	"time"

	"lateen.dev/lateen/config"
)

// State is how a source that depends on something far away is doing.
type State string

// The states of a source.
const (
	// Waiting: it has never heard from where its objects are.
	Waiting State = "waiting"
	// Ready: it has the whole set, and hears of changes.
	Ready State = "ready"
	// Failing: what it heard last stays live until it hears more.
	Failing State = "failing"
	// Stale: it has not been heard from since the start, and what it said before
	// that is live.
	Stale State = "stale"
)

// Condition is what such a source says of itself.
type Condition struct {
	Source string `json:"source"`
	State  State  `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since,omitzero"`
	// Heard is when something last came from there.
	Heard time.Time `json:"heard,omitzero"`
	// Objects and Revision are of what is live.
	Objects  int    `json:"objects"`
	Revision uint64 `json:"revision"`
	// Failures counts what went wrong since the start.
	Failures uint64 `json:"failures"`
	// Reason is what went wrong last, empty while the source is Ready.
	Reason string `json:"reason,omitempty"`
}

// Conditioned is a Source that can fail while it runs.
type Conditioned interface {
	Source
	// Condition is safe to call at any time.
	Condition() Condition
}

// Problem is what there is to complain about; ok is false when it is nothing.
func (c *Condition) Problem() (p config.Problem, ok bool) {
	code := config.CodeSourceUnavailable
	p = config.Problem{Severity: config.Error, Code: code.ID, Name: code.Name, Position: config.Position{File: c.Source}}
	switch {
	case c.State == Failing:
		p.Message = fmt.Sprintf("the source fails since %s; what it had, %d objects, stays live: %s", c.Since.UTC().Format(time.RFC3339), c.Objects, c.Reason)
	case c.State == Stale:
		reason := c.Reason
		if reason == "" {
			reason = "no answer yet"
		}
		p.Message = fmt.Sprintf("nothing has come from the source since the start; what it said before %s, %d objects, is live: %s",
			c.Heard.UTC().Format(time.RFC3339), c.Objects, reason)
	case c.State == Waiting && c.Reason != "":
		p.Message = "nothing has come from the source yet: " + c.Reason
	default:
		return config.Problem{}, false
	}
	return p, true
}

// Progress keeps a Condition. It has no lock: its owner's guards it.
type Progress struct {
	c Condition
}

// NewProgress begins in Waiting.
func NewProgress(name string, now time.Time) Progress {
	return Progress{Condition{Source: name, State: Waiting, Since: now}}
}

// Condition is the present one.
func (p *Progress) Condition() Condition { return p.c }

// Ready notes that the source has the whole set and hears of changes.
func (p *Progress) Ready(now time.Time) {
	p.enter(Ready, now)
	p.c.Heard, p.c.Reason = now, ""
}

// Fail notes a failure. A source that never was Ready keeps waiting.
func (p *Progress) Fail(now time.Time, reason string) {
	p.c.Failures++
	p.c.Reason = reason
	if p.c.State == Ready {
		p.enter(Failing, now)
	}
}

// Applied notes what is live after a batch.
func (p *Progress) Applied(objects int, revision uint64) {
	p.c.Objects, p.c.Revision = objects, revision
}

func (p *Progress) enter(s State, now time.Time) {
	if p.c.State != s {
		p.c.State, p.c.Since = s, now
	}
}
