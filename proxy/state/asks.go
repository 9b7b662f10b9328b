package state

import (
	"maps"
	"slices"
	"sync"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// Bounds of what is asked for on demand.
const (
	// manyAsked is from when on names that turned out not to exist are given up for new ones, the oldest first.
	manyAsked = 4096
	// mostAsked names are subscribed to at most, and mostHeld requests and connections wait.
	mostAsked, mostHeld = 3 * manyAsked, 1024
)

// asks is what requests and connections have asked for: names of virtual hosts and listeners that the control plane sends
// only to those who ask. Subscriptions stay when the answer was that there is nothing, so that what is made later arrives.
//
// Its lock is its own, because whoever asks serves a request and must not wait while a plan is made. It is taken after the
// store's.
type asks struct {
	demand *plan.Demand

	mu         sync.Mutex
	subscriber Subscriber
	byName     map[key]*ask
	order      []key // oldest first; names that were given up may still stand in it
	held       int
	waits      uint64 // how many were held so far
}

// Asked is what a store's requests and connections have asked for on demand.
type Asked struct {
	// Names are subscribed to, None of them known not to exist. Held requests and connections wait at this moment; Waits
	// counts all that ever did.
	Names, None, Held int
	Waits             uint64
}

// Asked tells what was asked for. It does not wait for a plan that is being made.
func (s *Store) Asked() Asked {
	a := s.asks
	a.mu.Lock()
	defer a.mu.Unlock()
	out := Asked{Names: len(a.byName), Held: a.held, Waits: a.waits}
	if m := a.demand.None.Load(); m != nil {
		out.None = len(*m)
	}
	return out
}

// ask is one name.
type ask struct {
	// answered says that the name's resource is in force, or that there is none.
	answered, none bool
	waiting        []*waiter
}

// waiter is a request or connection that waits for some names.
type waiter struct {
	left int
	done chan struct{}
}

func newAsks() *asks {
	a := &asks{demand: &plan.Demand{}, byName: map[key]*ask{}}
	a.demand.Ask = a.ask
	return a
}

// ask is plan.Demand's.
func (a *asks) ask(kind plan.Kind, names ...string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.subscriber == nil || a.held >= mostHeld {
		return nil
	}
	w := &waiter{done: make(chan struct{})}
	for _, q := range a.subscribeLocked(kind, names) {
		if !q.answered {
			w.left++
			q.waiting = append(q.waiting, w)
		}
	}
	if w.left == 0 {
		close(w.done) // in force since the plan was loaded
		return w.done
	}
	a.held++
	a.waits++
	return w.done
}

// subscribe asks for names without waiting for them.
func (a *asks) subscribe(kind plan.Kind, names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.subscriber != nil {
		a.subscribeLocked(kind, names)
	}
}

func (a *asks) subscribeLocked(kind plan.Kind, names []string) (asked []*ask) {
	var fresh []string
	for _, name := range names {
		k := key{kind, name}
		q := a.byName[k]
		if q == nil {
			a.makeRoomLocked()
			if len(a.byName) >= mostAsked {
				continue
			}
			q = &ask{}
			a.byName[k] = q
			a.order = append(a.order, k)
			fresh = append(fresh, name)
		}
		asked = append(asked, q)
	}
	if len(fresh) > 0 {
		a.subscriber.Subscribe(typeOf(kind), fresh...)
	}
	return asked
}

// makeRoomLocked gives up a name that does not exist, when there are many.
func (a *asks) makeRoomLocked() {
	const look = 16
	for i := 0; i < look && len(a.byName) >= manyAsked && len(a.order) > 0; i++ {
		k := a.order[0]
		a.order = a.order[1:]
		q := a.byName[k]
		switch {
		case q == nil:
		case q.none:
			delete(a.byName, k)
			a.noneLocked(nil, []string{k.name})
			a.subscriber.Unsubscribe(typeOf(k.kind), k.name)
			return
		default:
			a.order = append(a.order, k)
		}
	}
}

// answer notes what is in force, and what there is not.
func (a *asks) answer(there, none []key) {
	if len(there)+len(none) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var put, gone []string
	for _, k := range there {
		if q := a.byName[k]; q != nil {
			if q.none {
				gone = append(gone, k.name)
			}
			q.none = false
			a.releaseLocked(q)
		}
	}
	for _, k := range none {
		if q := a.byName[k]; q != nil {
			q.none = true
			put = append(put, k.name)
		}
	}
	a.noneLocked(put, gone)
	for _, k := range none {
		if q := a.byName[k]; q != nil {
			a.releaseLocked(q)
		}
	}
}

func (a *asks) releaseLocked(q *ask) {
	q.answered = true
	for _, w := range q.waiting {
		if w.left--; w.left == 0 {
			a.held--
			close(w.done)
		}
	}
	q.waiting = nil
}

// noneLocked publishes which names are known not to exist.
func (a *asks) noneLocked(put, gone []string) {
	if len(put)+len(gone) == 0 {
		return
	}
	next := map[string]struct{}{}
	if m := a.demand.None.Load(); m != nil {
		next = maps.Clone(*m)
	}
	for _, name := range gone {
		delete(next, name)
	}
	for _, name := range put {
		next[name] = struct{}{}
	}
	a.demand.None.Store(&next)
}

// drop gives up all virtual hosts of a table, and returns their names.
func (a *asks) drop(table string) (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, q := range a.byName {
		if k.kind == plan.KindVirtualHost && xds.Collection(xds.VirtualHostType, k.name) == table {
			names = append(names, k.name)
			delete(a.byName, k)
			a.releaseLocked(q)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	a.order = slices.DeleteFunc(a.order, func(k key) bool { return a.byName[k] == nil })
	a.noneLocked(nil, names)
	if a.subscriber != nil {
		a.subscriber.Unsubscribe(xds.VirtualHostType, names...)
	}
	return names
}
