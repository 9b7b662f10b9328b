package compile

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"lateen.dev/lateen/proxy/plan"
)

// Secret compiles a secret.
func (c *Compiler) Secret(s *tlsv3.Secret) (*plan.Secret, error) {
	out := &plan.Secret{Name: s.GetName(), Version: hashOf(s)}
	if out.Name == "" {
		return nil, errors.New("name is empty")
	}
	var err error
	switch t := s.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		out.Certificate, err = c.certificate(t.TlsCertificate)
		return out, at(err, "tls_certificate")
	case *tlsv3.Secret_ValidationContext:
		v, err := c.validation(t.ValidationContext)
		if err != nil {
			return nil, at(err, "validation_context")
		}
		out.Roots = v.Inline
		if out.Roots == nil {
			out.Roots = &plan.TrustedRoots{}
		}
		v.Inline = nil
		out.Roots.Validation = v
		return out, nil
	case *tlsv3.Secret_GenericSecret:
		out.Generic, err = c.data(t.GenericSecret.GetSecret())
		return out, at(err, "generic_secret")
	}
	return nil, fmt.Errorf("%T is not supported by this proxy", s.GetType())
}

// certificate parses a chain and its key, and checks that they belong together.
func (c *Compiler) certificate(t *tlsv3.TlsCertificate) (*tls.Certificate, error) {
	if err := certificateFields.only(t); err != nil {
		return nil, err
	}
	if t.GetPkcs12() != nil {
		return nil, errors.New("pkcs12 is not supported by this proxy; give certificate_chain and private_key as PEM")
	}
	chain, err := c.data(t.GetCertificateChain())
	if err != nil {
		return nil, at(err, "certificate_chain")
	}
	key, err := c.data(t.GetPrivateKey())
	if err != nil {
		return nil, at(err, "private_key")
	}
	if block, _ := pem.Decode(key); block != nil && (block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "") {
		return nil, errors.New("private_key is encrypted, which is not supported by this proxy")
	}
	pair, err := c.shared.pair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	if staple := t.GetOcspStaple(); staple != nil {
		own := *pair
		if own.OCSPStaple, err = c.data(staple); err != nil {
			return nil, at(err, "ocsp_staple")
		}
		return &own, nil
	}
	return pair, nil
}

func (c *Compiler) validation(v *tlsv3.CertificateValidationContext) (plan.Validation, error) {
	out := plan.Validation{
		AcceptUntrusted: v.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
	}
	if err := validationFields.only(v); err != nil {
		return out, err
	}
	var err error
	if out.Inline, err = c.roots(v); err != nil {
		return out, err
	}
	if out.SANs, err = sanMatches(v); err != nil {
		return out, err
	}
	if out.Hashes, err = fingerprints(v.GetVerifyCertificateHash(), true); err != nil {
		return out, at(err, "verify_certificate_hash")
	}
	if out.SPKIs, err = fingerprints(v.GetVerifyCertificateSpki(), false); err != nil {
		return out, at(err, "verify_certificate_spki")
	}
	return out, nil
}

func (c *Compiler) roots(v *tlsv3.CertificateValidationContext) (*plan.TrustedRoots, error) {
	if v.GetTrustedCa() == nil {
		if v.GetSystemRootCerts() == nil {
			return nil, nil
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("system_root_certs: %w", err)
		}
		return &plan.TrustedRoots{Pool: pool}, nil
	}
	b, err := c.data(v.GetTrustedCa())
	if err != nil {
		return nil, at(err, "trusted_ca")
	}
	pool, certs, err := c.shared.roots(b)
	if err != nil {
		return nil, err
	}
	return &plan.TrustedRoots{Pool: pool, Certs: certs}, nil
}

func parseRoots(text []byte) (*x509.CertPool, []*x509.Certificate, error) {
	pool := x509.NewCertPool()
	var certs []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("trusted_ca: %w", err)
		}
		pool.AddCert(cert)
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, nil, errors.New("trusted_ca has no certificate in PEM")
	}
	return pool, certs, nil
}

// sanMatches reads typed matchers and the deprecated untyped ones; as in Envoy typed ones make the others void.
func sanMatches(v *tlsv3.CertificateValidationContext) ([]plan.SANMatch, error) {
	var out []plan.SANMatch
	for i, t := range v.GetMatchTypedSubjectAltNames() {
		kind := plan.SANAny
		switch t.GetSanType() {
		case tlsv3.SubjectAltNameMatcher_URI:
			kind = plan.SANURI
		case tlsv3.SubjectAltNameMatcher_DNS:
			kind = plan.SANDNS
		case tlsv3.SubjectAltNameMatcher_EMAIL:
			kind = plan.SANEmail
		case tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
			kind = plan.SANIP
		default:
			return nil, fmt.Errorf("match_typed_subject_alt_names[%d]: san_type %v is not supported by this proxy", i, t.GetSanType())
		}
		m, err := stringMatch(t.GetMatcher())
		if err != nil {
			return nil, at(err, "match_typed_subject_alt_names[%d]", i)
		}
		out = append(out, plan.SANMatch{Type: kind, Match: m})
	}
	if len(out) > 0 {
		return out, nil
	}
	old := v.GetMatchSubjectAltNames() //nolint:staticcheck // what Istio sends
	return untypedSANs(old)
}

func untypedSANs(in []*matcherv3.StringMatcher) ([]plan.SANMatch, error) {
	var out []plan.SANMatch
	for i, s := range in {
		m, err := stringMatch(s)
		if err != nil {
			return nil, at(err, "match_subject_alt_names[%d]", i)
		}
		out = append(out, plan.SANMatch{Match: m})
	}
	return out, nil
}
