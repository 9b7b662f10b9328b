package compile

import (
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
)

// Compiled is one compiled resource: the field of its kind is set.
type Compiled struct {
	Listener    *plan.Listener
	RouteConfig *plan.RouteConfig
	Cluster     *plan.Cluster
	Endpoints   *plan.Endpoints
	Secret      *plan.Secret
	VirtualHost *plan.VirtualHost
	Extension   *plan.Extension
	// Hosts compiles the virtual hosts that come by themselves to this route configuration; nil if none do.
	Hosts *Hosts
	Needs Needs
}

// Resource decodes and compiles a resource of the given kind and name. It never panics, whatever the bytes are: a
// fault of this package becomes an error of the resource.
func (c *Compiler) Resource(kind plan.Kind, name string, body *anypb.Any) (out Compiled, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = Compiled{}, fmt.Errorf("resource could not be compiled: %v", p)
		}
	}()
	return c.resource(kind, name, body)
}

func (c *Compiler) resource(kind plan.Kind, name string, body *anypb.Any) (out Compiled, err error) {
	var got string
	switch kind {
	case plan.KindListener:
		var m listenerv3.Listener
		if err := decode(body, &m); err != nil {
			return out, err
		}
		got = m.GetName()
		out.Listener, out.Needs, err = c.Listener(&m)
	case plan.KindRouteConfig:
		var m routev3.RouteConfiguration
		if err := decode(body, &m); err != nil {
			return out, err
		}
		got = m.GetName()
		out.RouteConfig, out.Needs, err = c.RouteConfig(&m)
		if err == nil && (len(out.Needs.VirtualHosts) > 0 || out.RouteConfig.Demand != nil) {
			out.Hosts, err = c.hosts(&m)
		}
	case plan.KindCluster:
		var m clusterv3.Cluster
		if err := decode(body, &m); err != nil {
			return out, err
		}
		got = m.GetName()
		out.Cluster, out.Needs, err = c.Cluster(&m)
	case plan.KindEndpoints:
		var m endpointv3.ClusterLoadAssignment
		if err := decode(body, &m); err != nil {
			return out, err
		}
		got = m.GetClusterName()
		out.Endpoints, err = c.Endpoints(&m)
	case plan.KindSecret:
		var m tlsv3.Secret
		if err := decode(body, &m); err != nil {
			return out, err
		}
		got = m.GetName()
		out.Secret, err = c.Secret(&m)
	case plan.KindExtension:
		var m corev3.TypedExtensionConfig
		if err := decode(body, &m); err != nil {
			return out, err
		}
		got = m.GetName()
		out.Extension, err = c.Extension(&m)
	}
	if err == nil && got != name {
		err = fmt.Errorf("the resource's own name is %q", got)
	}
	if err != nil {
		return Compiled{}, err
	}
	return out, nil
}

func decode(body *anypb.Any, m proto.Message) error {
	if body == nil {
		return errors.New("the resource has no body")
	}
	if err := body.UnmarshalTo(m); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
