package workload

import (
	"context"
	"slices"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

// Run implements source.Source. Each revision is handed on, also one that
// changes no object: somebody may wait for it.
func (r *Registry) Run(ctx context.Context, sink source.Sink) error {
	sent, sentRevision := map[config.Key]*config.Object{}, uint64(0)
	for initial := true; ; initial = false {
		objects, revision, next := r.present()
		changes := difference(sent, objects)
		if len(changes) > 0 || initial || revision != sentRevision {
			sink.Apply(source.Batch{Initial: initial, Revision: revision, Changes: changes})
		}
		sent, sentRevision = objects, revision
		if !r.sleep(ctx, next) {
			return nil
		}
	}
}

// sleep waits for a change or until the next workload's grace is over.
func (r *Registry) sleep(ctx context.Context, next time.Time) bool {
	var over <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(next.Sub(r.o.Now()))
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-r.wake:
	case <-over:
	}
	return true
}

// present drops those whose grace is over and returns the objects that should
// exist, with the time of the next drop.
func (r *Registry) present() (objects map[config.Key]*config.Object, revision uint64, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, dropped := r.o.Now(), false
	for id, e := range r.entries {
		if e.gone.IsZero() {
			continue
		}
		p := r.process(e)
		if p == ended || p == unknown && !e.gone.After(now) {
			delete(r.entries, id)
			dropped = true
			continue
		}
		look := e.gone
		switch {
		case p == unknown:
		case e.gone.After(now):
			look = now.Add(aliveInterval)
		default:
			look = now.Add(awayInterval)
		}
		if next.IsZero() || look.Before(next) {
			next = look
		}
	}
	if dropped {
		// It is gone for everybody even if the disk is full: at the next start
		// its process is not there.
		_ = r.changedLocked()
	}
	return objectsOf(r.allLocked(), &r.seen), r.revision, next
}

// aliveInterval is how soon the end of a process is noticed whose proxy has
// gone. A process that was killed closes its stream while it is still there.
// awayInterval is that of one whose proxy has been away for the grace.
const (
	aliveInterval = 20 * time.Millisecond
	awayInterval  = time.Second
)

// process is what is known of the process of a workload without a proxy.
type process uint8

const (
	unknown process = iota
	there
	ended
)

func (r *Registry) process(e *entry) process {
	if e.PID == 0 || r.o.Process == nil {
		return unknown
	}
	if now := r.o.Process(e.PID); now == "" || e.Process != "" && now != e.Process {
		return ended
	}
	return there
}

// endedLocked says that the process of a workload without a proxy has ended.
func (r *Registry) endedLocked(e *entry) bool { return e.streams == 0 && r.process(e) == ended }

func difference(old, now map[config.Key]*config.Object) []source.Change {
	var changes []source.Change
	for key, o := range now {
		if !o.Equal(old[key]) {
			changes = append(changes, source.Put(o))
		}
	}
	for key := range old {
		if now[key] == nil {
			changes = append(changes, source.Drop(key))
		}
	}
	slices.SortFunc(changes, func(a, b source.Change) int { return a.Key.Compare(b.Key) })
	return changes
}
