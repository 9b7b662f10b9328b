package compile

import (
	"errors"
	"fmt"
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"

	"lateen.dev/lateen/proxy/plan"
)

var listenerFields = fields(`name address additional_addresses stat_prefix filter_chains use_original_dst
	default_filter_chain per_connection_buffer_limit_bytes metadata deprecated_v1 drain_type listener_filters
	listener_filters_timeout continue_on_listener_filters_timeout transparent freebind tcp_fast_open_queue_length
	traffic_direction connection_balance_config reuse_port enable_reuse_port access_log tcp_backlog_size
	max_connections_to_accept_per_socket_event bind_to_port ignore_global_conn_limit bypass_overload_manager
	enable_mptcp tcp_keepalive`)

// Envoy's defaults of a listener.
const (
	defaultBufferLimit     = 1 << 20
	defaultListenerTimeout = 15 * time.Second
)

// Listener compiles a listener.
func (c *Compiler) Listener(l *listenerv3.Listener) (*plan.Listener, Needs, error) {
	b := &listenerBuilder{Compiler: c}
	out, err := b.build(l)
	if err != nil {
		return nil, Needs{}, err
	}
	return out, b.needs, nil
}

// listenerBuilder gathers what a listener needs while it is compiled.
type listenerBuilder struct {
	*Compiler
	needs Needs
}

func (b *listenerBuilder) build(l *listenerv3.Listener) (*plan.Listener, error) {
	if l.GetName() == "" {
		return nil, errors.New("name is empty")
	}
	if err := listenerFields.only(l); err != nil {
		return nil, err
	}
	out := &plan.Listener{
		Name:             l.GetName(),
		Version:          hashOf(l),
		BindToPort:       boolean(l.GetBindToPort(), boolean(l.GetDeprecatedV1().GetBindToPort(), true)),
		UseOriginalDst:   l.GetUseOriginalDst().GetValue(),
		Transparent:      l.GetTransparent().GetValue(),
		Freebind:         l.GetFreebind().GetValue(),
		Backlog:          int(min(u32(l.GetTcpBacklogSize(), 0), math.MaxInt32)),
		Direction:        direction(l.GetTrafficDirection()),
		BufferLimit:      u32(l.GetPerConnectionBufferLimitBytes(), defaultBufferLimit),
		StatPrefix:       l.GetStatPrefix(),
		TCPFastOpenQueue: l.GetTcpFastOpenQueueLength().GetValue(),
		KeepAlive:        keepAlive(l.GetTcpKeepalive()),
		Metadata:         metadata(l.GetMetadata()),
	}
	if onDemand(out.Metadata) {
		out.Demand = b.Demand
	}
	var err error
	if out.FilterTimeout, err = duration(l.GetListenerFiltersTimeout(), defaultListenerTimeout); err != nil {
		return nil, at(err, "listener_filters_timeout")
	}
	out.ContinueOnTimeout = l.GetContinueOnListenerFiltersTimeout()
	if err := b.addresses(out, l); err != nil {
		return nil, err
	}
	if out.ListenerFilters, err = listenerFilters(l.GetListenerFilters()); err != nil {
		return nil, err
	}
	if out.AccessLogs, err = b.accessLogs(l.GetAccessLog()); err != nil {
		return nil, err
	}
	return out, b.chains(out, l)
}

func (b *listenerBuilder) addresses(out *plan.Listener, l *listenerv3.Listener) error {
	a, err := address(l.GetAddress(), false)
	if err != nil {
		return at(err, "address")
	}
	out.Addresses = append(out.Addresses, a)
	for i, more := range l.GetAdditionalAddresses() {
		if a, err = address(more.GetAddress(), false); err != nil {
			return at(err, "additional_addresses[%d]", i)
		}
		out.Addresses = append(out.Addresses, a)
	}
	return nil
}

func direction(d corev3.TrafficDirection) plan.Direction {
	switch d {
	case corev3.TrafficDirection_INBOUND:
		return plan.Inbound
	case corev3.TrafficDirection_OUTBOUND:
		return plan.Outbound
	}
	return plan.DirectionUnspecified
}

func (b *listenerBuilder) chains(out *plan.Listener, l *listenerv3.Listener) error {
	if len(l.GetFilterChains()) == 0 && l.GetDefaultFilterChain() == nil {
		return errors.New("filter_chains: there is none, and no default_filter_chain")
	}
	env := chainEnv{listenerBuilder: b, direction: out.Direction}
	matched := make([]plan.MatchedChain, 0, len(l.GetFilterChains()))
	for i, fc := range l.GetFilterChains() {
		chain, err := env.chain(fc)
		if err != nil {
			return at(err, "filter_chains[%d] %q", i, fc.GetName())
		}
		m, err := chainMatch(fc.GetFilterChainMatch())
		if err != nil {
			return at(err, "filter_chains[%d] %q: filter_chain_match", i, fc.GetName())
		}
		matched = append(matched, plan.MatchedChain{Match: m, Chain: chain})
	}
	var def *plan.FilterChain
	if fc := l.GetDefaultFilterChain(); fc != nil {
		var err error
		if def, err = env.chain(fc); err != nil {
			return at(err, "default_filter_chain")
		}
	}
	var err error
	out.Chains, err = plan.NewChainMatcher(matched, def)
	return at(err, "filter_chains")
}

func listenerFilters(in []*listenerv3.ListenerFilter) ([]plan.ListenerFilter, error) {
	var out []plan.ListenerFilter
	for i, f := range in {
		lf, err := listenerFilter(f)
		if err != nil {
			return nil, at(err, "listener_filters[%d] %q", i, f.GetName())
		}
		out = append(out, lf)
	}
	return out, nil
}

func listenerFilter(f *listenerv3.ListenerFilter) (plan.ListenerFilter, error) {
	out := plan.ListenerFilter{Name: f.GetName()}
	if f.GetConfigDiscovery() != nil {
		return out, errors.New("config_discovery is not supported by this proxy")
	}
	e, err := extensionOf(f.GetTypedConfig())
	if err != nil {
		return out, err
	}
	switch e.kind {
	case "envoy.extensions.filters.listener.original_dst.v3.OriginalDst":
		out.Kind, err = plan.OriginalDst, e.into(&originaldstv3.OriginalDst{})
	case "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":
		out.Kind, err = plan.TLSInspector, e.into(&tlsinspectorv3.TlsInspector{})
	case "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector":
		out.Kind, err = plan.HTTPInspector, e.into(&httpinspectorv3.HttpInspector{})
	case "envoy.extensions.filters.listener.original_src.v3.OriginalSrc":
		var m originalsrcv3.OriginalSrc
		err = e.into(&m)
		out.Kind, out.Mark = plan.OriginalSrc, m.GetMark()
	case "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":
		var m proxyprotocolv3.ProxyProtocol
		if err = e.into(&m); err == nil {
			err = fields("allow_requests_without_proxy_protocol").only(&m)
		}
		out.Kind, out.AllowWithoutProxyProtocol = plan.ProxyProtocol, m.GetAllowRequestsWithoutProxyProtocol()
	default:
		return out, fmt.Errorf("%s is not a listener filter that this proxy has", e.kind)
	}
	if err != nil {
		return out, err
	}
	out.Disabled, err = portSet(f.GetFilterDisabled(), 0)
	return out, at(err, "filter_disabled")
}

// maxPredicateDepth bounds nesting of predicates.
const maxPredicateDepth = 16

// portSet reads the predicate that disables a filter: destination port ranges, joined by or.
func portSet(p *listenerv3.ListenerFilterChainMatchPredicate, depth int) (plan.PortSet, error) {
	if p == nil {
		return nil, nil
	}
	if depth > maxPredicateDepth {
		return nil, errors.New("predicates are nested too deeply")
	}
	switch r := p.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		return plan.PortSet{{First: 0, Last: math.MaxUint16}}, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		start, end := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		if start < 0 || end <= start || end > math.MaxUint16+1 {
			return nil, fmt.Errorf("destination_port_range [%d, %d) is not a range of ports", start, end)
		}
		return plan.PortSet{{First: uint16(start), Last: uint16(end - 1)}}, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		var out plan.PortSet
		for _, q := range r.OrMatch.GetRules() {
			s, err := portSet(q, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, s...)
		}
		return out, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		s, err := portSet(r.NotMatch, depth+1)
		if err != nil {
			return nil, err
		}
		return s.Complement(), nil
	}
	return nil, errors.New("only any_match, or_match, not_match and destination_port_range are supported by this proxy")
}
