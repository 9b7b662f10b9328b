package tlsctx

import (
	"cmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/pb"
)

// Originate is the context of a DestinationRule's own TLS settings, modes SIMPLE and MUTUAL. serviceSANs are accepted
// where the settings name none.
func Originate(d dialect.Dialect, mesh *model.Mesh, in *networking.ClientTLSSettings, serviceSANs []string, h2 bool) *tlsv3.UpstreamTlsContext {
	defaults := mesh.Config.GetTlsDefaults()
	common := &tlsv3.CommonTlsContext{
		TlsParams: clientParams(d, tlsv3.TlsParameters_TLSv1_2, defaults.GetEcdhCurves()),
	}
	common.TlsParams.CipherSuites = defaults.GetCipherSuites()
	if h2 {
		common.AlpnProtocols = []string{"h2"}
	}
	sans := in.GetSubjectAltNames()
	if len(sans) == 0 {
		sans = serviceSANs
	}
	//lint:ignore SA1019 the form of all of Istio's peers; the typed one needs an entry for each kind of name
	check := &tlsv3.CertificateValidationContext{MatchSubjectAltNames: pb.Exacts(sans), Crl: file(in.GetCaCrl())}
	mutual := in.GetMode() == networking.ClientTLSSettings_MUTUAL
	switch {
	case in.GetCredentialName() != "":
		if mutual {
			common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{dialect.Credential(credential(in.GetCredentialName()))}
		}
		common.ValidationContextType = combined(dialect.Credential(credential(in.GetCredentialName())+"-cacert"), check)
	default:
		if mutual {
			common.TlsCertificates = []*tlsv3.TlsCertificate{certificate(in.GetClientCertificate(), in.GetPrivateKey())}
		}
		check.TrustedCa = file(trust(in.GetCaCertificates()))
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: check}
	}
	if in.GetInsecureSkipVerify().GetValue() {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{}}
	}
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: in.GetSni()}
}

// Terminate is the context of a Gateway server's or Sidecar ingress listener's TLS settings; nil where TLS passes
// through.
func Terminate(d dialect.Dialect, mesh *model.Mesh, in *networking.ServerTLSSettings, http bool) *tlsv3.DownstreamTlsContext {
	switch in.GetMode() {
	case networking.ServerTLSSettings_PASSTHROUGH, networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		return nil
	case networking.ServerTLSSettings_ISTIO_MUTUAL:
		return Server(d, mesh, http)
	}
	common := &tlsv3.CommonTlsContext{TlsParams: serverParams(d, mesh, in)}
	if http {
		common.AlpnProtocols = serverALPN(d, true)
	}
	serverCertificates(common, in)
	mutual := in.GetMode() == networking.ServerTLSSettings_MUTUAL
	if mutual || in.GetMode() == networking.ServerTLSSettings_OPTIONAL_MUTUAL {
		clientValidation(common, in)
	}
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: pb.Bool(mutual)}
}

func serverParams(d dialect.Dialect, mesh *model.Mesh, in *networking.ServerTLSSettings) *tlsv3.TlsParameters {
	defaults := mesh.Config.GetTlsDefaults()
	out := &tlsv3.TlsParameters{
		// The enumerations of both APIs have the same numbers.
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TlsProtocol(cmp.Or(int32(in.GetMinProtocolVersion()), int32(defaults.GetMinProtocolVersion()))),
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TlsProtocol(in.GetMaxProtocolVersion()),
		CipherSuites:              in.GetCipherSuites(),
		EcdhCurves:                d.Curves(defaults.GetEcdhCurves()),
	}
	if len(out.CipherSuites) == 0 {
		out.CipherSuites = defaults.GetCipherSuites()
	}
	return out
}

func serverCertificates(common *tlsv3.CommonTlsContext, in *networking.ServerTLSSettings) {
	names := in.GetCredentialNames()
	if in.GetCredentialName() != "" {
		names = []string{in.GetCredentialName()}
	}
	for _, n := range names {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, dialect.Credential(credential(n)))
	}
	for _, c := range in.GetTlsCertificates() {
		common.TlsCertificates = append(common.TlsCertificates, certificate(c.GetServerCertificate(), c.GetPrivateKey()))
	}
	if len(names)+len(in.GetTlsCertificates()) == 0 {
		common.TlsCertificates = []*tlsv3.TlsCertificate{certificate(in.GetServerCertificate(), in.GetPrivateKey())}
	}
}

func clientValidation(common *tlsv3.CommonTlsContext, in *networking.ServerTLSSettings) {
	check := &tlsv3.CertificateValidationContext{
		//lint:ignore SA1019 the form of all of Istio's peers; the typed one needs an entry for each kind of name
		MatchSubjectAltNames:  pb.Exacts(in.GetSubjectAltNames()),
		VerifyCertificateHash: in.GetVerifyCertificateHash(),
		VerifyCertificateSpki: in.GetVerifyCertificateSpki(),
		Crl:                   file(in.GetCaCrl()),
	}
	ca := in.GetCaCertCredentialName()
	if ca == "" && in.GetCredentialName() != "" {
		ca = in.GetCredentialName() + "-cacert"
	}
	if ca != "" {
		common.ValidationContextType = combined(dialect.Credential(credential(ca)), check)
		return
	}
	check.TrustedCa = file(trust(in.GetCaCertificates()))
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: check}
}

// credential is the secret's name as Istio's SDS knows it.
func credential(name string) string { return "kubernetes://" + name }

func trust(path string) string {
	if path == "" || path == "system" {
		return systemRoots
	}
	return path
}

func certificate(chain, key string) *tlsv3.TlsCertificate {
	return &tlsv3.TlsCertificate{CertificateChain: file(chain), PrivateKey: file(key)}
}

func file(path string) *corev3.DataSource {
	if path == "" {
		return nil
	}
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}
