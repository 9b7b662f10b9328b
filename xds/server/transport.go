package server

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// transport is one stream of either protocol. receive and send may run at the
// same time, each in one goroutine.
type transport interface {
	Context() context.Context
	receive() (*message, error)
	send(*machine.Frame) error
	delta() bool
}

// message is a request with the node that the first of a stream carries.
type message struct {
	machine.Request
	node *corev3.Node
}

// controlPlane is what responses say of their sender.
func controlPlane() *corev3.ControlPlane { return &corev3.ControlPlane{Identifier: "lateen"} }

type deltaTransport struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
}

func (deltaTransport) delta() bool { return true }

func (t deltaTransport) receive() (*message, error) {
	r, err := t.Recv()
	if err != nil {
		return nil, err
	}
	m := &message{node: r.GetNode(), Request: machine.Request{
		TypeURL:     r.GetTypeUrl(),
		Nonce:       r.GetResponseNonce(),
		Subscribe:   r.GetResourceNamesSubscribe(),
		Unsubscribe: r.GetResourceNamesUnsubscribe(),
		Initial:     r.GetInitialResourceVersions(),
	}}
	m.refusal(r.GetErrorDetail())
	return m, nil
}

func (t deltaTransport) send(f *machine.Frame) error {
	return t.SendMsg(&encoded{resources: f.Resources, field: (*xds.Resource).DeltaField, rest: &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl:           f.TypeURL,
		SystemVersionInfo: f.Version,
		Nonce:             f.Nonce,
		RemovedResources:  f.Removed,
		ControlPlane:      controlPlane(),
	}})
}

type sotwTransport struct {
	discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer
}

func (sotwTransport) delta() bool { return false }

func (t sotwTransport) receive() (*message, error) {
	r, err := t.Recv()
	if err != nil {
		return nil, err
	}
	m := &message{node: r.GetNode(), Request: machine.Request{
		TypeURL: r.GetTypeUrl(),
		Nonce:   r.GetResponseNonce(),
		Names:   r.GetResourceNames(),
	}}
	m.refusal(r.GetErrorDetail())
	return m, nil
}

func (t sotwTransport) send(f *machine.Frame) error {
	return t.SendMsg(&encoded{resources: f.Resources, field: (*xds.Resource).WorldField, rest: &discoveryv3.DiscoveryResponse{
		TypeUrl:      f.TypeURL,
		VersionInfo:  f.Version,
		Nonce:        f.Nonce,
		ControlPlane: controlPlane(),
	}})
}

// maxReasonBytes of a client's words are kept.
const maxReasonBytes = 4096

func (m *message) refusal(s *status.Status) {
	if s == nil {
		return
	}
	m.Refused, m.Reason = true, s.GetMessage()
	if len(m.Reason) > maxReasonBytes {
		m.Reason = m.Reason[:maxReasonBytes]
	}
}
