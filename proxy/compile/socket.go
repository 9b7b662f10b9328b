package compile

import (
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"lateen.dev/lateen/proxy/plan"
)

// sockets compiles the transport socket and its matches.
func (b *clusterBuilder) sockets(out *plan.Cluster, m *clusterv3.Cluster) error {
	s, err := b.socket(m.GetTransportSocket(), 0)
	if err != nil {
		return at(err, "transport_socket")
	}
	out.TLS, out.ProxyProtocol = s.tls, s.proxyProtocol
	for i, tm := range m.GetTransportSocketMatches() {
		s, err := b.socket(tm.GetTransportSocket(), 0)
		if err != nil {
			return at(err, "transport_socket_matches[%d] %q", i, tm.GetName())
		}
		out.TransportSocketMatches = append(out.TransportSocketMatches, plan.TransportSocketMatch{
			Name: tm.GetName(), Match: tm.GetMatch().AsMap(), TLS: s.tls, ProxyProtocol: s.proxyProtocol,
		})
	}
	return nil
}

// socket is how to speak to an upstream.
type socket struct {
	tls           *plan.UpstreamTLS
	proxyProtocol uint8
}

func (b *clusterBuilder) socket(s *corev3.TransportSocket, depth int) (socket, error) {
	if s == nil {
		return socket{}, nil
	}
	e, err := extensionOf(s.GetTypedConfig())
	if err != nil && s.GetTypedConfig() == nil && s.GetName() == "envoy.transport_sockets.raw_buffer" {
		return socket{}, nil
	}
	if err != nil {
		return socket{}, err
	}
	switch e.kind {
	case rawKind:
		return socket{}, e.into(&rawv3.RawBuffer{})
	case tlsKindUpstream:
		t, err := b.upstreamTLS(&e, &b.needs)
		return socket{tls: t}, err
	case "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport":
		var m proxyprotov3.ProxyProtocolUpstreamTransport
		if err := e.into(&m); err != nil {
			return socket{}, err
		}
		if depth > 0 {
			return socket{}, errors.New("a PROXY protocol socket can't wrap another one")
		}
		inner, err := b.socket(m.GetTransportSocket(), depth+1)
		inner.proxyProtocol = 1
		if m.GetConfig().GetVersion() == corev3.ProxyProtocolConfig_V2 {
			inner.proxyProtocol = 2
		}
		return inner, err
	}
	return socket{}, fmt.Errorf("%s is not a transport socket that this proxy has for clusters", e.kind)
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

var httpOptionFields = fields(`common_http_protocol_options upstream_http_protocol_options explicit_http_config
	use_downstream_protocol_config auto_config header_validation_config`)

func (b *clusterBuilder) protocols(out *plan.Cluster, m *clusterv3.Cluster) error {
	o := &httpv3.HttpProtocolOptions{}
	for name, a := range m.GetTypedExtensionProtocolOptions() {
		if name != httpOptions {
			return fmt.Errorf("typed_extension_protocol_options[%q] is not known to this proxy", name)
		}
		e, err := extensionOf(a)
		if err == nil {
			err = e.into(o)
		}
		if err == nil {
			err = httpOptionFields.only(o)
		}
		if err != nil {
			return at(err, "typed_extension_protocol_options[%q]", name)
		}
	}
	if len(m.GetTypedExtensionProtocolOptions()) == 0 {
		o = legacyOptions(m)
	}
	if err := protocolOptions(out, o); err != nil {
		return at(err, "http protocol options")
	}
	if out.Protocol.AutoSANValidation {
		verifyNames(out)
	}
	return nil
}

// verifyNames has the server's certificate carry the name that is asked for, wherever it is verified at all.
func verifyNames(out *plan.Cluster) {
	verify := func(t *plan.UpstreamTLS) {
		if t != nil && !t.Validation.Empty() {
			t.AutoSANValidation = true
		}
	}
	verify(out.TLS)
	for i := range out.TransportSocketMatches {
		verify(out.TransportSocketMatches[i].TLS)
	}
}

// legacyOptions gathers the deprecated fields of the cluster itself.
func legacyOptions(m *clusterv3.Cluster) *httpv3.HttpProtocolOptions {
	o := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions:   m.GetCommonHttpProtocolOptions(),   //nolint:staticcheck // still in use
		UpstreamHttpProtocolOptions: m.GetUpstreamHttpProtocolOptions(), //nolint:staticcheck // still in use
	}
	h1, h2 := m.GetHttpProtocolOptions(), m.GetHttp2ProtocolOptions() //nolint:staticcheck // still in use
	switch {
	case m.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL: //nolint:staticcheck // still in use
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{HttpProtocolOptions: h1, Http2ProtocolOptions: h2},
		}
	case h2 != nil:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
		}}
	case h1 != nil:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: h1},
		}}
	}
	return o
}

func protocolOptions(out *plan.Cluster, o *httpv3.HttpProtocolOptions) error {
	p := &out.Protocol
	var (
		h1 *corev3.Http1ProtocolOptions
		h2 *corev3.Http2ProtocolOptions
	)
	switch u := o.GetUpstreamProtocolOptions().(type) {
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		h1, h2 = u.ExplicitHttpConfig.GetHttpProtocolOptions(), u.ExplicitHttpConfig.GetHttp2ProtocolOptions()
		if h2 != nil {
			p.Version = plan.HTTP2
		}
		if u.ExplicitHttpConfig.GetHttp3ProtocolOptions() != nil {
			return errors.New("HTTP/3 upstream is not supported by this proxy")
		}
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		p.Version = plan.SameDownstream
		h1, h2 = u.UseDownstreamProtocolConfig.GetHttpProtocolOptions(), u.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
	case *httpv3.HttpProtocolOptions_AutoConfig:
		p.Version = plan.AutoHTTP
		h1, h2 = u.AutoConfig.GetHttpProtocolOptions(), u.AutoConfig.GetHttp2ProtocolOptions()
	}
	var err error
	if p.HTTP1, err = http1Options(h1); err != nil {
		return err
	}
	if p.HTTP2, err = http2Options(h2); err != nil {
		return err
	}
	common := o.GetCommonHttpProtocolOptions()
	if err := commonHTTPFields.only(common); err != nil {
		return err
	}
	ds := &durations{}
	p.IdleTimeout = ds.get("idle_timeout", common.GetIdleTimeout(), defaultHTTPIdle)
	p.MaxConnectionDuration = ds.get("max_connection_duration", common.GetMaxConnectionDuration(), 0)
	p.MaxStreamDuration = ds.get("max_stream_duration", common.GetMaxStreamDuration(), 0)
	p.MaxHeaderCount = u32(common.GetMaxHeadersCount(), defaultHeaderCount)
	kib := u32(common.GetMaxResponseHeadersKb(), defaultHeadKiB)
	if kib == 0 || kib > maxHeadKiB {
		return fmt.Errorf("max_response_headers_kb: %d is not between 1 and %d", kib, maxHeadKiB)
	}
	p.MaxHeadBytes = kib << 10
	if n := common.GetMaxRequestsPerConnection(); n != nil {
		out.MaxRequestsPerConnection = n.GetValue()
	}
	up := o.GetUpstreamHttpProtocolOptions()
	p.AutoSNI, p.AutoSANValidation, p.SNIHeader = up.GetAutoSni(), up.GetAutoSanValidation(), headerName(up.GetOverrideAutoSniHeader())
	return ds.err
}
