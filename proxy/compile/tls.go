package compile

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	downstreamFields = fields(`common_tls_context require_client_certificate require_sni disable_stateless_session_resumption
		disable_stateful_session_resumption session_timeout ocsp_staple_policy full_scan_certs_on_sni_mismatch
		prefer_client_ciphers`)
	upstreamFields = fields(`common_tls_context sni auto_host_sni auto_sni_san_validation allow_renegotiation
		max_session_keys enforce_rsa_key_usage`)
	commonFields = fields(`tls_params tls_certificates tls_certificate_sds_secret_configs validation_context
		validation_context_sds_secret_config combined_validation_context alpn_protocols`)
	paramFields = fields(`tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves
		signature_algorithms compliance_policies`)
	validationFields = fields(`trusted_ca system_root_certs watched_directory verify_certificate_spki verify_certificate_hash
		match_typed_subject_alt_names match_subject_alt_names trust_chain_verification
		only_verify_leaf_cert_crl suppress_client_ca_list`)
	certificateFields = fields("certificate_chain private_key watched_directory pkcs12 password ocsp_staple")
)

const (
	tlsKindDownstream = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
	tlsKindUpstream   = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	rawKind           = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
)

// downstreamTLS compiles a listener's transport socket; nil is plain text.
func (c *Compiler) downstreamTLS(s *corev3.TransportSocket, needs *Needs) (*plan.DownstreamTLS, error) {
	if s == nil {
		return nil, nil
	}
	e, err := extensionOf(s.GetTypedConfig())
	if err != nil {
		return nil, err
	}
	switch e.kind {
	case rawKind:
		return nil, e.into(&rawv3.RawBuffer{})
	case tlsKindDownstream:
	default:
		return nil, fmt.Errorf("%s is not a transport socket that this proxy has for listeners", e.kind)
	}
	var m tlsv3.DownstreamTlsContext
	if err := e.into(&m); err != nil {
		return nil, err
	}
	if err := downstreamFields.only(&m); err != nil {
		return nil, err
	}
	out := &plan.DownstreamTLS{
		RequireClientCertificate: m.GetRequireClientCertificate().GetValue(),
		RequireSNI:               m.GetRequireSni().GetValue(),
		FullScan:                 m.GetFullScanCertsOnSniMismatch().GetValue(),
		DisableSessionTickets:    m.GetDisableStatelessSessionResumption(),
	}
	if out.SessionTimeout, err = duration(m.GetSessionTimeout(), 7200*time.Second); err != nil {
		return nil, at(err, "session_timeout")
	}
	if out.TLSParameters, err = c.tlsParameters(m.GetCommonTlsContext(), needs); err != nil {
		return nil, at(err, "common_tls_context")
	}
	if len(out.Certificates) == 0 {
		return nil, errors.New("common_tls_context: a server needs a certificate: tls_certificates or tls_certificate_sds_secret_configs")
	}
	if out.RequireClientCertificate && out.Validation.Empty() && !out.Validation.AcceptUntrusted {
		return nil, errors.New("require_client_certificate without a validation context would accept every certificate")
	}
	out.Version = hashOf(&m)
	return out, nil
}

// upstreamSocket compiles a cluster's transport socket; nil is plain text.
func (c *Compiler) upstreamTLS(e *extension, needs *Needs) (*plan.UpstreamTLS, error) {
	var m tlsv3.UpstreamTlsContext
	if err := e.into(&m); err != nil {
		return nil, err
	}
	if err := upstreamFields.only(&m); err != nil {
		return nil, err
	}
	out := &plan.UpstreamTLS{
		SNI: m.GetSni(), AutoHostSNI: m.GetAutoHostSni(), AutoSANValidation: m.GetAutoSniSanValidation(),
		MaxSessionKeys: u32(m.GetMaxSessionKeys(), 1),
	}
	if len(out.SNI) > 255 {
		return nil, errors.New("sni is longer than 255 bytes")
	}
	var err error
	if out.TLSParameters, err = c.tlsParameters(m.GetCommonTlsContext(), needs); err != nil {
		return nil, at(err, "common_tls_context")
	}
	if len(out.Certificates) > 1 {
		return nil, errors.New("common_tls_context: a client has one certificate")
	}
	out.Version = hashOf(&m)
	return out, nil
}

func (c *Compiler) tlsParameters(m *tlsv3.CommonTlsContext, needs *Needs) (plan.TLSParameters, error) {
	out := plan.TLSParameters{ALPN: m.GetAlpnProtocols()}
	if err := commonFields.only(m); err != nil {
		return out, err
	}
	for _, p := range out.ALPN {
		if p == "" || len(p) > 255 {
			return out, errors.New("alpn_protocols: a name has 1 to 255 bytes")
		}
	}
	if err := versionsAndCiphers(&out, m.GetTlsParams()); err != nil {
		return out, at(err, "tls_params")
	}
	for i, tc := range m.GetTlsCertificates() {
		cert, err := c.certificate(tc)
		if err != nil {
			return out, at(err, "tls_certificates[%d]", i)
		}
		out.Certificates = append(out.Certificates, plan.CertificateSource{Inline: cert})
	}
	for i, s := range m.GetTlsCertificateSdsSecretConfigs() {
		if err := c.secretNeed(s, needs); err != nil {
			return out, at(err, "tls_certificate_sds_secret_configs[%d]", i)
		}
		out.Certificates = append(out.Certificates, plan.CertificateSource{SDSName: s.GetName(), SDS: c.Names.Secret(s.GetName())})
	}
	return out, c.validationContext(&out.Validation, m, needs)
}

func (c *Compiler) validationContext(out *plan.Validation, m *tlsv3.CommonTlsContext, needs *Needs) error {
	var (
		own *tlsv3.CertificateValidationContext
		sds *tlsv3.SdsSecretConfig
	)
	switch v := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		own = v.ValidationContext
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		sds = v.ValidationContextSdsSecretConfig
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		own = v.CombinedValidationContext.GetDefaultValidationContext()
		sds = v.CombinedValidationContext.GetValidationContextSdsSecretConfig()
	}
	if own != nil {
		v, err := c.validation(own)
		if err != nil {
			return at(err, "validation_context")
		}
		*out = v
	}
	if sds != nil {
		if err := c.secretNeed(sds, needs); err != nil {
			return at(err, "validation_context_sds_secret_config")
		}
		out.SDSName, out.SDS = sds.GetName(), c.Names.Secret(sds.GetName())
	}
	return nil
}

func (c *Compiler) secretNeed(s *tlsv3.SdsSecretConfig, needs *Needs) error {
	if s.GetName() == "" {
		return errors.New("name is empty")
	}
	if s.GetSdsConfig() == nil {
		// Without a source the name is a static secret's.
		needs.Secrets = add(needs.Secrets, Need{Name: s.GetName(), Static: true})
		return nil
	}
	need, err := discovered(s.GetName(), s.GetSdsConfig())
	if err != nil {
		return err
	}
	needs.Secrets = add(needs.Secrets, need)
	return nil
}

func versionsAndCiphers(out *plan.TLSParameters, p *tlsv3.TlsParameters) error {
	if err := paramFields.only(p); err != nil {
		return err
	}
	out.MinVersion, out.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
	var err error
	if v := p.GetTlsMinimumProtocolVersion(); v != tlsv3.TlsParameters_TLS_AUTO {
		if out.MinVersion, err = version(v); err != nil {
			return err
		}
	}
	if v := p.GetTlsMaximumProtocolVersion(); v != tlsv3.TlsParameters_TLS_AUTO {
		if out.MaxVersion, err = version(v); err != nil {
			return err
		}
	}
	if out.MinVersion > out.MaxVersion {
		return errors.New("tls_minimum_protocol_version is above tls_maximum_protocol_version")
	}
	if out.Ciphers, err = ciphers(p.GetCipherSuites()); err != nil {
		return err
	}
	out.Curves, err = curves(p.GetEcdhCurves())
	return err
}

// version refuses what crypto/tls no longer has: nothing below 1.0, and 1.0 and 1.1 only when named.
func version(v tlsv3.TlsParameters_TlsProtocol) (uint16, error) {
	switch v {
	case tlsv3.TlsParameters_TLSv1_0:
		return tls.VersionTLS10, nil
	case tlsv3.TlsParameters_TLSv1_1:
		return tls.VersionTLS11, nil
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12, nil
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("protocol version %v is unknown", v)
}

// ciphers converts OpenSSL's names for TLS 1.2 suites. Equal preference groups ([A|B]) are flattened, as crypto/tls
// orders suites itself; suites that it doesn't have are left out as long as one remains.
func ciphers(names []string) ([]uint16, error) {
	known := map[string]uint16{
		"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
		"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	}
	var out []uint16
	for _, group := range names {
		for _, n := range strings.Split(strings.Trim(group, "[]"), "|") {
			if id, ok := known[n]; ok && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	if len(names) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("cipher_suites: none of %s is one that this proxy has", strings.Join(names, ", "))
	}
	return out, nil
}

func curves(names []string) ([]tls.CurveID, error) {
	var out []tls.CurveID
	for _, n := range names {
		switch n {
		case "X25519MLKEM768":
			out = append(out, tls.X25519MLKEM768)
		case "X25519":
			out = append(out, tls.X25519)
		case "P-256":
			out = append(out, tls.CurveP256)
		case "P-384":
			out = append(out, tls.CurveP384)
		case "P-521":
			out = append(out, tls.CurveP521)
		default:
			return nil, fmt.Errorf("ecdh_curves: %q is unknown; X25519MLKEM768, X25519, P-256, P-384 and P-521 are known", n)
		}
	}
	return out, nil
}

// fingerprints reads SHA-256 digests: hashes in hex, with or without colons, or SPKIs in base64.
func fingerprints(in []string, asHex bool) ([][32]byte, error) {
	var out [][32]byte
	for i, s := range in {
		var (
			b   []byte
			err error
		)
		if asHex {
			b, err = hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		} else {
			b, err = base64.StdEncoding.DecodeString(s)
		}
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("[%d]: %q is not a SHA-256 digest", i, s)
		}
		out = append(out, [32]byte(b))
	}
	return out, nil
}
