package compile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
)

var extensionSourceFields = fields("config_source default_config apply_default_config_without_warming type_urls")

// What may come by itself: filters that decide about a request or a connection when it comes. The others are parts of the
// connection manager here, which is made with its listener.
func discoverableHTTP() []string {
	return []string{
		"envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.http.fault.v3.HTTPFault",
		"envoy.extensions.filters.http.cors.v3.Cors", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
	}
}

func discoverableNetwork() []string {
	return []string{"envoy.extensions.filters.network.rbac.v3.RBAC"}
}

// Extension compiles a filter's configuration that comes by itself.
func (c *Compiler) Extension(m *corev3.TypedExtensionConfig) (*plan.Extension, error) {
	if m.GetName() == "" {
		return nil, errors.New("name is empty")
	}
	e, err := extensionOf(m.GetTypedConfig())
	if err != nil {
		return nil, err
	}
	out := &plan.Extension{Name: m.GetName(), Version: hashOf(m), Type: e.kind}
	switch {
	case slices.Contains(discoverableHTTP(), e.kind):
		out.HTTP, err = chainEnv{listenerBuilder: &listenerBuilder{Compiler: c}}.httpFilter(m.GetTypedConfig())
	case slices.Contains(discoverableNetwork(), e.kind):
		out.Network, err = networkRBACOf(m.GetTypedConfig())
	default:
		err = notDiscoverable(e.kind, append(discoverableHTTP(), discoverableNetwork()...))
	}
	return out, err
}

func notDiscoverable(kind string, can []string) error {
	return fmt.Errorf("%s can't come by extension config discovery to this proxy; %s can", kind, strings.Join(can, ", "))
}

func networkRBACOf(config *anypb.Any) (plan.NetworkFilterConfig, error) {
	e, err := extensionOf(config)
	if err != nil {
		return nil, err
	}
	var m netrbacv3.RBAC
	if err := e.into(&m); err != nil {
		return nil, err
	}
	return networkRBAC(&m)
}

func (b chainEnv) discoveredHTTPFilter(f *hcmv3.HttpFilter) (*plan.FilterDiscovery, error) {
	out, fallback, err := b.filterDiscovery(f.GetName(), f.GetConfigDiscovery(), discoverableHTTP())
	if err == nil && fallback != nil {
		out.HTTP, err = b.httpFilter(fallback)
		err = at(err, "config_discovery: default_config")
	}
	return out, err
}

func (b chainEnv) discoveredNetworkFilter(f *listenerv3.Filter) (*plan.FilterDiscovery, error) {
	out, fallback, err := b.filterDiscovery(f.GetName(), f.GetConfigDiscovery(), discoverableNetwork())
	if err == nil && fallback != nil {
		out.Network, err = networkRBACOf(fallback)
		err = at(err, "config_discovery: default_config")
	}
	return out, err
}

// filterDiscovery compiles what a filter says of where its configuration comes from, and returns its default if it has one.
func (b chainEnv) filterDiscovery(name string, d *corev3.ExtensionConfigSource, can []string) (*plan.FilterDiscovery, *anypb.Any, error) {
	if err := extensionSourceFields.only(d); err != nil {
		return nil, nil, at(err, "config_discovery")
	}
	if name == "" {
		return nil, nil, errors.New("config_discovery: the filter has no name, which is what its configuration is asked for by")
	}
	need, err := discovered(name, d.GetConfigSource())
	if err != nil {
		return nil, nil, at(err, "config_discovery")
	}
	kinds, err := discoverableTypes(d.GetTypeUrls(), can)
	if err != nil {
		return nil, nil, at(err, "config_discovery: type_urls")
	}
	fallback := d.GetDefaultConfig()
	if fallback == nil && d.GetApplyDefaultConfigWithoutWarming() {
		return nil, nil, errors.New("config_discovery: apply_default_config_without_warming is set, and there is no default_config")
	}
	if fallback != nil {
		e, err := extensionOf(fallback)
		if err == nil && !slices.Contains(kinds, e.kind) {
			err = fmt.Errorf("%s is not among the type_urls", e.kind)
		}
		if err != nil {
			return nil, nil, at(err, "config_discovery: default_config")
		}
	}
	need.Types, need.Default = strings.Join(kinds, ","), d.GetApplyDefaultConfigWithoutWarming()
	b.needs.extension(need)
	return &plan.FilterDiscovery{Ref: b.Names.Extension(name), Types: kinds}, fallback, nil
}

func discoverableTypes(urls, can []string) ([]string, error) {
	if len(urls) == 0 {
		return nil, errors.New("there is none")
	}
	var out []string
	for _, url := range urls {
		kind := messageName(url)
		if !slices.Contains(can, kind) {
			return nil, notDiscoverable(kind, can)
		}
		out = append(out, kind)
	}
	return out, nil
}

// extension adds a need. Filters of one name that take different types are needs of their own.
func (n *Needs) extension(need Need) {
	for i := range n.Extensions {
		if o := &n.Extensions[i]; o.Name == need.Name && o.Types == need.Types {
			o.Default = o.Default && need.Default
			return
		}
	}
	n.Extensions = append(n.Extensions, need)
}
