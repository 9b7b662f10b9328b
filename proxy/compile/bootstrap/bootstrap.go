package bootstrap

import (
	"errors"
	"fmt"
	"net/netip"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
)

// Resource is a static resource.
type Resource struct {
	Kind plan.Kind
	Name string
	Body *anypb.Any
}

// Bootstrap is what a file says.
type Bootstrap struct {
	// File is where it was read.
	File string
	// Node is this proxy's node, as it is sent to the control plane; NodeID and NodeCluster are of it.
	Node                *corev3.Node
	NodeID, NodeCluster string
	// Resources are secrets, then clusters, then listeners.
	Resources []Resource
	// Admin is where the admin side listens; nil when it doesn't.
	Admin *Admin
	// ADS is nil for a static proxy.
	ADS *ADS
	// Ignored are fields that were given and make no difference here.
	Ignored []string
	// Body is the whole bootstrap, for /config_dump.
	Body *anypb.Any
}

// Admin is the address of the admin side.
type Admin struct {
	Address plan.Address
	// AccessLog is a path, or empty.
	AccessLog string
}

// ADS is the control plane.
type ADS struct {
	// Cluster is the static cluster by which it is reached, or empty when Target names it.
	Cluster string
	Target  string
	Delta   bool
	// Listeners and Clusters tell which of them are asked for as a whole.
	Listeners, Clusters bool
}

// handled are the bootstrap's fields that do something here; others are reported as ignored.
func handled() map[protoreflect.Name]bool {
	return map[protoreflect.Name]bool{"node": true, "static_resources": true, "dynamic_resources": true, "admin": true}
}

// Parse reads a bootstrap. file is its name for errors.
func Parse(file string, data []byte) (*Bootstrap, error) {
	var m bootstrapv3.Bootstrap
	if err := unmarshal(file, data, &m); err != nil {
		return nil, err
	}
	out := &Bootstrap{File: file, Node: m.GetNode(), NodeID: m.GetNode().GetId(), NodeCluster: m.GetNode().GetCluster()}
	known := handled()
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !known[f.Name()] {
			out.Ignored = append(out.Ignored, string(f.Name()))
		}
		return true
	})
	var err error
	if out.Body, err = anypb.New(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := out.resources(&m); err != nil {
		return nil, fmt.Errorf("%s: static_resources: %w", file, err)
	}
	if out.Admin, err = admin(m.GetAdmin()); err != nil {
		return nil, fmt.Errorf("%s: admin: %w", file, err)
	}
	if out.ADS, err = ads(m.GetDynamicResources()); err != nil {
		return nil, fmt.Errorf("%s: dynamic_resources: %w", file, err)
	}
	return out, nil
}

func (b *Bootstrap) resources(m *bootstrapv3.Bootstrap) error {
	add := func(kind plan.Kind, name string, msg proto.Message) error {
		body, err := anypb.New(msg)
		if err != nil {
			return fmt.Errorf("%v %q: %w", kind, name, err)
		}
		b.Resources = append(b.Resources, Resource{Kind: kind, Name: name, Body: body})
		return nil
	}
	for _, s := range m.GetStaticResources().GetSecrets() {
		if err := add(plan.KindSecret, s.GetName(), s); err != nil {
			return err
		}
	}
	for _, c := range m.GetStaticResources().GetClusters() {
		if err := add(plan.KindCluster, c.GetName(), c); err != nil {
			return err
		}
	}
	for i, l := range m.GetStaticResources().GetListeners() {
		if l.GetName() == "" {
			// A static listener need not have a name; Envoy makes one up.
			l.Name = fmt.Sprintf("listener_%d", i)
		}
		if err := add(plan.KindListener, l.GetName(), l); err != nil {
			return err
		}
	}
	return nil
}

func admin(m *bootstrapv3.Admin) (*Admin, error) {
	if m.GetAddress() == nil {
		return nil, nil
	}
	out := &Admin{AccessLog: m.GetAccessLogPath()} //nolint:staticcheck // still in use
	switch a := m.GetAddress().GetAddress().(type) {
	case *corev3.Address_Pipe:
		out.Address = plan.Address{Path: a.Pipe.GetPath(), Mode: a.Pipe.GetMode()}
	case *corev3.Address_SocketAddress:
		ip, err := netip.ParseAddr(a.SocketAddress.GetAddress())
		if err != nil {
			return nil, fmt.Errorf("address: %w", err)
		}
		if a.SocketAddress.GetPortValue() > 65535 {
			return nil, fmt.Errorf("address: port %d is above 65535", a.SocketAddress.GetPortValue())
		}
		out.Address = plan.Address{IP: netip.AddrPortFrom(ip, uint16(a.SocketAddress.GetPortValue()))}
	default:
		return nil, errors.New("address: neither socket_address nor pipe is given")
	}
	return out, nil
}

func ads(m *bootstrapv3.Bootstrap_DynamicResources) (*ADS, error) {
	if m == nil {
		return nil, nil
	}
	for name, src := range map[string]*corev3.ConfigSource{"lds_config": m.GetLdsConfig(), "cds_config": m.GetCdsConfig()} {
		if src != nil && src.GetAds() == nil {
			return nil, fmt.Errorf("%s: only ads is supported by this proxy", name)
		}
	}
	cfg := m.GetAdsConfig()
	if cfg == nil {
		if m.GetLdsConfig() != nil || m.GetCdsConfig() != nil {
			return nil, errors.New("ads_config is missing")
		}
		return nil, nil
	}
	out := &ADS{Listeners: m.GetLdsConfig() != nil, Clusters: m.GetCdsConfig() != nil}
	switch cfg.GetApiType() {
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_AGGREGATED_GRPC:
	case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		out.Delta = true
	default:
		return nil, fmt.Errorf("ads_config: api_type %v is not supported by this proxy", cfg.GetApiType())
	}
	if len(cfg.GetGrpcServices()) != 1 {
		return nil, fmt.Errorf("ads_config: one grpc_service is needed, here are %d", len(cfg.GetGrpcServices()))
	}
	svc := cfg.GetGrpcServices()[0]
	out.Cluster, out.Target = svc.GetEnvoyGrpc().GetClusterName(), svc.GetGoogleGrpc().GetTargetUri()
	if out.Cluster == "" && out.Target == "" {
		return nil, errors.New("ads_config: grpc_service names neither a cluster nor a target")
	}
	return out, nil
}
