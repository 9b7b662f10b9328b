package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

// stream is one stream of either protocol.
type stream interface {
	send(*request) error
	receive() (*response, error)
}

// request is what either protocol can say; each takes what it has fields for.
type request struct {
	node    *corev3.Node
	typeURL string
	nonce   string
	version string
	reason  string

	names                  []string
	subscribe, unsubscribe []string
	initial                map[string]string
}

type response struct {
	typeURL   string
	version   string
	nonce     string
	resources []*xds.Resource
	removed   []string
	// whole says that it is state-of-the-world: absence can mean removal.
	whole bool
}

// services are the discovery services of one type each, and what their methods end in.
var services = map[string]struct{ service, method string }{
	xds.ClusterType:         {"envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"},
	xds.EndpointType:        {"envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"},
	xds.ListenerType:        {"envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"},
	xds.RouteType:           {"envoy.service.route.v3.RouteDiscoveryService", "Routes"},
	xds.VirtualHostType:     {"envoy.service.route.v3.VirtualHostDiscoveryService", "VirtualHosts"},
	xds.SecretType:          {"envoy.service.secret.v3.SecretDiscoveryService", "Secrets"},
	xds.ExtensionConfigType: {"envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"},
}

// method is the gRPC method that serves a type, or every type.
func method(typeURL string, sotw bool) (string, error) {
	service, name := "envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources"
	if typeURL != "" {
		s, ok := services[typeURL]
		if !ok || typeURL == xds.VirtualHostType && sotw {
			return "", fmt.Errorf("there is no discovery service for %s", xds.ShortType(typeURL))
		}
		service, name = s.service, s.method
	}
	if sotw {
		return "/" + service + "/Stream" + name, nil
	}
	return "/" + service + "/Delta" + name, nil
}

func openStream(ctx context.Context, conn *grpc.ClientConn, typeURL string, sotw bool) (stream, error) {
	m, err := method(typeURL, sotw)
	if err != nil {
		return nil, err
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m)
	if err != nil {
		return nil, err
	}
	if sotw {
		return sotwStream{grpc.GenericClientStream[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]{ClientStream: st}}, nil
	}
	return deltaStream{grpc.GenericClientStream[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]{ClientStream: st}}, nil
}

type deltaStream struct {
	grpc.GenericClientStream[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
}

func (s deltaStream) send(r *request) error {
	return sendError(s.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node:                     r.node,
		TypeUrl:                  r.typeURL,
		ResourceNamesSubscribe:   r.subscribe,
		ResourceNamesUnsubscribe: r.unsubscribe,
		InitialResourceVersions:  r.initial,
		ResponseNonce:            r.nonce,
		ErrorDetail:              errorDetail(r.reason),
	}))
}

func (s deltaStream) receive() (*response, error) {
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{typeURL: m.GetTypeUrl(), version: m.GetSystemVersionInfo(), nonce: m.GetNonce(), removed: m.GetRemovedResources()}
	for _, res := range m.GetResources() {
		r.resources = append(r.resources, xds.Received(res.GetName(), m.GetTypeUrl(), res.GetVersion(), res.GetResource()))
	}
	return r, nil
}

type sotwStream struct {
	grpc.GenericClientStream[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
}

func (s sotwStream) send(r *request) error {
	return sendError(s.Send(&discoveryv3.DiscoveryRequest{
		Node:          r.node,
		TypeUrl:       r.typeURL,
		ResourceNames: r.names,
		ResponseNonce: r.nonce,
		VersionInfo:   r.version,
		ErrorDetail:   errorDetail(r.reason),
	}))
}

func (s sotwStream) receive() (*response, error) {
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{typeURL: m.GetTypeUrl(), version: m.GetVersionInfo(), nonce: m.GetNonce(), whole: true}
	for _, body := range m.GetResources() {
		r.resources = append(r.resources, unwrap(m.GetTypeUrl(), body))
	}
	return r, nil
}

// sendError hides that gRPC reports a broken stream as EOF to the sender; the
// receiver learns the true reason.
func sendError(err error) error {
	if errors.Is(err, io.EOF) {
		return errSendClosed
	}
	return err
}

func errorDetail(reason string) *status.Status {
	if reason == "" {
		return nil
	}
	return &status.Status{Code: int32(codes.InvalidArgument), Message: reason}
}

// meshConfigType holds one object of configuration, whose name is that of the
// metadata in its first field.
const meshConfigType = "type.googleapis.com/istio.mcp.v1alpha1.Resource"

const wrapperType = "type.googleapis.com/envoy.service.discovery.v3.Resource"

// unwrap finds the name of a state-of-the-world resource. A server may send it
// in a wrapper that tells; otherwise it is the first field of every type that
// has names.
func unwrap(typeURL string, body *anypb.Any) *xds.Resource {
	if body.GetTypeUrl() == wrapperType {
		var w discoveryv3.Resource
		if err := proto.Unmarshal(body.GetValue(), &w); err == nil && w.GetResource() != nil {
			r := xds.FromAny(w.GetName(), w.GetResource())
			return r
		}
	}
	switch {
	case typeURL == xds.NameTableType:
		return xds.FromAny("", body)
	case body.GetTypeUrl() == meshConfigType:
		return xds.FromAny(firstString([]byte(firstString(body.GetValue()))), body)
	}
	return xds.FromAny(firstString(body.GetValue()), body)
}

// firstString is field 1 of a message, if that is a string.
func firstString(b []byte) (value string) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return value
		}
		b = b[n:]
		if number == 1 && kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return value
			}
			value, b = string(v), b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return value
		}
		b = b[n:]
	}
	return value
}
