package listener

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/rbac"
	"lateen.dev/lateen/translate/internal/tlsctx"
)

// GatewayChain is what one server of a Gateway, or all plain HTTP servers of one port, take.
type GatewayChain struct {
	// SNI are the server's hosts where TLS is terminated or passed through; empty for plain servers.
	SNI []string
	// ALPN restricts a chain of AUTO_PASSTHROUGH to mutual TLS of the mesh.
	ALPN []string
	// TLS is terminated as it says; nil for plain servers and passthrough.
	TLS *networking.ServerTLSSettings
	// RouteName is the name of the routes, or TCP where the bytes go.
	RouteName string
	TCP       *TCP
	Protocol  model.Protocol
	// Stat overrides the stat prefix by the server's name.
	Stat     string
	Metadata *corev3.Metadata
}

// Gateway is one listener of a gateway.
type Gateway struct {
	// Name keeps the declared port even where another one is opened instead.
	Bind     string
	Port     uint32
	Chains   []GatewayChain
	Policies rbac.Input
}

// Gateway makes one listener of a gateway; nil if there is nothing to take.
func (e Env) Gateway(in Gateway) *listenerv3.Listener {
	if len(in.Chains) == 0 {
		return nil
	}
	out := &listenerv3.Listener{
		Name:                   naming.Listener(in.Bind, in.Port),
		Address:                pb.Address(in.Bind, in.Port),
		TrafficDirection:       corev3.TrafficDirection_OUTBOUND,
		ListenerFiltersTimeout: noTimeout(),
		AccessLog:              e.listenerLog(GatewaySide),
	}
	if e.Mesh.Config.GetDefaultConfig().GetGatewayTopology().GetProxyProtocol() != nil {
		out.ListenerFilters = append(out.ListenerFilters, &listenerv3.ListenerFilter{
			Name:       "envoy.filters.listener.proxy_protocol",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pb.Any(&proxyprotocolv3.ProxyProtocol{})},
		})
	}
	if slices.ContainsFunc(in.Chains, func(c GatewayChain) bool { return len(c.SNI) > 0 || c.TLS != nil }) {
		out.ListenerFilters = append(out.ListenerFilters, tlsInspector())
	}
	for _, c := range in.Chains {
		out.FilterChains = append(out.FilterChains, e.gatewayChain(in, c))
	}
	return out
}

func (e Env) gatewayChain(in Gateway, c GatewayChain) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{Metadata: c.Metadata}
	sni := slices.Sorted(slices.Values(c.SNI))
	if slices.Contains(sni, "*") {
		sni = nil
	}
	if len(sni)+len(c.ALPN) > 0 {
		out.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: sni, ApplicationProtocols: c.ALPN}
	}
	if c.TLS != nil {
		out.TransportSocket = tlsctx.Socket(tlsctx.Terminate(e.Dialect, e.Mesh, c.TLS, c.TCP == nil))
	}
	if c.TCP != nil {
		t := *c.TCP
		t.Policies = in.Policies
		out.Filters = e.tcpFilters(t)
		return out
	}
	stat := httpStat(GatewaySide, naming.Listener(in.Bind, in.Port))
	if c.Stat != "" {
		stat = c.Stat
	}
	out.Filters = []*listenerv3.Filter{e.connectionManager(HTTP{
		Side:      GatewaySide,
		Stat:      stat,
		Protocol:  c.Protocol,
		Policies:  in.Policies,
		RouteName: c.RouteName,
	})}
	return out
}
