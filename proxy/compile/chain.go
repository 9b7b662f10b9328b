package compile

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	connlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	directv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	metadataexchange "istio.io/api/envoy/config/filter/network/metadata_exchange"

	"lateen.dev/lateen/proxy/plan"
)

// chainEnv is what filter chains are compiled in.
type chainEnv struct {
	*listenerBuilder
	direction plan.Direction
}

var (
	chainFields      = fields("filter_chain_match filters use_proxy_proto metadata transport_socket transport_socket_connect_timeout name")
	chainMatchFields = fields(`destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges
		source_ports server_names transport_protocol application_protocols`)
)

func (b chainEnv) chain(fc *listenerv3.FilterChain) (*plan.FilterChain, error) {
	if err := chainFields.only(fc); err != nil {
		return nil, err
	}
	if fc.GetUseProxyProto().GetValue() {
		return nil, errors.New("use_proxy_proto is deprecated; use the listener filter envoy.filters.listener.proxy_protocol")
	}
	out := &plan.FilterChain{Name: fc.GetName(), Metadata: metadata(fc.GetMetadata())}
	var err error
	if out.TransportTimeout, err = duration(fc.GetTransportSocketConnectTimeout(), 0); err != nil {
		return nil, at(err, "transport_socket_connect_timeout")
	}
	if out.TLS, err = b.downstreamTLS(fc.GetTransportSocket(), &b.needs); err != nil {
		return nil, at(err, "transport_socket")
	}
	for i, f := range fc.GetFilters() {
		compiled := plan.NetworkFilter{Name: f.GetName()}
		var err error
		if f.GetConfigDiscovery() != nil {
			compiled.Discovery, err = b.discoveredNetworkFilter(f)
		} else {
			compiled.Config, err = b.networkFilter(f)
		}
		if err != nil {
			return nil, at(err, "filters[%d] %q", i, f.GetName())
		}
		cfg := compiled.Config
		if terminal(cfg) != (i == len(fc.GetFilters())-1) {
			if terminal(cfg) {
				return nil, fmt.Errorf("filters[%d] %q is terminal but not the last", i, f.GetName())
			}
			return nil, fmt.Errorf("filters[%d] %q is the last, but it doesn't end a chain: tcp_proxy, http_connection_manager or direct_response do", i, f.GetName())
		}
		out.Filters = append(out.Filters, compiled)
	}
	return out, nil
}

func terminal(c plan.NetworkFilterConfig) bool {
	switch c.(type) {
	case *plan.TCPProxy, *plan.HTTPConnectionManager, *plan.DirectResponseFilter:
		return true
	}
	return false
}

func chainMatch(m *listenerv3.FilterChainMatch) (plan.ChainMatch, error) {
	var out plan.ChainMatch
	if err := chainMatchFields.only(m); err != nil {
		return out, err
	}
	var err error
	if out.DestinationPort, err = port16(m.GetDestinationPort().GetValue()); err != nil {
		return out, at(err, "destination_port")
	}
	if out.Destination, err = cidrs(m.GetPrefixRanges()); err != nil {
		return out, at(err, "prefix_ranges")
	}
	if out.DirectSource, err = cidrs(m.GetDirectSourcePrefixRanges()); err != nil {
		return out, at(err, "direct_source_prefix_ranges")
	}
	if out.Source, err = cidrs(m.GetSourcePrefixRanges()); err != nil {
		return out, at(err, "source_prefix_ranges")
	}
	for _, p := range m.GetSourcePorts() {
		sp, err := port16(p)
		if err != nil {
			return out, at(err, "source_ports")
		}
		out.SourcePorts = append(out.SourcePorts, sp)
	}
	for _, n := range m.GetServerNames() {
		out.ServerNames = append(out.ServerNames, strings.ToLower(n))
	}
	switch m.GetSourceType() {
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SourceType = plan.SourceLocal
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SourceType = plan.SourceExternal
	}
	out.Transport, out.ALPN = m.GetTransportProtocol(), m.GetApplicationProtocols()
	return out, nil
}

func (b chainEnv) networkFilter(f *listenerv3.Filter) (plan.NetworkFilterConfig, error) {
	e, err := extensionOf(f.GetTypedConfig())
	if err != nil {
		return nil, err
	}
	switch e.kind {
	case "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager":
		var m hcmv3.HttpConnectionManager
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return b.connectionManager(&m)
	case "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy":
		var m tcpv3.TcpProxy
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return b.tcpProxy(&m)
	case "envoy.extensions.filters.network.rbac.v3.RBAC":
		var m netrbacv3.RBAC
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return networkRBAC(&m)
	}
	return smallNetworkFilter(&e)
}

// smallNetworkFilter are those whose configuration is a field or two.
func smallNetworkFilter(e *extension) (plan.NetworkFilterConfig, error) {
	switch e.kind {
	case "envoy.extensions.filters.network.sni_cluster.v3.SniCluster":
		return &plan.SNICluster{}, e.into(&sniclusterv3.SniCluster{})
	case "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit":
		var m connlimitv3.ConnectionLimit
		if err := e.into(&m); err != nil {
			return nil, err
		}
		delay, err := duration(m.GetDelay(), 0)
		return &plan.ConnectionLimit{StatPrefix: m.GetStatPrefix(), Max: m.GetMaxConnections().GetValue(), Delay: delay}, err
	case "envoy.extensions.filters.network.direct_response.v3.Config":
		var m directv3.Config
		if err := e.into(&m); err != nil {
			return nil, err
		}
		body, err := inlineData(m.GetResponse())
		return &plan.DirectResponseFilter{Body: body}, err
	case "envoy.tcp.metadataexchange.config.MetadataExchange":
		return metadataExchange(e)
	case "stats.PluginConfig":
		return statsFilter(e)
	}
	return nil, fmt.Errorf("%s is not a network filter that this proxy has", e.kind)
}

// metadataExchange reads Istio's filter, for listeners and clusters.
func metadataExchange(e *extension) (*plan.MetadataExchange, error) {
	var m metadataexchange.MetadataExchange
	if e.st != nil {
		// The struct form has fields that the published message lacks, such as enable_discovery.
		var o struct {
			Protocol string `json:"protocol"`
		}
		if err := e.object(&o); err != nil {
			return nil, err
		}
		return &plan.MetadataExchange{Protocol: o.Protocol}, nil
	}
	if err := e.into(&m); err != nil {
		return nil, err
	}
	return &plan.MetadataExchange{Protocol: m.GetProtocol()}, nil
}

// inlineData reads a data source that must not be a file.
func inlineData(d *corev3.DataSource) ([]byte, error) {
	c := Compiler{}
	b, err := c.data(d)
	if errors.Is(err, errNoData) {
		return nil, nil
	}
	return b, err
}
