package listener

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/rbac"
)

const (
	hcmName    = "envoy.filters.network.http_connection_manager"
	serverName = "istio-envoy"
)

// HTTP is what an HTTP connection manager depends on besides the Env.
type HTTP struct {
	Side     Direction
	Stat     string
	Protocol model.Protocol
	Policies rbac.Input
	// RouteName names routes that come by RDS; Routes are part of the listener. One of them is set.
	RouteName string
	Routes    *routev3.RouteConfiguration
	// AbsoluteURL takes requests as an explicit HTTP proxy gets them.
	AbsoluteURL bool
}

// connectionManager makes the filter that speaks HTTP with clients.
func (e Env) connectionManager(in HTTP) *listenerv3.Filter {
	headers := e.Mesh.Config.GetDefaultConfig().GetProxyHeaders()
	out := &hcmv3.HttpConnectionManager{
		CodecType:                  hcmv3.HttpConnectionManager_AUTO,
		StatPrefix:                 in.Stat,
		UseRemoteAddress:           pb.Bool(in.Side == GatewaySide),
		StreamIdleTimeout:          pb.Duration(0),
		UpgradeConfigs:             []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		AccessLog:                  e.accessLog(in.Side),
		HttpFilters:                e.httpFilters(in.Side, in.Policies, in.Protocol, headers.GetEnvoyDebugHeaders().GetDisabled().GetValue()),
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_OVERWRITE,
		// It is the application's to say whether it wants the body.
		Proxy_100Continue: true,
		// The id that the application passes on stays; the trace decision is not written into it.
		RequestIdExtension: &hcmv3.RequestIDExtension{TypedConfig: pb.Any(&uuidv3.UuidRequestIdConfig{
			UseRequestIdForTraceSampling: pb.Bool(true),
		})},
	}
	if headers.GetRequestId().GetDisabled().GetValue() {
		out.GenerateRequestId = pb.Bool(false)
	}
	e.normalise(out)
	e.server(out, in.Side, headers)
	e.clientCertificate(out, in.Side, headers)
	if in.AbsoluteURL {
		out.HttpProtocolOptions = &corev3.Http1ProtocolOptions{AllowAbsoluteUrl: pb.Bool(true)}
	} else if in.Side == GatewaySide {
		out.HttpProtocolOptions = &corev3.Http1ProtocolOptions{}
	}
	if e.HTTP10 {
		if out.HttpProtocolOptions == nil {
			out.HttpProtocolOptions = &corev3.Http1ProtocolOptions{}
		}
		out.HttpProtocolOptions.AcceptHttp_10 = true
	}
	if in.Side == InboundSide && in.Protocol.IsHTTP2() {
		out.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{}
	}
	if in.RouteName != "" {
		out.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: pb.ADS(), RouteConfigName: in.RouteName}}
	} else {
		out.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: in.Routes}
	}
	return networkFilter(hcmName, out)
}

// normalise brings paths into the form that policies compare, as far as the mesh wants it.
func (e Env) normalise(out *hcmv3.HttpConnectionManager) {
	how := e.Mesh.Config.GetPathNormalization().GetNormalization()
	out.NormalizePath = pb.Bool(how != meshconfig.MeshConfig_ProxyPathNormalization_NONE)
	out.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	switch how {
	case meshconfig.MeshConfig_ProxyPathNormalization_MERGE_SLASHES:
		out.MergeSlashes = true
	case meshconfig.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES:
		out.MergeSlashes = true
		out.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	}
}

// server chooses the Server header: Istio's name, but Envoy's own towards the application.
func (e Env) server(out *hcmv3.HttpConnectionManager, side Direction, headers *meshconfig.ProxyConfig_ProxyHeaders) {
	if side != OutboundSide {
		out.ServerName = serverName
	}
	switch s := headers.GetServer(); {
	case s.GetDisabled().GetValue():
		out.ServerName, out.ServerHeaderTransformation = "", hcmv3.HttpConnectionManager_PASS_THROUGH
	case s.GetValue() != "":
		out.ServerName = s.GetValue()
	}
}

// clientCertificate says what the application learns of the client's certificate.
func (e Env) clientCertificate(out *hcmv3.HttpConnectionManager, side Direction, headers *meshconfig.ProxyConfig_ProxyHeaders) {
	topology := e.Mesh.Config.GetDefaultConfig().GetGatewayTopology()
	switch side {
	case InboundSide:
		out.ForwardClientCertDetails = forward(headers.GetForwardedClientCert(), hcmv3.HttpConnectionManager_APPEND_FORWARD)
		set := headers.GetSetCurrentClientCertDetails()
		out.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
			Subject: pb.Bool(model.Bool(set.GetSubject(), true)),
			Uri:     model.Bool(set.GetUri(), true),
			Dns:     model.Bool(set.GetDns(), true),
			Cert:    set.GetCert().GetValue(),
			Chain:   set.GetChain().GetValue(),
		}
	case GatewaySide:
		out.XffNumTrustedHops = topology.GetNumTrustedProxies()
		out.ForwardClientCertDetails = forward(topology.GetForwardClientCertDetails(), hcmv3.HttpConnectionManager_SANITIZE_SET)
		switch out.ForwardClientCertDetails {
		case hcmv3.HttpConnectionManager_APPEND_FORWARD, hcmv3.HttpConnectionManager_SANITIZE_SET:
			out.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
				Subject: pb.Bool(true), Uri: true, Dns: true, Cert: true,
			}
		}
	}
}

// forward converts the configured mode; Istio's enumeration has one more value at its start.
func forward(in meshconfig.ForwardClientCertDetails, byDefault hcmv3.HttpConnectionManager_ForwardClientCertDetails) hcmv3.HttpConnectionManager_ForwardClientCertDetails {
	if in == meshconfig.ForwardClientCertDetails_UNDEFINED {
		return byDefault
	}
	return hcmv3.HttpConnectionManager_ForwardClientCertDetails(in - 1)
}

// httpStat is the stat prefix of the HTTP chain of a listener.
func httpStat(side Direction, name string) string {
	prefix := "outbound_"
	if side == InboundSide {
		prefix = "inbound_"
	}
	return naming.Stat(strings.ToLower(prefix) + name)
}
