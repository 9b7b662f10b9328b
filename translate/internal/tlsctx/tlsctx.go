// Package tlsctx makes Envoy's TLS contexts: mutual TLS of the mesh in both directions, TLS that a DestinationRule
// originates and that a Gateway or a Sidecar terminates. It is called by the cluster and listener translators. Pure;
// safe for any number of goroutines.
//
// May import: model, translate/internal/{pb,dialect}, the Envoy and Istio API protos.
package tlsctx

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/pb"
)

// Socket names.
const (
	socketTLS    = "envoy.transport_sockets.tls"
	systemRoots  = "/etc/ssl/certs/ca-certificates.crt"
	spiffePrefix = "spiffe://"
)

// ALPN names of the mesh: what a proxy says to a proxy. They tell HTTP from TCP without looking at bytes.

// "istio-peer-exchange" announces that metadata comes before the bytes, so only proxies that do so may say it.

func serverALPN(d dialect.Dialect, http bool) []string {
	if http || !d.PeerMetadata() {
		return []string{"h2", "http/1.1"}
	}
	return []string{"istio-peer-exchange", "h2", "http/1.1"}
}

func clientALPN(d dialect.Dialect, h2 bool) []string {
	var out []string
	if d.PeerMetadata() {
		out = append(out, "istio-peer-exchange")
	}
	out = append(out, "istio")
	if h2 {
		out = append(out, "h2")
	}
	return out
}

// meshCiphers are the suites that Istio lets TLS 1.2 peers use.
func meshCiphers() []string {
	return []string{
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
		"AES256-GCM-SHA384", "AES128-GCM-SHA256",
	}
}

// Socket wraps a context for use as a transport socket; nil for nil.
func Socket(ctx proto.Message) *corev3.TransportSocket {
	switch c := ctx.(type) {
	case *tlsv3.DownstreamTlsContext:
		if c == nil {
			return nil
		}
	case *tlsv3.UpstreamTlsContext:
		if c == nil {
			return nil
		}
	}
	return &corev3.TransportSocket{Name: socketTLS, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pb.Any(ctx)}}
}

// Server is the context with which a workload takes mutual TLS from the mesh. http says that the chain behind it speaks
// HTTP; otherwise the peer may exchange metadata before the bytes.
func Server(d dialect.Dialect, mesh *model.Mesh, http bool) *tlsv3.DownstreamTlsContext {
	cfg := mesh.Config.GetMeshMTLS()
	params := &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: minVersion(d, cfg.GetMinProtocolVersion()),
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		CipherSuites:              cfg.GetCipherSuites(),
		EcdhCurves:                d.Curves(cfg.GetEcdhCurves()),
	}
	if params.CipherSuites == nil {
		params.CipherSuites = meshCiphers()
	}
	common := identity(d, aliases(mesh))
	common.TlsParams = params
	common.AlpnProtocols = serverALPN(d, http)
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: pb.Bool(true)}
}

// Client is the context with which a workload calls another of the mesh. sans are the identities that it accepts; none
// accepts every identity of the mesh.
func Client(d dialect.Dialect, mesh *model.Mesh, sni string, sans []string, h2 bool) *tlsv3.UpstreamTlsContext {
	cfg := mesh.Config.GetMeshMTLS()
	common := identity(d, pb.Exacts(sans))
	common.TlsParams = clientParams(d, minVersion(d, cfg.GetMinProtocolVersion()), cfg.GetEcdhCurves())
	common.AlpnProtocols = clientALPN(d, h2)
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: sni}
}

// identity presents the workload's certificate and checks the peer's against the mesh's roots.
func identity(d dialect.Dialect, sans []*matcherv3.StringMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{d.Secret(dialect.WorkloadSecret)},
		//lint:ignore SA1019 the form of all of Istio's peers; the typed one needs an entry for each kind of name
		ValidationContextType: combined(d.Secret(dialect.RootSecret), &tlsv3.CertificateValidationContext{MatchSubjectAltNames: sans}),
	}
}

func combined(root *tlsv3.SdsSecretConfig, with *tlsv3.CertificateValidationContext) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         with,
			ValidationContextSdsSecretConfig: root,
		},
	}
}

// aliases accepts peers of the mesh's trust domain and its aliases, where aliases are configured. Without them the roots
// alone decide.
func aliases(mesh *model.Mesh) []*matcherv3.StringMatcher {
	if len(mesh.Config.GetTrustDomainAliases()) == 0 {
		return nil
	}
	out := []*matcherv3.StringMatcher{pb.Prefix(spiffePrefix + mesh.TrustDomain + "/")}
	for _, a := range mesh.Config.GetTrustDomainAliases() {
		out = append(out, pb.Prefix(spiffePrefix+a+"/"))
	}
	return out
}

// minVersion is TLS 1.3 between our own proxies; Envoys keep Istio's default of 1.2.
func minVersion(d dialect.Dialect, configured meshconfig.MeshConfig_TLSConfig_TLSProtocol) tlsv3.TlsParameters_TlsProtocol {
	switch {
	case configured == meshconfig.MeshConfig_TLSConfig_TLSV1_3:
		return tlsv3.TlsParameters_TLSv1_3
	case configured == meshconfig.MeshConfig_TLSConfig_TLS_AUTO && d.Flavor == model.LateenProxy:
		return tlsv3.TlsParameters_TLSv1_3
	default:
		return tlsv3.TlsParameters_TLSv1_2
	}
}

func clientParams(d dialect.Dialect, least tlsv3.TlsParameters_TlsProtocol, curves []string) *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: least,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		EcdhCurves:                d.Curves(curves),
	}
}
