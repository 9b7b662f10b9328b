package server

import (
	"context"
	"strconv"
	"strings"

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

// inspect answers a request; an ACK asks for nothing.
func (st *stream) inspect(m *message) error {
	if m.Nonce != "" || m.Refused {
		return nil
	}
	if st.waiting() > maxFrames {
		return status.Error(codes.ResourceExhausted, "answers wait to be taken")
	}
	names := m.Names
	if st.t.delta() {
		names = m.Subscribe
	}
	resources, err := st.server.cfg.Inspect(st.t.Context(), st.client, m.TypeURL, names)
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.inspected++
	number := strconv.FormatUint(st.inspected, 10)
	f := &machine.Frame{TypeURL: m.TypeURL, Nonce: st.salt + "inspect-" + number, Version: number, Resources: resources}
	if err := st.outbox.charge(ownBytes(f, st.t.delta())); err != nil {
		return err
	}
	st.frames = append(st.frames, f)
	st.flushLocked()
	return nil
}

// maxFrames wait at most when a client asks about the control plane.
const maxFrames = 32

func (st *stream) waiting() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.frames)
}
