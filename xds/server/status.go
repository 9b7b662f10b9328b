package server

import "time"

// ClientStatus is the ledger's page for one client. It is a copy: keep it as
// long as you like.
type ClientStatus struct {
	Client
	// Delta tells the incremental protocol from state-of-the-world.
	Delta bool
	// Revision is the newest one of which the client has acknowledged, or
	// refused, everything; 0 before the first.
	Revision uint64
	// History tells when it reached that and the ones before, oldest first. Of
	// older ones it has only some.
	History []Reached
	// Types holds a line for each type that the client subscribed to, in the
	// order of additions.
	Types []TypeStatus
}

// Reached is a revision of which a client had everything for the first time.
type Reached struct {
	Revision uint64
	Time     time.Time
}

// HasSince tells since when the client has the revision, or a newer one in its
// place. Of what was long ago it may give a later time, that of the next revision
// which is remembered.
func (c *ClientStatus) HasSince(revision uint64) (since time.Time, has bool) {
	for _, r := range c.History {
		if r.Revision >= revision {
			return r.Time, true
		}
	}
	return time.Time{}, false
}

// TypeStatus tells what one client has of one type.
type TypeStatus struct {
	TypeURL string
	// Names is the number of names subscribed to; Wildcard means all.
	Names    int
	Wildcard bool
	// Wanted and Acked are versions of the type as a whole, of the newest state
	// and of the last time when the client had all of one.
	Wanted, Acked string
	// WantedRevision is that of the newest state, AckedRevision the newest that
	// the client has.
	WantedRevision, AckedRevision uint64
	// Since is when the present status began: synced, or waiting.
	Since time.Time
	// Sent is false as long as nothing has been sent.
	Sent bool
	// Refused lists what the client refused and still lacks; LastNack is the
	// last refusal, even if mended since.
	Refused  []Refused
	LastNack *Nack
}

// Refused is one resource version that a client would not take.
type Refused struct {
	Name     string
	Version  string
	Revision uint64
	// After is the revision that the client had all of before it refused this
	// version, and those before it that it refused too: what it would not take
	// came with the revisions after that.
	After uint64
	// Reason is what the client said when it refused it.
	Reason string
}

// Blames tells whether what the revision brought may be why the client refused
// the resource.
func (r *Refused) Blames(revision uint64) bool { return r.After < revision && revision <= r.Revision }

// Nack is a refusal in the client's words.
type Nack struct {
	// Names are the refused resources as far as the message tells; all of the
	// response if it does not.
	Names    []string
	Reason   string
	Time     time.Time
	Revision uint64
}

// Sync status of a type, in istioctl's words.
const (
	Synced  = "SYNCED"
	Stale   = "STALE"
	NotSent = "NOT SENT"
	Errored = "ERROR"
)

// Status is the type's state in one word of istioctl's proxy-status.
func (t *TypeStatus) Status() string {
	switch {
	case !t.Sent:
		return NotSent
	case len(t.Refused) > 0:
		return Errored
	case t.AckedRevision < t.WantedRevision:
		return Stale
	}
	return Synced
}

// WaitResult is the answer to "who has revision N".
type WaitResult struct {
	// Acked is the number of clients that have it.
	Acked int
	// Pending are clients that have not answered yet; empty when all have.
	Pending []ClientStatus
	// Refused are the refusals of what the revision, or a later one, brought.
	Refused []RefusedBy
}

// RefusedBy is a client's refusal.
type RefusedBy struct {
	Client  Client
	TypeURL string
	Nack    Nack
}
