package store

import (
	"sync"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/analysis"
	"lateen.dev/lateen/source"
)

// warnings says what is questionable about objects beside all that is live. What
// it knows of the live ones is kept, so that an apply costs what it touches; it
// is gathered at the first apply, as many control planes never see one.
type warnings struct {
	mu   sync.Mutex // held while analysing, and while a batch is taken in
	live *analysis.Set
}

// changed takes a batch in.
func (w *warnings) changed(b source.Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live == nil {
		return
	}
	for _, c := range b.Changes {
		if c.Object == nil {
			w.live.Delete(c.Key)
		} else {
			w.live.Put(c.Object)
		}
	}
}

// about returns what is to be said about the wishes. References that lead
// nowhere are warnings here: the other end may be applied next. all tells the
// live objects when they aren't known yet; batches that come meanwhile are
// taken in afterwards, whether or not all has them.
func (w *warnings) about(all func() []*config.Object, wishes []wish) config.Problems {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live == nil {
		w.live = analysis.NewSet(all())
	}
	objects := make([]*config.Object, len(wishes))
	for i, wish := range wishes {
		objects[i] = wish.object
	}
	problems := w.live.About(objects)
	for i := range problems {
		problems[i].Severity = min(problems[i].Severity, config.Warning)
	}
	return problems
}
