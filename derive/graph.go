package derive

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Graph is a set of collections that change together.
type Graph struct {
	now     func() time.Time
	onPanic func(Panic)

	mu    sync.Mutex // held for a batch, and while the graph is read or built
	nodes []node     // in order of creation, which is an order of dependence
	names map[string]struct{}
	busy  bool // an Update is running
	runs  uint64
}

// Options are what a Graph is made with. The zero value will do.
type Options struct {
	// Now tells the time for the dump. Nil means time.Now.
	Now func() time.Time
	// OnPanic is told when a transformation panicked. Its input then keeps the output that it had, until it changes again. If
	// OnPanic is nil, the panic goes on to Update's caller, and the Graph must not be used any more.
	OnPanic func(Panic)
}

// Panic is a transformation's failure on one input.
type Panic struct {
	Collection string
	Key        string
	Value      any
	Stack      []byte
}

// node is a collection as the Graph sees it.
type node interface {
	// run brings the collection up to date with its inputs' events of this batch.
	run()
	// deliver tells the subscribers.
	deliver()
	// reset forgets the batch.
	reset()
	pending() int
	stat() *Stat
}

// New returns an empty Graph.
func New(o Options) *Graph {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Graph{now: o.Now, onPanic: o.OnPanic, names: make(map[string]struct{})}
}

// Update runs fn, which changes Sources, as one batch: then everything that depends on what changed is brought up to date,
// and after that subscribers are called. Collections may be made inside fn, too.
func (g *Graph) Update(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = true
	defer func() { g.busy = false }()
	g.runs++
	fn()
	for _, n := range g.nodes {
		g.runNode(n)
	}
	for _, n := range g.nodes {
		n.deliver()
	}
	for _, n := range g.nodes {
		n.reset()
	}
}

// View runs fn while no batch can change the collections.
func (g *Graph) View(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
}

func (g *Graph) runNode(n node) {
	st := n.stat()
	before, start := st.Computed, g.now()
	n.run()
	if n.pending() == 0 && st.Computed == before {
		return
	}
	st.Batches++
	st.LastRun, st.LastTook = start, g.now().Sub(start)
	st.LastComputed = st.Computed - before
	st.Events += uint64(n.pending())
}

// add takes a new collection in. It is called with mu held or before the Graph is shared.
func (g *Graph) add(n node) {
	st := n.stat()
	if _, taken := g.names[st.Name]; taken || st.Name == "" {
		panic(fmt.Sprintf("derive: a collection needs a name of its own, %q is none", st.Name))
	}
	g.names[st.Name] = struct{}{}
	st.order = len(g.nodes)
	g.nodes = append(g.nodes, n)
}

// guard calls a transformation and contains its panic if the Graph is told to. It reports whether f returned.
func (g *Graph) guard(st *Stat, key any, f func()) (ok bool) {
	if g.onPanic == nil {
		f()
		return true
	}
	defer func() {
		if v := recover(); v != nil {
			st.Panics++
			ok = false
			g.onPanic(Panic{Collection: st.Name, Key: fmt.Sprint(key), Value: v, Stack: debug.Stack()})
		}
	}()
	f()
	return true
}
