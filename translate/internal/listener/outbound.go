package listener

import (
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
)

// Chain is one way that connections to an outbound listener may go.
type Chain struct {
	// SNI and CIDRs select it; neither selects everything.
	SNI   []string
	CIDRs []string
	// TCP is where the bytes go, or RouteName the routes of the HTTP requests inside.
	TCP       *TCP
	RouteName string
	Protocol  model.Protocol
	// Sniff selects the chain by the bytes: plaintext HTTP only.
	Sniff    bool
	Metadata *corev3.Metadata
}

// Outbound is a listener to which captured connections are handed by their original destination, or one that a workload
// without capture dials.
type Outbound struct {
	Bind string
	Port uint32
	// Open binds the port; otherwise virtualOutbound hands connections over.
	Open   bool
	Chains []Chain
	// Fallback is the cluster for what no chain takes; empty if there is nothing left to take.
	Fallback string
}

// Name of the listener.
func (o Outbound) Name() string { return naming.Listener(o.Bind, o.Port) }

// Outbound makes one outbound listener of a sidecar.
func (e Env) Outbound(in Outbound) *listenerv3.Listener {
	out := &listenerv3.Listener{
		Name:                             in.Name(),
		Address:                          pb.Address(in.Bind, in.Port),
		TrafficDirection:                 corev3.TrafficDirection_OUTBOUND,
		ContinueOnListenerFiltersTimeout: true,
		ListenerFiltersTimeout:           noTimeout(),
		AccessLog:                        nil,
	}
	if !in.Open {
		out.BindToPort = pb.Bool(false)
	}
	sniff := slices.ContainsFunc(in.Chains, func(c Chain) bool { return c.Sniff })
	sni := slices.ContainsFunc(in.Chains, func(c Chain) bool { return len(c.SNI) > 0 })
	if sniff || sni {
		out.ListenerFilters = append(out.ListenerFilters, tlsInspector())
	}
	if sniff {
		out.ListenerFilters = append(out.ListenerFilters, httpInspector())
		out.ListenerFiltersTimeout = e.Mesh.Config.GetProtocolDetectionTimeout()
	}
	for _, c := range in.Chains {
		fc := e.outboundChain(in, c)
		if fc.FilterChainMatch == nil && out.DefaultFilterChain == nil {
			out.DefaultFilterChain = fc
			continue
		}
		out.FilterChains = append(out.FilterChains, fc)
	}
	switch {
	case len(out.FilterChains) == 0 && out.DefaultFilterChain != nil:
		out.FilterChains, out.DefaultFilterChain = []*listenerv3.FilterChain{out.DefaultFilterChain}, nil
	case out.DefaultFilterChain == nil && in.Fallback != "":
		out.DefaultFilterChain = &listenerv3.FilterChain{
			Name:    naming.PassthroughFilterChain,
			Filters: e.tcpFilters(TCP{Side: OutboundSide, Stat: in.Fallback, Clusters: To(in.Fallback)}),
		}
	}
	return out
}

func (e Env) outboundChain(in Outbound, c Chain) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{FilterChainMatch: chainMatch(c), Metadata: c.Metadata}
	if c.TCP != nil {
		out.Filters = e.tcpFilters(*c.TCP)
		return out
	}
	out.Filters = []*listenerv3.Filter{e.connectionManager(HTTP{
		Side:        OutboundSide,
		Stat:        httpStat(OutboundSide, in.Name()),
		Protocol:    c.Protocol,
		RouteName:   c.RouteName,
		AbsoluteURL: c.RouteName == naming.HTTPProxyRoute,
	})}
	return out
}

// chainMatch is nil for a chain that takes everything.
func chainMatch(c Chain) *listenerv3.FilterChainMatch {
	out := &listenerv3.FilterChainMatch{}
	if c.Sniff {
		out.ApplicationProtocols, out.TransportProtocol = plainHTTP(), rawBuffer
	}
	if !slices.Contains(c.SNI, "*") {
		out.ServerNames = slices.Sorted(slices.Values(c.SNI))
	}
	for _, s := range slices.Sorted(slices.Values(c.CIDRs)) {
		cidr, err := pb.CIDR(s)
		if err != nil || cidr.GetPrefixLen().GetValue() == 0 {
			continue // a match on everything is no match
		}
		out.PrefixRanges = append(out.PrefixRanges, cidr)
	}
	if len(out.ServerNames)+len(out.PrefixRanges)+len(out.ApplicationProtocols) == 0 {
		return nil
	}
	return out
}

// VirtualOutbound makes the listener that captured connections arrive at. It hands each to the listener of its original
// destination; those without one go to fallback. The capture port itself leads nowhere, or a connection to it would come
// back for ever.
func (e Env) VirtualOutbound(fallback string) *listenerv3.Listener {
	port := uint32(e.Mesh.Config.GetProxyListenPort())
	out := &listenerv3.Listener{
		Name:             naming.VirtualOutbound,
		Address:          pb.Address(e.Wildcard(), port),
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		UseOriginalDst:   pb.Bool(true),
		AccessLog:        e.listenerLog(OutboundSide),
		FilterChains: []*listenerv3.FilterChain{
			e.blackHole(naming.OutboundBlackHole, port, OutboundSide),
			{
				Name:    naming.OutboundCatchAll,
				Filters: e.tcpFilters(TCP{Side: OutboundSide, Stat: fallback, Clusters: To(fallback)}),
			},
		},
	}
	if e.Interception == model.InterceptTProxy {
		out.Transparent = pb.Bool(true)
	}
	return out
}

// HTTPProxy makes the listener of the explicit HTTP proxy, at bind or else on the loopback device.
func (e Env) HTTPProxy(bind string, port uint32) *listenerv3.Listener {
	if bind == "" {
		bind = e.Loopback()
	}
	return e.Outbound(Outbound{
		Bind: bind, Port: port, Open: true,
		Chains: []Chain{{RouteName: naming.HTTPProxyRoute}},
	})
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
