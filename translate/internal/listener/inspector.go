package listener

import (
	"cmp"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"lateen.dev/lateen/translate/internal/pb"
)

const (
	tlsInspectorName  = "envoy.filters.listener.tls_inspector"
	httpInspectorName = "envoy.filters.listener.http_inspector"
	// helloBytes is enough for most ClientHellos; the buffer grows when needed.
	helloBytes = 512
)

func tlsInspector() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name: tlsInspectorName,
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{
			TypedConfig: pb.Any(&tlsinspectorv3.TlsInspector{InitialReadBufferSize: pb.UInt32(helloBytes)}),
		},
	}
}

func httpInspector() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       httpInspectorName,
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pb.Any(&httpinspectorv3.HttpInspector{})},
	}
}

// need says which inspectors the chains of one destination port depend on.
type need struct{ tls, http bool }

// inspectors returns the inspectors that the chains need, each switched off on ports where it would only make
// server-first protocols wait. Chains without a port (0) stand for all other ports.
func inspectors(chains []*listenerv3.FilterChain) []*listenerv3.ListenerFilter {
	ports := map[uint32]need{}
	for _, c := range chains {
		m := c.GetFilterChainMatch()
		n := ports[m.GetDestinationPort().GetValue()]
		n.tls = n.tls || m.GetTransportProtocol() == tls
		n.http = n.http || slices.ContainsFunc(m.GetApplicationProtocols(), func(p string) bool { return p == "http/1.1" || p == "h2c" })
		ports[m.GetDestinationPort().GetValue()] = n
	}
	var out []*listenerv3.ListenerFilter
	if f := inspector(tlsInspector(), ports, func(n need) bool { return n.tls }); f != nil {
		out = append(out, f)
	}
	// The HTTP inspector comes second: it leaves connections alone that the first one found to be TLS.
	if f := inspector(httpInspector(), ports, func(n need) bool { return n.http }); f != nil {
		out = append(out, f)
	}
	return out
}

func inspector(f *listenerv3.ListenerFilter, ports map[uint32]need, wants func(need) bool) *listenerv3.ListenerFilter {
	var with, without []uint32
	for port, n := range ports {
		switch {
		case port == 0:
		case wants(n):
			with = append(with, port)
		default:
			without = append(without, port)
		}
	}
	elsewhere := wants(ports[0])
	switch {
	case !elsewhere && len(with) == 0:
		return nil
	case elsewhere && len(without) > 0:
		f.FilterDisabled = onPorts(without)
	case !elsewhere && (len(without) > 0 || hasPort(ports, 0)):
		f.FilterDisabled = &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_NotMatch{NotMatch: onPorts(with)},
		}
	}
	return f
}

func hasPort(ports map[uint32]need, port uint32) bool {
	_, ok := ports[port]
	return ok
}

func onPorts(ports []uint32) *listenerv3.ListenerFilterChainMatchPredicate {
	slices.SortFunc(ports, cmp.Compare)
	var rules []*listenerv3.ListenerFilterChainMatchPredicate
	for _, p := range ports {
		rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &typev3.Int32Range{Start: int32(p), End: int32(p) + 1},
			},
		})
	}
	if len(rules) == 1 {
		return rules[0]
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{
		Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
			OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
		},
	}
}
