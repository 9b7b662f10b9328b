package server

import (
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// stream moves one client's messages and frames between its transport and its
// state machine. All fields belong to run's goroutine.
type stream struct {
	server *Server
	t      transport
	client Client

	machine *machine.Machine
	session Session
	state   *xds.State

	received chan *message
	failed   chan error

	// frames wait to be written: at most one for each type, as the machine has
	// only one of each in flight, and the answers that the client asked for.
	frames  []*machine.Frame
	write   chan *machine.Frame
	written chan error
	writing bool
	timeout *time.Timer

	// asked are questions about the machine, which run's goroutine answers.
	asked chan func(*machine.Machine)

	// observed is the newest revision whose convergence has been counted, changed
	// when the first change after it came, pushed that frames were sent since.
	observed uint64
	changed  time.Time
	pushed   bool
	// inspected counts answers to the client's questions about the control
	// plane.
	inspected uint64
}

func newStream(s *Server, t transport) *stream {
	return &stream{
		server:   s,
		t:        t,
		client:   Client{Stream: s.last.Add(1), Since: time.Now()},
		received: make(chan *message),
		failed:   make(chan error, 1),
		write:    make(chan *machine.Frame),
		written:  make(chan error, 1),
		asked:    make(chan func(*machine.Machine)),
		timeout:  stoppedTimer(),
	}
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
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
	if st.inspects(first) {
		return st.serveInspector(first)
	}
	release, err := st.server.admit(st.t.Context())
	if err != nil {
		return err
	}
	defer release()
	if err := st.attach(); err != nil {
		return err
	}
	defer st.session.Close()
	ledger := st.server.ledger
	ledger.connect(st)
	defer ledger.disconnect(st.client.Stream)
	defer close(st.write)
	st.server.goroutines.Go(st.writeAll)
	if err := st.request(first); err != nil {
		return err
	}
	return st.loop(release)
}

// hello waits for the first request, which tells the node.
func (st *stream) hello() (*message, error) {
	timer := time.NewTimer(st.server.cfg.Limits.HelloTimeout)
	defer timer.Stop()
	var first *message
	select {
	case first = <-st.received:
	case err := <-st.failed:
		return nil, err
	case <-timer.C:
		return nil, status.Error(codes.DeadlineExceeded, "no request came")
	case <-st.server.closing.Done():
		return nil, status.Error(codes.Unavailable, "the control plane is shutting down")
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
	return nil
}

// loop is the stream's life after the first request. The client keeps others
// waiting for admission until it has its first configuration, has used up its
// time, or does nothing.
func (st *stream) loop(release func()) error {
	limits := &st.server.cfg.Limits
	admitted, idle := time.NewTimer(limits.AdmittedFor), time.NewTimer(limits.AdmittedIdle)
	defer admitted.Stop()
	defer idle.Stop()
	for {
		if err := st.flush(); err != nil {
			return err
		}
		if !st.writing && st.machine.Acked() == st.state.Revision {
			release()
		}
		select {
		case m := <-st.received:
			idle.Reset(limits.AdmittedIdle)
			if err := st.request(m); err != nil {
				return err
			}
		case <-st.session.Changed():
			st.retarget()
		case answer := <-st.asked:
			answer(st.machine)
		case err := <-st.written:
			st.writing = false
			st.timeout.Stop()
			idle.Reset(limits.AdmittedIdle)
			if err != nil {
				return err
			}
		case <-admitted.C:
			release()
		case <-idle.C:
			release()
		case <-st.timeout.C:
			return status.Errorf(codes.DeadlineExceeded, "the client did not take a response for %v", st.server.cfg.Limits.SendTimeout)
		case err := <-st.failed:
			return err
		case <-st.server.closing.Done():
			return status.Error(codes.Unavailable, "the control plane is shutting down")
		}
	}
}

// maxFrames wait at most when a client asks about the control plane.
const maxFrames = 32

// request feeds a client's message to the machine.
func (st *stream) request(m *message) error {
	if st.inspects(m) {
		if len(st.frames) > maxFrames {
			return status.Error(codes.ResourceExhausted, "answers wait to be taken")
		}
		f, err := st.inspect(m)
		if f != nil {
			st.frames = append(st.frames, f)
		}
		return err
	}
	out, err := st.machine.Request(&m.Request)
	switch {
	case errors.Is(err, machine.ErrLimit):
		return status.Error(codes.ResourceExhausted, err.Error())
	case err != nil:
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if out.Demand != nil {
		if d, ok := st.session.(Demander); ok {
			d.Demand(out.Demand.TypeURL, out.Demand.Names)
		}
	}
	var nack *Nack
	if n := out.Nack; n != nil {
		nack = &Nack{Names: n.Names, Reason: n.Reason, Time: time.Now(), Revision: n.Revision}
		st.server.cfg.Metrics.Refused(n.TypeURL, &st.client)
		st.server.cfg.Log.Warn("configuration refused", "client", st.name(), "type", xds.ShortType(n.TypeURL), "resources", n.Names, "reason", n.Reason)
	}
	st.took(out)
	st.server.ledger.update(st.client.Stream, st.machine, m.TypeURL, nack)
	return nil
}

// retarget takes the newest state. Whatever came between is not needed any
// more.
func (st *stream) retarget() {
	old := st.state
	st.state = st.session.State()
	if st.observed == old.Revision {
		st.changed = st.state.Changed
	}
	st.took(st.machine.Target(st.state))
	st.server.ledger.update(st.client.Stream, st.machine, "", nil)
}

func (st *stream) took(out machine.Out) {
	st.frames = append(st.frames, out.Frames...)
	st.pushed = st.pushed || len(out.Frames) > 0
	if st.machine.Acked() < st.state.Revision || st.observed == st.state.Revision {
		return
	}
	// The first configuration is no change.
	if st.pushed && st.observed > 0 && !st.changed.IsZero() {
		st.server.cfg.Metrics.Converged(time.Since(st.changed))
	}
	st.observed, st.pushed = st.state.Revision, false
}

// flush hands the next frame to the writer unless it is busy.
func (st *stream) flush() error {
	if st.writing || len(st.frames) == 0 {
		return nil
	}
	f := st.frames[0]
	st.frames = st.frames[1:]
	st.writing = true
	st.timeout.Reset(st.server.cfg.Limits.SendTimeout)
	select {
	case st.write <- f:
	case <-st.t.Context().Done():
		return status.FromContextError(st.t.Context().Err()).Err()
	}
	size := 0
	for _, r := range f.Resources {
		size += r.Size()
	}
	st.server.cfg.Metrics.Pushed(f.TypeURL, size)
	return nil
}

// writeAll owns sending. A send that never comes back ends with the stream,
// which run ends when it takes too long.
func (st *stream) writeAll() {
	for f := range st.write {
		st.written <- st.t.send(f)
	}
}

// read owns receiving, and ends with the stream.
func (st *stream) read() {
	allowed := newAllowance(st.server.cfg.Limits.Requests)
	for {
		m, err := st.t.receive()
		if err == nil {
			err = m.check(st.server.cfg.Limits.NameBytes)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			st.failed <- err
			return
		}
		select {
		case st.received <- m:
		case <-st.t.Context().Done():
			return
		}
		if err := allowed.wait(st.t.Context(), m.cost()); err != nil {
			st.failed <- status.FromContextError(err).Err()
			return
		}
	}
}
