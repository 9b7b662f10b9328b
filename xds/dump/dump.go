// Package dump writes what a client shall have, and where it stands, in the
// shapes of Envoy's admin and client status interfaces: what tools made for
// istiod read.
//
// Called by app for debug pages and debug types. It keeps nothing, starts no
// goroutines, and is safe for concurrent use. Private keys never come out.
//
// May import: xds.
package dump

import (
	"bytes"
	"encoding/json"
	"fmt"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// Config is the state as the parts of Envoy's config dump, in its order.
// Endpoints are left out unless asked for, as Envoy does.
func Config(s *xds.State, endpoints bool) ([]*anypb.Any, error) {
	clusters := &adminv3.ClustersConfigDump{VersionInfo: s.Set(xds.ClusterType).Version()}
	for r := range s.Set(xds.ClusterType).All() {
		clusters.DynamicActiveClusters = append(clusters.DynamicActiveClusters,
			&adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: r.Version, Cluster: r.Body()})
	}
	listeners := &adminv3.ListenersConfigDump{VersionInfo: s.Set(xds.ListenerType).Version()}
	for r := range s.Set(xds.ListenerType).All() {
		listeners.DynamicListeners = append(listeners.DynamicListeners, &adminv3.ListenersConfigDump_DynamicListener{
			Name: r.Name, ActiveState: &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: r.Version, Listener: r.Body()}})
	}
	routes := &adminv3.RoutesConfigDump{}
	for r := range s.Set(xds.RouteType).All() {
		body, err := withHosts(r, s.Set(xds.VirtualHostType))
		if err != nil {
			return nil, err
		}
		routes.DynamicRouteConfigs = append(routes.DynamicRouteConfigs,
			&adminv3.RoutesConfigDump_DynamicRouteConfig{VersionInfo: r.Version, RouteConfig: body})
	}
	secrets, err := redacted(s.Set(xds.SecretType))
	if err != nil {
		return nil, err
	}
	parts := []proto.Message{&adminv3.BootstrapConfigDump{}, clusters}
	if endpoints {
		all := &adminv3.EndpointsConfigDump{}
		for r := range s.Set(xds.EndpointType).All() {
			all.DynamicEndpointConfigs = append(all.DynamicEndpointConfigs,
				&adminv3.EndpointsConfigDump_DynamicEndpointConfig{VersionInfo: r.Version, EndpointConfig: r.Body()})
		}
		parts = append(parts, all)
	}
	parts = append(parts, listeners, &adminv3.ScopedRoutesConfigDump{}, routes, secrets)
	filters := &adminv3.EcdsConfigDump{}
	for r := range s.Set(xds.ExtensionConfigType).All() {
		filters.EcdsFilters = append(filters.EcdsFilters, &adminv3.EcdsConfigDump_EcdsFilterConfig{VersionInfo: r.Version, EcdsFilter: r.Body()})
	}
	if len(filters.GetEcdsFilters()) > 0 {
		parts = append(parts, filters)
	}
	out := make([]*anypb.Any, 0, len(parts))
	for _, p := range parts {
		a, err := anypb.New(p)
		if err != nil {
			return nil, fmt.Errorf("config dump: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// withHosts is a route configuration with the virtual hosts that are resources of
// their own, as Envoy shows it.
func withHosts(r *xds.Resource, hosts *xds.Set) (*anypb.Any, error) {
	var all []*routev3.VirtualHost
	for h := range hosts.Members(r.Name) {
		host := &routev3.VirtualHost{}
		if err := proto.Unmarshal(h.Body().GetValue(), host); err != nil {
			return nil, fmt.Errorf("virtual host %q: %w", h.Name, err)
		}
		all = append(all, host)
	}
	if len(all) == 0 {
		return r.Body(), nil
	}
	route := &routev3.RouteConfiguration{}
	if err := proto.Unmarshal(r.Body().GetValue(), route); err != nil {
		return nil, fmt.Errorf("route configuration %q: %w", r.Name, err)
	}
	route.VirtualHosts = append(route.VirtualHosts, all...)
	body, err := anypb.New(route)
	if err != nil {
		return nil, fmt.Errorf("route configuration %q: %w", r.Name, err)
	}
	return body, nil
}

// redacted are the secrets without their keys.
func redacted(set *xds.Set) (*adminv3.SecretsConfigDump, error) {
	out := &adminv3.SecretsConfigDump{}
	for r := range set.All() {
		secret := &tlsv3.Secret{}
		if err := proto.Unmarshal(r.Body().GetValue(), secret); err != nil {
			return nil, fmt.Errorf("secret %q: %w", r.Name, err)
		}
		if c := secret.GetTlsCertificate(); c != nil {
			c.PrivateKey = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "[redacted]"}}
		}
		body, err := anypb.New(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", r.Name, err)
		}
		out.DynamicActiveSecrets = append(out.DynamicActiveSecrets,
			&adminv3.SecretsConfigDump_DynamicSecret{Name: r.Name, VersionInfo: r.Version, Secret: body})
	}
	return out, nil
}

// ConfigJSON is Config as Envoy's admin address answers /config_dump.
func ConfigJSON(s *xds.State, endpoints bool) ([]byte, error) {
	parts, err := Config(s, endpoints)
	if err != nil {
		return nil, err
	}
	return JSON(&adminv3.ConfigDump{Configs: parts})
}

// JSON is a message with the field names of its definition, as Envoy writes it.
func JSON(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	// protojson varies its spacing on purpose; one spacing makes output stable.
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	return out.Bytes(), nil
}

// Content is what a resource says, in JSON; nothing of secrets, and of what is
// not known.
func Content(r *xds.Resource) (json.RawMessage, error) {
	if r == nil || r.Body() == nil || r.TypeURL == xds.SecretType {
		return nil, nil
	}
	m, err := r.Body().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", xds.ShortType(r.TypeURL), r.Name, err)
	}
	return JSON(m)
}

// SetJSON is a list of the set's resources. Secrets are not for it.
func SetJSON(set *xds.Set) (json.RawMessage, error) {
	list := []json.RawMessage{}
	for r := range set.All() {
		if r.TypeURL == xds.SecretType {
			return nil, fmt.Errorf("secret %q is not shown", r.Name)
		}
		b, err := Content(r)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return json.Marshal(list)
}

// syncTypes are those of which istioctl shows the status.
var syncTypes = [...]string{xds.ListenerType, xds.RouteType, xds.EndpointType, xds.ClusterType, xds.ExtensionConfigType}

// Sync is where a client stands, as Envoy's client status service says it.
func Sync(c *server.ClientStatus) *statusv3.ClientConfig {
	meta := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for name, value := range map[string]string{"CLUSTER_ID": c.Node.Metadata.ClusterID, "NAMESPACE": c.Node.Metadata.Namespace,
		"ISTIO_VERSION": c.Node.Metadata.ProxyVersion} {
		if value != "" {
			meta.Fields[name] = structpb.NewStringValue(value)
		}
	}
	out := &statusv3.ClientConfig{Node: &corev3.Node{Id: c.Node.ID, Metadata: meta}}
	for _, typeURL := range syncTypes {
		one := &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: typeURL, ConfigStatus: statusv3.ConfigStatus_NOT_SENT}
		for i := range c.Types {
			if t := &c.Types[i]; t.TypeURL == typeURL {
				one.ConfigStatus, one.VersionInfo, one.LastUpdated = syncStatus(t), t.Acked, timestamppb.New(t.Since)
				one.ErrorState = failure(t)
			}
		}
		out.GenericXdsConfigs = append(out.GenericXdsConfigs, one)
		if old := perXDS(one); old != nil {
			//lint:ignore SA1019 older versions of istioctl read nothing else
			out.XdsConfig = append(out.XdsConfig, old)
		}
	}
	return out
}

// perXDS is the status in the shape of old; nil for a type that had none.
func perXDS(c *statusv3.ClientConfig_GenericXdsConfig) *statusv3.PerXdsConfig {
	out := &statusv3.PerXdsConfig{Status: c.GetConfigStatus()}
	switch c.GetTypeUrl() {
	case xds.ListenerType:
		out.PerXdsConfig = &statusv3.PerXdsConfig_ListenerConfig{}
	case xds.RouteType:
		out.PerXdsConfig = &statusv3.PerXdsConfig_RouteConfig{}
	case xds.EndpointType:
		out.PerXdsConfig = &statusv3.PerXdsConfig_EndpointConfig{}
	case xds.ClusterType:
		out.PerXdsConfig = &statusv3.PerXdsConfig_ClusterConfig{}
	default:
		return nil
	}
	return out
}

func syncStatus(t *server.TypeStatus) statusv3.ConfigStatus {
	switch t.Status() {
	case server.Synced:
		return statusv3.ConfigStatus_SYNCED
	case server.Stale:
		return statusv3.ConfigStatus_STALE
	case server.Errored:
		return statusv3.ConfigStatus_ERROR
	}
	return statusv3.ConfigStatus_NOT_SENT
}

func failure(t *server.TypeStatus) *adminv3.UpdateFailureState {
	if len(t.Refused) == 0 || t.LastNack == nil {
		return nil
	}
	return &adminv3.UpdateFailureState{Details: t.LastNack.Reason, VersionInfo: t.Refused[0].Version,
		LastUpdateAttempt: timestamppb.New(t.LastNack.Time)}
}

// Node is a client's node as it came, without what only the client's peer could
// prove.
func Node(n *xds.Node) *corev3.Node { return n.Encode() }

// Resource makes a message a resource of Istio's debug types.
func Resource(name string, m proto.Message) (*xds.Resource, error) { return xds.NewResource(name, m) }
