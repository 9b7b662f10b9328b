package server

import (
	"crypto/rand"
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// stream moves one client's messages and frames between its transport and its
// state machine. run's goroutine, which is gRPC's, begins it and waits for its
// end; another reads, and takes what it read to the machine; whoever changes
// the state that the client shall have takes that there. What the client is
// sure to have room for is sent by the one that made it, the rest by a goroutine
// that lives as long as there is some.
type stream struct {
	server *Server
	t      transport
	client Client

	// first brings the first message; after it nothing is read until ready is
	// closed.
	first chan *message
	ready chan struct{}
	// failed receives why the stream shall end.
	failed chan error
	// released is closed when the client keeps nobody waiting any more.
	released chan struct{}
	session  Session
	// salt begins all nonces: a client can't answer what it has not read.
	salt string

	mu sync.Mutex // guards what follows; never held while something is waited for
	// machine is nil for a client that only asks about the control plane.
	machine *machine.Machine
	state   *xds.State
	ended   bool
	release func() // nil once it was called
	// active is when the client last took or answered something, as long as
	// it keeps others waiting.
	active time.Time

	// frames wait to be written: at most one for each type, as the machine has
	// only one of each in flight, and the answers that the client asked for.
	frames []*machine.Frame
	// writing says that a goroutine is sending.
	writing bool
	// newest is the nonce of the last frame that was sent, unanswered what was
	// sent since the client last answered the newest: then it had read all.
	newest     string
	unanswered int

	// observed is the newest revision whose convergence has been counted, changed
	// when the first change after it came, pushed that frames were sent since.
	observed uint64
	changed  time.Time
	pushed   bool
	// inspected counts answers to the client's questions about the control
	// plane.
	inspected uint64
	// held is how much of the memory for all clients this one has.
	held   int64
	outbox outbox
	// views is the ledger's, kept so that it need not be made each time.
	views []machine.View
	// targets are for it, too.
	targets []*xds.Set
}

// promptBytes may be on their way to a client without its answer before
// sending could block: half of what gRPC takes without waiting.
const promptBytes = 32 << 10

func newStream(s *Server, t transport) *stream {
	st := &stream{
		server:   s,
		t:        t,
		client:   Client{Stream: s.last.Add(1), Since: time.Now()},
		first:    make(chan *message, 1),
		ready:    make(chan struct{}),
		failed:   make(chan error, 1),
		released: make(chan struct{}),
		salt:     rand.Text()[:saltLength] + "-",
	}
	st.outbox.server, st.outbox.fail = s, st.fail
	return st
}

func (st *stream) name() string {
	if st.client.Node == nil {
		return "unknown"
	}
	return st.client.Node.ID
}

// run serves the client until its stream or the server ends.
func (st *stream) run() error {
	st.server.goroutines.Go(st.read)
	first, err := st.hello()
	if err != nil {
		return err
	}
	if err := st.server.identify(st.client.Peer.ID); err != nil {
		return err
	}
	defer st.server.forget(st.client.Peer.ID)
	defer st.leave()
	if st.inspects(first) {
		close(st.released)
		return st.begin(first)
	}
	release, err := st.server.admit(st.t.Context())
	if err != nil {
		return err
	}
	defer release()
	st.release, st.active = release, time.Now()
	if err := st.attach(); err != nil {
		return err
	}
	defer st.session.Close()
	ledger := st.server.ledger
	ledger.connect(st)
	defer ledger.disconnect(st.client.Stream)
	defer st.leave() // before the session is closed
	return st.begin(first)
}

// hello waits for the first request, which tells the node.
func (st *stream) hello() (*message, error) {
	timer := time.NewTimer(st.server.cfg.Limits.HelloTimeout)
	defer timer.Stop()
	var first *message
	select {
	case first = <-st.first:
	case err := <-st.failed:
		return nil, err
	case <-timer.C:
		return nil, status.Error(codes.DeadlineExceeded, "no request came")
	case <-st.server.closing.Done():
		return nil, errClosing()
	}
	node, err := xds.DecodeNode(first.node)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "first request: %v", err)
	}
	st.client.Node = node
	peer, err := st.server.cfg.Authenticate(st.t.Context(), node)
	if err != nil {
		st.server.cfg.Log.Warn("discovery client not accepted", "node", node.ID, "error", err)
		return nil, err
	}
	st.client.Peer = peer
	return first, nil
}

func errClosing() error { return status.Error(codes.Unavailable, "the control plane is shutting down") }

func (st *stream) attach() error {
	session, err := st.server.cfg.Provider.Attach(st.t.Context(), st.client)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return err
		}
		return status.Errorf(codes.Unavailable, "node %s: %v", st.name(), err)
	}
	st.session = session
	st.state = session.State()
	l := st.server.cfg.Limits
	st.machine = machine.New(st.t.delta(), machine.Limits{Names: l.Names, Types: l.Types, FrameBytes: l.FrameBytes}, st.state)
	st.machine.Salt(st.salt)
	return nil
}

// saltLength is 60 bits' worth of base 32.
const saltLength = 12

// begin takes in the first message and lives until the stream shall end.
func (st *stream) begin(first *message) error {
	var changed <-chan struct{}
	if f, ok := st.session.(Follower); ok {
		f.Follow(st.push)
	} else if st.session != nil {
		changed = st.session.Changed()
	}
	if err := st.handle(first); err != nil {
		return err
	}
	if st.session != nil {
		st.push() // what came before the session knew whom to tell
	}
	close(st.ready)
	return st.wait(changed)
}

// wait ends when the stream shall. The client keeps others waiting for admission
// until it has its first configuration, has used up its time, or does nothing.
func (st *stream) wait(changed <-chan struct{}) error {
	limits := &st.server.cfg.Limits
	admitted, idle := time.NewTimer(limits.AdmittedFor), time.NewTimer(limits.AdmittedIdle)
	defer admitted.Stop()
	defer idle.Stop()
	for released := st.released; ; {
		select {
		case <-changed:
			st.push()
		case <-released:
			released = nil
			admitted.Stop()
			idle.Stop()
		case <-admitted.C:
			st.letOthers()
		case now := <-idle.C:
			if rest := limits.AdmittedIdle - now.Sub(st.lastActive()); rest > 0 {
				idle.Reset(rest)
			} else {
				st.letOthers()
			}
		case err := <-st.failed:
			return err
		case <-st.server.closing.Done():
			return errClosing()
		}
	}
}

func (st *stream) lastActive() time.Time {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.active
}

func (st *stream) letOthers() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.releaseLocked()
}

func (st *stream) releaseLocked() {
	if st.release != nil {
		st.release()
		st.release = nil
		close(st.released)
	}
}

// leave makes that nothing is done for the client any more. It may be called
// twice.
func (st *stream) leave() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	st.server.held.Add(-st.held)
	st.server.cfg.Metrics.Held(-st.held)
	st.held = 0
	st.outbox.end()
}

// fail ends the stream; nil is an end in peace.
func (st *stream) fail(err error) {
	select {
	case st.failed <- err:
	default: // it ends already
	}
}

// contained turns a panic into the end of the stream.
func (st *stream) contained(err *error) {
	if p := recover(); p != nil {
		st.server.cfg.Log.Error("panic while serving a client", "client", st.name(), "panic", p, "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "the control plane failed for node %s", st.name())
	}
}

// handle takes in a client's message.
func (st *stream) handle(m *message) (err error) {
	defer st.contained(&err)
	if st.inspects(m) {
		return st.inspect(m)
	}
	if m.TypeURL == xds.HealthInfoType {
		if h, ok := st.session.(Healthy); ok {
			if err := h.Health(!m.Refused, m.Reason); err != nil {
				st.server.cfg.Log.Error("a workload's health is not noted", "client", st.name(), "error", err)
			}
		}
		return nil
	}
	demand, err := st.request(m)
	if a, ok := st.session.(Asker); ok && err == nil && len(m.Subscribe) > 0 {
		a.Asked(m.TypeURL, m.Subscribe)
	}
	if err != nil || demand == nil {
		return err
	}
	if d, ok := st.session.(Demander); ok {
		d.Demand(demand.TypeURL, demand.Names)
	}
	return nil
}

// request feeds it to the machine.
func (st *stream) request(m *message) (*machine.Demand, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.ended:
		return nil, nil
	case st.machine == nil:
		return nil, status.Error(codes.InvalidArgument, "a stream that began by asking for "+inspectPrefix+" types gets nothing else")
	}
	st.answeredLocked(m.Nonce)
	st.extendLocked()
	out, err := st.machine.Request(&m.Request)
	switch {
	case errors.Is(err, machine.ErrLimit):
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := st.holdLocked(int64(st.machine.Held())); err != nil {
		return nil, err
	}
	var nack *Nack
	if n := out.Nack; n != nil {
		nack = &Nack{Names: n.Names, Reason: n.Reason, Time: time.Now(), Revision: n.Revision}
		st.server.cfg.Metrics.Refused(n.TypeURL, &st.client)
		st.server.cfg.Log.Warn("configuration refused", "client", st.name(), "type", xds.ShortType(n.TypeURL), "resources", n.Names, "reason", n.Reason)
	}
	st.tookLocked(out, m.TypeURL, nack)
	return out.Demand, nil
}

// push takes the newest state. Whatever came between is not needed any more.
// It does not wait for the client, and any goroutine may call it.
func (st *stream) push() {
	if err := st.retarget(); err != nil {
		st.fail(err)
	}
}

func (st *stream) retarget() (err error) {
	defer st.contained(&err)
	st.mu.Lock()
	defer st.mu.Unlock()
	state := st.session.State()
	if st.ended || state == st.state {
		return nil
	}
	st.extendLocked()
	if st.observed == st.machine.Revision() {
		st.changed = state.Changed
	}
	st.state = state
	out := st.machine.Target(state)
	if out.Same && st.release == nil {
		st.sameLocked()
		return nil
	}
	st.tookLocked(out, "", nil)
	return nil
}

// upto is the newest revision for which the client's state is right.
func (st *stream) upto(state *xds.State) uint64 {
	if l, ok := st.session.(Lasting); ok {
		return l.Upto(state)
	}
	return state.Revision
}

// extendLocked takes in that the state has been right for later revisions, too.
func (st *stream) extendLocked() {
	if to, was := st.upto(st.state), st.machine.Revision(); to > was {
		st.machine.Extend(to)
		if st.observed == was {
			st.observed = to
		}
	}
}

// sameLocked is tookLocked for a revision that brings the client nothing.
func (st *stream) sameLocked() {
	st.observed, st.pushed = st.machine.Revision(), false
	st.targets = st.machine.AppendTargets(st.targets[:0])
	st.server.ledger.advance(st.client.Stream, st.observed, st.state, st.targets)
	clear(st.targets) // old sets are not kept alive
}

// tookLocked does what a step of the machine leads to.
func (st *stream) tookLocked(out machine.Out, typeURL string, nack *Nack) {
	st.frames = append(st.frames, out.Frames...)
	st.pushed = st.pushed || len(out.Frames) > 0
	acked, wanted := st.machine.Acked(), st.machine.Revision()
	if acked >= wanted && st.observed != wanted {
		// The first configuration is no change.
		if st.pushed && st.observed > 0 && !st.changed.IsZero() {
			st.server.cfg.Metrics.Converged(time.Since(st.changed))
		}
		st.observed, st.pushed = wanted, false
	}
	at := standing{acked: acked, refusedType: typeURL, nack: nack}
	if acked >= wanted {
		at.rests = st.state
	}
	st.views = st.machine.AppendViews(st.views[:0])
	at.views = st.views
	st.server.ledger.update(st.client.Stream, at)
	st.flushLocked()
	if st.release != nil && !st.writing && acked == wanted {
		st.releaseLocked()
	}
}

// read owns receiving, and ends with the stream.
func (st *stream) read() {
	allowed := newAllowance(st.server.cfg.Limits.Requests)
	for greeted := false; ; greeted = true {
		m := &message{repeats: st.repeats}
		err := st.t.receive(m)
		if err == nil {
			err = m.check(st.server.cfg.Limits.NameBytes)
		}
		switch {
		case err != nil:
		case greeted:
			err = st.handle(m)
		default:
			st.first <- m
			select {
			case <-st.ready:
			case <-st.t.Context().Done():
				return
			}
		}
		if err == nil {
			if err = allowed.wait(st.t.Context(), m.cost()); err != nil {
				err = status.FromContextError(err).Err()
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			st.fail(err)
			return
		}
	}
}

// repeats reports whether a client tells names that it has told already.
func (st *stream) repeats(typeURL string, digest uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.machine != nil && !st.ended && st.machine.Knows(typeURL, digest)
}
