package server

import (
	"cmp"
	"slices"
	"time"
)

// convergence measures how long each change takes to its last client. The
// ledger's lock guards it.
type convergence struct {
	metrics Metrics
	// open are the changes that some client lacks, by revision.
	open   []openChange
	newest uint64
}

// openChange is one of them.
type openChange struct {
	revision uint64
	at       time.Time
	// waits is the number of clients that lack it.
	waits int
}

// maxOpen changes are followed; a client that has answered nothing for so long
// keeps none of them open any longer.
const maxOpen = 1024

// Begin tells that a revision with a change of that time is about to be offered to
// the clients. Its time counts until the last of those has answered that are
// connected now, and have had all of a revision before: one that is busy with its
// first configuration is not late with a change.
func (l *Ledger) Begin(revision uint64, changed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.changes
	if revision <= c.newest {
		return
	}
	c.newest = revision
	one := openChange{revision: revision, at: changed}
	for _, r := range l.clients {
		if r.acked > 0 && r.acked < revision {
			one.waits++
		}
	}
	if one.waits == 0 {
		return
	}
	if len(c.open) == maxOpen {
		c.close(0, 1, time.Now())
	}
	c.open = append(c.open, one)
}

// reached notes that a client has all of a revision.
func (c *convergence) reached(r *record, acked uint64, now time.Time) {
	if r.acked == 0 {
		r.counted = c.newest
		return
	}
	c.answer(r, acked, now)
}

// left notes that nobody needs to wait for a client any more.
func (c *convergence) left(r *record) {
	if r.acked > 0 {
		c.answer(r, c.newest, time.Now())
	}
}

// answer takes the client out of the changes up to a revision.
func (c *convergence) answer(r *record, upTo uint64, now time.Time) {
	from, to := c.after(max(r.acked, r.counted)), c.after(upTo)
	for i := from; i < to; i++ {
		c.open[i].waits--
	}
	for i := from; i < to; {
		end := i
		for end < to && c.open[end].waits <= 0 {
			end++
		}
		if end == i {
			i++
			continue
		}
		c.close(i, end, now)
		to -= end - i
	}
}

// after is the place of the first open change that is newer than the revision.
func (c *convergence) after(revision uint64) int {
	i, found := slices.BinarySearchFunc(c.open, revision, func(o openChange, r uint64) int { return cmp.Compare(o.revision, r) })
	if found {
		i++
	}
	return i
}

// close reports changes and forgets them.
func (c *convergence) close(from, to int, now time.Time) {
	for _, o := range c.open[from:to] {
		c.metrics.Distributed(now.Sub(o.at))
	}
	c.open = slices.Delete(c.open, from, to)
}
