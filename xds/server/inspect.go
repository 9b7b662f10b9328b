package server

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// Inspect answers a request for a type of Istio's own ("istio.io/debug" and
// what stands below it), by which tools look into the control plane. It is asked
// once for each request and must not change what it returned. Its error ends the
// stream; give it a gRPC status.
type Inspect func(ctx context.Context, c Client, typeURL string, names []string) ([]*xds.Resource, error)

// inspectPrefix begins the types that are looked at and not subscribed to.
const inspectPrefix = "istio.io/"

func (st *stream) inspects(m *message) bool {
	return st.server.cfg.Inspect != nil && strings.HasPrefix(m.TypeURL, inspectPrefix)
}

// inspect answers a request; nil for an ACK, which asks for nothing.
func (st *stream) inspect(m *message) (*machine.Frame, error) {
	if m.Nonce != "" || m.Refused {
		return nil, nil
	}
	names := m.Names
	if st.t.delta() {
		names = m.Subscribe
	}
	resources, err := st.server.cfg.Inspect(st.t.Context(), st.client, m.TypeURL, names)
	if err != nil {
		return nil, err
	}
	st.inspected++
	number := strconv.FormatUint(st.inspected, 10)
	return &machine.Frame{TypeURL: m.TypeURL, Nonce: "inspect-" + number, Version: number, Resources: resources}, nil
}

// serveInspector is the life of a stream that began with such a request: it has
// no configuration, is no proxy in the ledger and waits for nobody.
func (st *stream) serveInspector(first *message) error {
	for m := first; ; {
		if !st.inspects(m) {
			return status.Error(codes.InvalidArgument, "a stream that began by asking for "+inspectPrefix+" types gets nothing else")
		}
		f, err := st.inspect(m)
		if err != nil {
			return err
		}
		if f != nil {
			if err := st.sendInspected(f); err != nil {
				return err
			}
		}
		select {
		case m = <-st.received:
		case err := <-st.failed:
			return err
		case <-st.server.closing.Done():
			return status.Error(codes.Unavailable, "the control plane is shutting down")
		}
	}
}

// sendInspected waits until the client has taken the frame, but not for ever.
func (st *stream) sendInspected(f *machine.Frame) error {
	st.server.goroutines.Go(func() { st.written <- st.t.send(f) })
	timeout := time.NewTimer(st.server.cfg.Limits.SendTimeout)
	defer timeout.Stop()
	select {
	case err := <-st.written:
		return err
	case <-timeout.C:
		return status.Errorf(codes.DeadlineExceeded, "the client did not take a response for %v", st.server.cfg.Limits.SendTimeout)
	case <-st.server.closing.Done():
		return status.Error(codes.Unavailable, "the control plane is shutting down")
	}
}
