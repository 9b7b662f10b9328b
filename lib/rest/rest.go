// Package rest gives memory back to the system when the process has come to rest. Go's collector runs when the heap has
// doubled, and at rest it doesn't: what start-up or a crowd of clients has left behind, and the stacks that have grown
// under them, would stay until a collection two minutes later, and longer. So would pages of the program itself that only
// the start has needed.
//
// Programs that wait for most of their life call Watch in a goroutine of their own; it returns when its context ends.
// While the program works, the collector runs by itself and this package does nothing. A program that is never at rest for
// long calls Headroom instead, and Collect after its start.
//
// May import: nothing of ours.
package rest

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// interval is how often memory is looked at, which costs microseconds.
	interval = time.Second
	// quiet is how much memory in use may change from one look to the next if the process is at rest.
	quiet = 1 << 20
	// worthwhile is how much must have come into use since the last collection for another one, and portion how large a
	// part of what was in use then: collecting a large heap costs more.
	worthwhile = 4 << 20
	portion    = 4
)

// Watch collects garbage and returns memory to the system, the program's own pages included, each time that the process has come to rest with more memory
// in use than after the last time. It returns when ctx ends.
func Watch(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var w watcher
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if w.step(look()) {
			debug.FreeOSMemory()
			_ = releaseProgram() // what can't be had back stays
			w.collected(look())
		}
	}
}

// Collect collects what a start has left behind, once, and takes the program's own pages out of memory. Memory stays with
// the process, for what comes next.
func Collect() {
	runtime.GC()
	_ = releaseProgram() // what can't be had back stays
}

// sample is what the runtime says about itself.
type sample struct {
	cycles uint64 // of the collector
	inUse  uint64 // bytes of objects, reachable or not, and of stacks
}

func look() sample {
	s := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(s)
	return sample{cycles: s[0].Value.Uint64(), inUse: s[1].Value.Uint64() + s[2].Value.Uint64()}
}

// watcher decides when to collect.
type watcher struct {
	last sample
	kept uint64 // in use after the last collection of ours
}

// step says whether to collect now.
func (w *watcher) step(now sample) bool {
	last := w.last
	w.last = now
	atRest := now.cycles == last.cycles && now.inUse < last.inUse+quiet
	return atRest && now.inUse >= w.kept+max(worthwhile, w.kept/portion)
}

// collected takes what a collection has left.
func (w *watcher) collected(now sample) { w.last, w.kept = now, now.inUse }

// hurried is the collector's target during a start: the heap may grow to five times what is live, and to 16 MiB anyhow.
const (
	hurried   = 400
	goDefault = 100
)

// Hurry puts off collections until the returned function is called, for a start, which makes little garbage and has
// little to live on, so that the collector would run again and again. A target that the operator has chosen with GOGC
// stays.
func Hurry() (arrived func()) {
	if before := debug.SetGCPercent(hurried); before != goDefault {
		debug.SetGCPercent(before)
		return func() {}
	}
	return func() { debug.SetGCPercent(goDefault) }
}
