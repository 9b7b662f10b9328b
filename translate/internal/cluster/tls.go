package cluster

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/tlsctx"
)

// security chooses how the endpoints are talked to: as the rule says, else by automatic mutual TLS, which each endpoint's
// metadata turns on or off.
func (b *builder) security() {
	tls := b.policy.GetTls()
	if tls == nil {
		if b.in.MTLS {
			b.autoMTLS()
		}
		return
	}
	switch tls.GetMode() {
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		b.out.TransportSocket = b.meshTLS(tls.GetSni(), tls.GetSubjectAltNames())
	case networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_MUTUAL:
		if tls.GetCredentialName() != "" && !b.in.Gateway && b.in.Rule.WorkloadSelector == nil {
			// Such a rule would hand the credential to every sidecar of the mesh.
			return
		}
		b.autoNames(tls)
		var sans []string
		if b.in.Service.Registry == model.ServiceEntryRegistry {
			sans = b.in.Service.SubjectAltNames
		}
		b.out.TransportSocket = tlsctx.Socket(tlsctx.Originate(b.in.Dialect, b.in.Mesh, tls, sans, b.isHTTP2()))
	}
}

func (b *builder) autoMTLS() {
	socket := b.meshTLS("", nil)
	if b.out.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		// There are no endpoints whose metadata could choose; MTLS holds for all of them here.
		b.out.TransportSocket = socket
		return
	}
	b.out.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
		{
			Name:            "tlsMode-" + model.TLSModeIstio,
			Match:           pb.Struct(map[string]*structpb.Value{"tlsMode": pb.String(model.TLSModeIstio)}),
			TransportSocket: socket,
		},
		{
			Name:            "tlsMode-" + model.TLSModeDisabled,
			Match:           &structpb.Struct{},
			TransportSocket: rawBuffer(),
		},
	}
}

func (b *builder) meshTLS(sni string, sans []string) *corev3.TransportSocket {
	if sni == "" {
		sni = naming.OutboundSNI(b.in.Port.Number, b.in.Subset, b.in.Service.Hostname)
	}
	if len(sans) == 0 {
		sans = b.in.sans()
	}
	return tlsctx.Socket(tlsctx.Client(b.in.Dialect, b.in.Mesh, sni, sans, b.isHTTP2()))
}

// autoNames takes the server name, and what the certificate must say, from the request where the rule does not fix them.
func (b *builder) autoNames(tls *networking.ClientTLSSettings) {
	if tls.GetSni() != "" {
		return
	}
	names := &corev3.UpstreamHttpProtocolOptions{AutoSni: true}
	names.AutoSanValidation = len(tls.GetSubjectAltNames()) == 0 && !tls.GetInsecureSkipVerify().GetValue()
	b.options().UpstreamHttpProtocolOptions = names
}

func rawBuffer() *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.raw_buffer",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pb.Any(&rawbufferv3.RawBuffer{})},
	}
}

func withProxyHeader(inner *corev3.TransportSocket, in *networking.TrafficPolicy_ProxyProtocol) *corev3.TransportSocket {
	if inner == nil {
		inner = rawBuffer()
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.upstream_proxy_protocol",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pb.Any(&proxyprotocolv3.ProxyProtocolUpstreamTransport{
			// Both enumerations number the versions alike.
			Config:          &corev3.ProxyProtocolConfig{Version: corev3.ProxyProtocolConfig_Version(in.GetVersion())},
			TransportSocket: inner,
		})},
	}
}
