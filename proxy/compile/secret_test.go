package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// pair makes a self-signed certificate for a SPIFFE id, and its key, as PEM.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse("spiffe://cluster.local/ns/a/sa/b")
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, URIs: []*url.URL{id}, DNSNames: []string{"*.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// quote makes a YAML string of PEM.
func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSecrets(t *testing.T) {
	cert, key := pair(t)
	_, otherKey := pair(t)
	s, err := secretOf(t, "{name: default, tls_certificate: {certificate_chain: {inline_string: "+quote(t, cert)+"}, private_key: {inline_string: "+quote(t, key)+"}}}")
	if err != nil || s.Certificate == nil || s.Certificate.Leaf == nil {
		t.Fatalf("%+v, %v", s, err)
	}
	_, err = secretOf(t, "{name: default, tls_certificate: {certificate_chain: {inline_string: "+quote(t, cert)+"}, private_key: {inline_string: "+quote(t, otherKey)+"}}}")
	refused(t, "other key", err, "private key does not match")
	r, err := secretOf(t, "{name: ROOTCA, validation_context: {trusted_ca: {inline_string: "+quote(t, cert)+`},
		match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a.example.com}}, {san_type: URI, matcher: {prefix: "spiffe://other/"}}], verify_certificate_hash: ["`+strings.Repeat("ab", 32)+`"]}}`)
	if err != nil || len(r.Roots.Certs) != 1 || len(r.Roots.Validation.SANs) != 2 || len(r.Roots.Validation.Hashes) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if !r.Roots.Validation.SANs[0].MatchCertificate(s.Certificate.Leaf) || r.Roots.Validation.SANs[1].MatchCertificate(s.Certificate.Leaf) {
		t.Error("a wildcard certificate has the name a.example.com, and is of no other trust domain")
	}
	for text, want := range map[string]string{
		"{name: x, tls_certificate: {}}":                                           "certificate_chain: no data source",
		"{name: x, validation_context: {trusted_ca: {inline_string: nonsense}}}":   "no certificate in PEM",
		"{name: x, validation_context: {trusted_ca: {filename: /x}}}":              "files can't be read here",
		"{name: x, validation_context: {custom_validator_config: {name: spiffe}}}": "custom_validator_config is not supported",
		"{name: x, validation_context: {verify_certificate_hash: [zz]}}":           "not a SHA-256 digest",
		"{tls_certificate: {}}": "name is empty",
		"{name: x, session_ticket_keys: {keys: [{inline_string: k}]}}":                                 "not supported",
		"{name: x, tls_certificate: {private_key_provider: {provider_name: x}}}":                       "private_key_provider is not supported",
		"{name: x, tls_certificate: {certificate_chain: {environment_variable: NOT_SET_ANYWHERE_AT}}}": "is not set",
	} {
		_, err := secretOf(t, text)
		refused(t, text, err, want)
	}
}
