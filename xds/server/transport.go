package server

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"lateen.dev/lateen/xds/internal/machine"
)

// transport is one stream of either protocol. receive and send may run at the
// same time, each in one goroutine.
type transport interface {
	Context() context.Context
	// receive fills in the client's next message.
	receive(*message) error
	// send takes a frame, and calls the tail's Put, or has it called, when the
	// client's connection has.
	send(*machine.Frame, *tail) error
	// prompt reports whether send comes back at once while the client has
	// answered for all but promptBytes of what it was sent.
	prompt() bool
	delta() bool
}

// message is a request with the node that the first of a stream carries.
type message struct {
	machine.Request
	node *corev3.Node
	// delta says which protocol it is read as.
	delta bool
	// named counts the names of a state-of-the-world request, also of one that
	// repeats them.
	named int
	// repeats reports whether the names with a digest are those that the client
	// told last; nil if nobody knows.
	repeats func(typeURL string, digest uint64) bool
}

type deltaTransport struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
}

func (deltaTransport) delta() bool  { return true }
func (deltaTransport) prompt() bool { return true }

func (t deltaTransport) receive(m *message) error {
	m.delta = true
	return t.RecvMsg(m)
}

func (t deltaTransport) send(f *machine.Frame, end *tail) error {
	return t.SendMsg(&encoded{Frame: f, delta: true, tail: end})
}

type sotwTransport struct {
	discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer
}

func (sotwTransport) delta() bool                { return false }
func (sotwTransport) prompt() bool               { return true }
func (t sotwTransport) receive(m *message) error { return t.RecvMsg(m) }

func (t sotwTransport) send(f *machine.Frame, end *tail) error {
	return t.SendMsg(&encoded{Frame: f, tail: end})
}
