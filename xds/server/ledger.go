package server

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// Ledger knows, for each connected client and type, what was wanted, what was
// acknowledged since when, and what was refused why.
type Ledger struct {
	mu      sync.Mutex
	clients map[uint64]*record
	changes convergence
	// moved is closed, and made anew, when somebody waits and a client has
	// moved on or has left.
	moved   chan struct{}
	waiting int
}

// record is one client's page. Its views are replaced, never changed.
type record struct {
	client *Client
	stream *stream
	delta  bool
	acked  uint64
	// rests is the state that the client has all of, nil if it lacks something.
	rests *xds.State
	// counted is the newest change that was waited for when the client first had
	// all of a revision: later ones wait for it too.
	counted uint64
	// history holds values of acked, oldest first.
	history []Reached
	// types are in the order of additions, as the views are.
	types []*typeRecord
}

// maxHistory is of how many revisions it is remembered when a client had them all:
// the longer ago, the fewer.
const maxHistory = 64

type typeRecord struct {
	view  machine.View
	since time.Time
	nack  *Nack
}

func newLedger(m Metrics) *Ledger {
	return &Ledger{clients: make(map[uint64]*record), changes: convergence{metrics: m}, moved: make(chan struct{})}
}

func (l *Ledger) connect(st *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients[st.client.Stream] = &record{client: &st.client, stream: st, delta: st.t.delta()}
}

func (l *Ledger) disconnect(stream uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.clients[stream]; r != nil {
		l.changes.left(r)
	}
	delete(l.clients, stream)
	l.moveLocked()
}

// standing is where a client stands after a step. Its views are copied.
type standing struct {
	views []machine.View
	acked uint64
	// rests is the state of which the client has everything; nil if it lacks some.
	rests *xds.State
	// nack, if any, belongs to the type.
	refusedType string
	nack        *Nack
}

// update writes down where the client stands.
func (l *Ledger) update(stream uint64, at standing) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.clients[stream]
	if r == nil {
		return
	}
	for i := range at.views {
		v := &at.views[i]
		if i == len(r.types) || r.types[i].view.TypeURL != v.TypeURL {
			r.types = slices.Insert(r.types, i, &typeRecord{since: now, view: *v})
		}
		t := r.types[i]
		if synced(&t.view) != synced(v) {
			t.since = now
		}
		t.view = *v
		if at.nack != nil && v.TypeURL == at.refusedType {
			t.nack = at.nack
		}
	}
	r.rests = at.rests
	if r.rests != nil {
		// The state may have turned out to be right for later revisions since.
		at.acked = max(at.acked, r.stream.upto(r.rests))
	}
	if r.acked != at.acked || at.nack != nil {
		l.ackedLocked(r, at.acked, now)
	}
}

// Settle is called when sessions that are Lasting know of later revisions that
// their States are right for. Clients that rest with those have them at once.
func (l *Ledger) Settle() {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.clients {
		if r.rests == nil {
			continue
		}
		if upto := r.stream.upto(r.rests); upto > r.acked {
			l.ackedLocked(r, upto, now)
		}
	}
}

// ackedLocked notes which revision a client has all of.
func (l *Ledger) ackedLocked(r *record, acked uint64, now time.Time) {
	if r.acked != acked {
		r.history = append(thinned(r.history), Reached{Revision: acked, Time: now})
		l.changes.reached(r, acked, now)
	}
	r.acked = acked
	l.moveLocked()
}

// advance notes that a revision brought a client nothing that it did not have.
func (l *Ledger) advance(stream, revision uint64, rests *xds.State, has []*xds.Set) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.clients[stream]
	if r == nil {
		return
	}
	for i, t := range r.types {
		if !synced(&t.view) {
			t.since = now
		}
		if len(has) == len(r.types) {
			t.view.Wanted, t.view.Acked = has[i], has[i]
		}
		t.view.WantedRevision, t.view.AckedRevision = revision, revision
	}
	r.rests = rests
	l.ackedLocked(r, revision, now)
}

// thinned makes room in a history that is full: of what is older than the newest
// entries it forgets what lies between two of which the older is less than three
// times as old.
func thinned(h []Reached) []Reached {
	if len(h) < maxHistory {
		return h
	}
	const exact = maxHistory / 4
	newest := h[len(h)-1].Time
	kept := []Reached{}
	for i, r := range slices.Backward(h) {
		if len(kept) >= exact && i > 0 && newest.Sub(h[i-1].Time) < 3*newest.Sub(kept[len(kept)-1].Time) {
			continue
		}
		kept = append(kept, r)
	}
	slices.Reverse(kept)
	return kept[max(0, len(kept)-maxHistory+1):]
}

func synced(v *machine.View) bool { return v.AckedRevision == v.WantedRevision }

func (l *Ledger) moveLocked() {
	if l.waiting > 0 {
		close(l.moved)
		l.moved = make(chan struct{})
	}
}

// Clients are the pages of all connected clients, sorted by node id and then by
// stream.
func (l *Ledger) Clients() []ClientStatus {
	l.mu.Lock()
	records := make([]record, 0, len(l.clients))
	for _, r := range l.clients {
		records = append(records, r.copyLocked())
	}
	l.mu.Unlock()
	out := make([]ClientStatus, 0, len(records))
	for i := range records {
		out = append(out, records[i].status())
	}
	slices.SortFunc(out, func(a, b ClientStatus) int {
		return cmp.Or(cmp.Compare(a.Node.ID, b.Node.ID), cmp.Compare(a.Stream, b.Stream))
	})
	return out
}

// Connected is the number of clients.
func (l *Ledger) Connected() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.clients)
}

func (r *record) copyLocked() record {
	c := *r
	c.history = slices.Clone(r.history)
	c.types = make([]*typeRecord, len(r.types))
	for i, t := range r.types {
		entry := *t
		if v := &entry.view; r.rests != nil && synced(v) {
			v.WantedRevision, v.AckedRevision = r.acked, r.acked
		}
		c.types[i] = &entry
	}
	return c
}

// status computes versions, which hash whole sets: not under the lock.
func (r *record) status() ClientStatus {
	out := ClientStatus{Client: *r.client, Delta: r.delta, Revision: r.acked, History: r.history}
	for _, t := range r.types {
		line := TypeStatus{
			TypeURL:        t.view.TypeURL,
			Names:          t.view.Names,
			Wildcard:       t.view.Wildcard,
			Wanted:         t.view.Wanted.Version(),
			WantedRevision: t.view.WantedRevision,
			AckedRevision:  t.view.AckedRevision,
			Since:          t.since,
			Sent:           t.view.Sent,
			LastNack:       t.nack,
		}
		if t.view.AckedRevision > 0 {
			line.Acked = t.view.Acked.Version()
		}
		for _, ref := range t.view.Refused {
			line.Refused = append(line.Refused, Refused(ref))
		}
		out.Types = append(out.Types, line)
	}
	return out
}

// WaitRevision returns when every client that is connected now has acknowledged
// or refused everything that the revision (and what it replaced) brings for it,
// or has disconnected. If the context ends before, it returns what is known,
// with the pending clients, and the context's error.
func (l *Ledger) WaitRevision(ctx context.Context, revision uint64) (WaitResult, error) {
	l.mu.Lock()
	l.waiting++
	clients := slices.Collect(maps.Keys(l.clients))
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waiting--
	}()
	for pending := clients; ; {
		var moved <-chan struct{}
		if pending, moved = l.behind(pending, revision); len(pending) == 0 {
			return l.result(clients, revision), nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return l.result(clients, revision), ctx.Err()
		}
	}
}

// behind leaves those of the clients that have not come so far, and gives a
// channel that is closed when that may have changed.
func (l *Ledger) behind(clients []uint64, revision uint64) ([]uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var pending []uint64
	for _, stream := range clients {
		if r := l.clients[stream]; r != nil && r.acked < revision {
			pending = append(pending, stream)
		}
	}
	return pending, l.moved
}

// result says where the clients that are still connected stand.
func (l *Ledger) result(clients []uint64, revision uint64) WaitResult {
	var result WaitResult
	var pending []record
	l.mu.Lock()
	for _, stream := range clients {
		r := l.clients[stream]
		switch {
		case r == nil:
			continue
		case r.acked < revision:
			pending = append(pending, r.copyLocked())
		default:
			result.Acked++
		}
		result.Refused = append(result.Refused, r.refusalsLocked(revision)...)
	}
	l.mu.Unlock()
	for i := range pending {
		result.Pending = append(result.Pending, pending[i].status())
	}
	slices.SortFunc(result.Pending, func(a, b ClientStatus) int { return cmp.Compare(a.Node.ID, b.Node.ID) })
	slices.SortFunc(result.Refused, func(a, b RefusedBy) int {
		return cmp.Or(cmp.Compare(a.Client.Node.ID, b.Client.Node.ID), xds.CompareTypes(a.TypeURL, b.TypeURL))
	})
	return result
}

// refusalsLocked are the refusals in force of what the revision may have brought:
// of resources that the client had taken, or refused otherwise, before.
func (r *record) refusalsLocked(revision uint64) (out []RefusedBy) {
	for _, t := range r.types {
		from := len(out)
		for _, ref := range t.view.Refused {
			if one := Refused(ref); !one.Blames(revision) {
				continue
			}
			i := slices.IndexFunc(out[from:], func(o RefusedBy) bool { return o.Nack.Reason == ref.Reason })
			if i < 0 {
				i = len(out) - from
				out = append(out, RefusedBy{Client: *r.client, TypeURL: t.view.TypeURL, Nack: Nack{Reason: ref.Reason, Revision: ref.Revision}})
				if t.nack != nil {
					out[from+i].Nack.Time = t.nack.Time
				}
			}
			out[from+i].Nack.Names = append(out[from+i].Nack.Names, ref.Name)
		}
	}
	return out
}
