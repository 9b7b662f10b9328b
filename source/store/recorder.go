package store

import (
	"slices"
	"sync"
	"time"

	"lateen.dev/lateen/source"
)

// recorder holds batches that are live and not written down yet. Run hands them over and goes on: a disk that takes a
// while to flush delays no change. One goroutine writes them down, as many at once as have come meanwhile. Safe for
// concurrent use.
type recorder struct {
	mu    sync.Mutex
	moved sync.Cond // what follows has changed
	queue []recorded
	// put and written count batches.
	put, written uint64
	ended        bool
}

// recorded is a batch, how it came about, and when.
type recorded struct {
	source.Batch
	via string
	at  time.Time
}

// maxRecords may wait to be written down; then Run waits, too.
const maxRecords = 1024

func newRecorder() *recorder {
	r := &recorder{}
	r.moved.L = &r.mu
	return r
}

// add hands a batch over.
func (r *recorder) add(one recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) >= maxRecords {
		r.moved.Wait()
	}
	r.queue = append(r.queue, one)
	r.put++
	r.moved.Broadcast()
}

// run writes down what is handed over, until end has been called and nothing is left.
func (r *recorder) run(write func([]recorded)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for len(r.queue) == 0 {
			if r.ended {
				return
			}
			r.moved.Wait()
		}
		some := slices.Clone(r.queue)
		clear(r.queue)
		r.queue = r.queue[:0]
		r.mu.Unlock()
		write(some)
		r.mu.Lock()
		r.written += uint64(len(some))
		r.moved.Broadcast()
	}
}

// end says that no more is handed over.
func (r *recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.moved.Broadcast()
}

// wait returns when all that was handed over before is written down.
func (r *recorder) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for put := r.put; r.written < put; {
		r.moved.Wait()
	}
}
