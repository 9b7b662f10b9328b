package server

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/xds/internal/machine"
)

// answeredLocked notes that the client has answered a frame. As it can't guess
// a nonce, it has then read all that was sent before.
func (st *stream) answeredLocked(nonce string) {
	if nonce != "" && nonce == st.newest && !st.writing {
		st.unanswered = 0
	}
	if st.release != nil {
		st.active = time.Now()
	}
}

// flushLocked sends what fits into what gRPC takes without waiting, and leaves
// the rest to a goroutine, if there is none already.
func (st *stream) flushLocked() {
	for !st.writing && !st.ended && len(st.frames) > 0 {
		f, err := st.nextLocked()
		if err != nil {
			st.fail(err)
			return
		}
		if st.unanswered > promptBytes || !st.t.prompt() {
			st.writing = true
			st.server.goroutines.Go(func() { st.write(f) })
			return
		}
		if err := st.t.send(f.Frame, f.end); err != nil {
			st.fail(err)
			return
		}
	}
}

// outgoing is a frame that gRPC is to get.
type outgoing struct {
	*machine.Frame
	end *tail
}

// nextLocked takes the first of the frames that wait.
func (st *stream) nextLocked() (outgoing, error) {
	f := st.frames[0]
	n := copy(st.frames, st.frames[1:])
	st.frames[n] = nil
	st.frames = st.frames[:n]
	size := frameOverhead
	for _, r := range f.Resources {
		size += r.Size()
	}
	for _, name := range f.Removed {
		size += len(name) + fieldOverhead
	}
	st.unanswered += size
	st.newest = f.Nonce
	st.server.cfg.Metrics.Pushed(f.TypeURL, size-frameOverhead)
	own := ownBytes(f, st.t.delta())
	if !asked(f) { // answers have been counted when they were made
		if err := st.outbox.charge(own); err != nil {
			return outgoing{}, err
		}
	}
	return outgoing{f, st.outbox.give(size, own)}, nil
}

// frameOverhead is the size of a response without content, about.
const frameOverhead = 256

// write sends until nothing waits any more. A send that never comes back ends
// with the stream, which ends when it takes too long.
func (st *stream) write(f outgoing) {
	limit := st.server.cfg.Limits.SendTimeout
	timeout := time.AfterFunc(limit, func() {
		st.fail(status.Errorf(codes.DeadlineExceeded, "the client did not take a response for %v", limit))
	})
	defer timeout.Stop()
	for f.Frame != nil {
		if err := st.t.send(f.Frame, f.end); err != nil {
			st.fail(err)
			return // writing stays set: nothing more is sent
		}
		timeout.Reset(limit)
		f = st.sent()
	}
}

// sent notes that the writer is through with a frame, and gives it the next one.
func (st *stream) sent() outgoing {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.release != nil {
		st.active = time.Now()
	}
	if len(st.frames) > 0 && !st.ended {
		f, err := st.nextLocked()
		if err != nil {
			st.fail(err) // writing stays set: nothing more is sent
		}
		return f
	}
	st.writing = false
	if st.release != nil && st.machine.Acked() == st.machine.Revision() {
		st.releaseLocked()
	}
	return outgoing{}
}

// holdLocked notes how much memory the client's subscriptions take, and refuses
// what is too much for all clients together. Who takes no more than before is
// never refused.
func (st *stream) holdLocked(bytes int64) error {
	more := bytes - st.held
	if more == 0 {
		return nil
	}
	st.held = bytes
	st.server.cfg.Metrics.Held(more)
	all, limit := st.server.held.Add(more), int64(st.server.cfg.Limits.HeldBytes)
	if more > 0 && all > limit {
		return status.Errorf(codes.ResourceExhausted, "the subscriptions of all clients take %d bytes, %d are allowed; try another replica, or subscribe to less",
			all, limit)
	}
	return nil
}
