package server

import (
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// outbox counts what a stream has given to gRPC and gRPC has not written yet.
// gRPC takes frames long before the client does; one that never reads would keep
// them, and with them the old versions of resources, as long as it stays
// connected. So each frame's last buffer tells when it has been written. Safe for
// concurrent use.
type outbox struct {
	server *Server
	fail   func(error)

	mu sync.Mutex // guards what follows; nothing is waited for under it
	// given and written count frames, waiting are the bytes of those between.
	given, written uint64
	waiting        int
	// own are the bytes, of these and of answers not given yet, that no other
	// client has a share in.
	own int64
	// due is the frame that must have been written when timer fires; timer is nil
	// as long as nothing had to wait.
	timer *time.Timer
	armed bool
	due   uint64
	ended bool
}

// slowest is how many bytes a second a client takes at least, once it has used up
// the time that any may take.
const slowest = 128 << 10

// smallFrame is what a client may always be sent: a response to which it alone
// adds that much does not fill the memory of all.
const smallFrame = 4 << 10

// charge counts memory that waits for this client alone, and refuses what is too
// much for all clients together.
func (o *outbox) charge(own int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return nil
	}
	all, limit := o.server.queued.Add(own), int64(o.server.cfg.Limits.QueuedBytes)
	o.own += own
	o.server.cfg.Metrics.Queued(own)
	if own > smallFrame && all > limit {
		return status.Errorf(codes.ResourceExhausted, "%d bytes of responses wait for clients that read slowly, %d are allowed; try again, or at another replica", all, limit)
	}
	return nil
}

// give notes that gRPC is about to get a frame, for which charge has been asked.
func (o *outbox) give(size int, own int64) *tail {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.given++
	o.waiting += size
	if !o.armed && !o.ended {
		o.armed, o.due = true, o.given
		if o.timer == nil {
			o.timer = time.AfterFunc(o.patienceLocked(), o.check)
		} else {
			o.timer.Reset(o.patienceLocked())
		}
	}
	t, _ := o.server.tails.Get().(*tail)
	if t == nil {
		t = &tail{b: make([]byte, 0, tailBytes)}
	}
	t.of, t.size, t.own = o, size, own
	return t
}

func (o *outbox) patienceLocked() time.Duration {
	return o.server.cfg.Limits.SendTimeout + time.Duration(o.waiting)*time.Second/slowest
}

// check ends the stream if what was given before the timer started still waits.
func (o *outbox) check() {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ended || o.written == o.given:
		o.armed = false
	case o.written < o.due:
		o.fail(status.Errorf(codes.DeadlineExceeded, "the client did not take a response for %v", o.server.cfg.Limits.SendTimeout))
	default:
		o.due = o.given
		o.timer.Reset(o.patienceLocked())
	}
}

// took notes that a frame has been written.
func (o *outbox) took(size int, own int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written++
	o.waiting -= size
	if !o.ended {
		o.releaseLocked(own)
	}
}

func (o *outbox) releaseLocked(own int64) {
	o.own -= own
	o.server.queued.Add(-own)
	o.server.cfg.Metrics.Queued(-own)
}

// end stops counting. It may be called twice.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.releaseLocked(o.own)
	if o.timer != nil {
		o.timer.Stop()
	}
}

// tail is the last part of a frame, in a buffer that comes back when gRPC has
// written it: it implements mem.BufferPool for that one buffer.
type tail struct {
	b    []byte
	of   *outbox
	size int
	own  int64
}

// gRPC gives back buffers above 1 KiB only; those that have grown far beyond what
// most frames need are not kept.
const (
	tailBytes    = 1<<10 + 64
	maxTailBytes = 16 << 10
)

// Get implements mem.BufferPool. Nobody calls it.
func (t *tail) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put implements mem.BufferPool.
func (t *tail) Put(*[]byte) {
	o := t.of
	o.took(t.size, t.own)
	if t.of = nil; cap(t.b) <= maxTailBytes {
		o.server.tails.Put(t)
	}
}

// buffer is the tail with the response's fields besides its resources.
func (t *tail) buffer(e *encoded) mem.Buffer {
	t.b = e.appendRest(slices.Grow(t.b[:0], e.restSize()))
	return mem.NewBuffer(&t.b, t)
}

// ownBytes is how much of a frame's memory is not that of resources which stand
// marshalled for all clients.
func ownBytes(f *machine.Frame, delta bool) int64 {
	const buffer = 16 // bytes of a reference to one
	size := frameOverhead
	for _, name := range f.Removed {
		size += len(name) + fieldOverhead
	}
	alone := asked(f) || !delta && f.TypeURL == xds.VirtualHostType // wrapped for each
	for _, r := range f.Resources {
		size += buffer * r.Buffers()
		if alone {
			size += r.Size()
		}
	}
	return int64(size)
}

// asked reports whether the frame is an answer to a question about the control plane.
func asked(f *machine.Frame) bool { return strings.HasPrefix(f.TypeURL, inspectPrefix) }
