package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"

	"lateen.dev/lateen/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var reviews = identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "reviews"}

func open(t testing.TB, dir string, o Options) *Authority {
	t.Helper()
	a, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func csrFor(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, template, key))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestOpenKeepsItsRoot(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{})
	b := open(t, dir, Options{})
	if !a.cert.Equal(b.cert) {
		t.Error("a second start made another root")
	}
	if years := time.Until(a.NotAfter()).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("the root lives %.1f years", years)
	}
	if info := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, selfSignedFile))); info.Mode().Perm() != 0o600 {
		t.Errorf("key has mode %v", info.Mode())
	}
	roots := must[[]byte](t)(os.ReadFile(filepath.Join(dir, rootFile)))
	if !bytes.Equal(roots, a.RootPEM()) {
		t.Error("root-cert.pem is not the root")
	}
}

// A half-written file is never made, but disks fail in other ways too: then the
// authority says so, and does not begin a new trust domain by itself.
func TestOpenRefusesADamagedFile(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	path := filepath.Join(dir, selfSignedFile)
	data := must[[]byte](t)(os.ReadFile(path))
	for _, n := range []int{0, 10, len(data) / 2, len(data) - 40} {
		if err := os.WriteFile(path, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// plug writes Istio's cacerts: a root, and an intermediate that signs.
func plug(t *testing.T, dir string, change func(intermediate *x509.Certificate)) error {
	t.Helper()
	root := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	template := func(n int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	rootTemplate, signer := template(1, "root"), template(2, "intermediate")
	change(signer)
	rootDER := must[[]byte](t)(x509.CreateCertificate(rand.Reader, rootTemplate, rootTemplate, root.Public(), root))
	signerDER := must[[]byte](t)(x509.CreateCertificate(rand.Reader, signer, rootTemplate, key.Public(), root))
	rootPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
	signerPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signerDER})
	for name, data := range map[string][]byte{
		"ca-cert.pem":    signerPEM,
		"ca-key.pem":     pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"root-cert.pem":  rootPEM,
		"cert-chain.pem": append(signerPEM, rootPEM...),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Plug(dir, Options{})
	return err
}

func TestPlug(t *testing.T) {
	dir := t.TempDir()
	if err := plug(t, dir, func(*x509.Certificate) {}); err != nil {
		t.Fatal(err)
	}
	a := must[*Authority](t)(Plug(dir, Options{}))
	_, csr, err := identity.NewRequest(reviews)
	if err != nil {
		t.Fatal(err)
	}
	issued := must[*Issued](t)(a.SignRequest(csr, reviews, 90*24*time.Hour))
	if len(issued.Chain) != 2 || len(issued.Roots) != 1 {
		t.Errorf("chain of %d, %d roots", len(issued.Chain), len(issued.Roots))
	}
	if id, err := a.Bundle().Verify(issued.Chain, time.Now(), x509.ExtKeyUsageClientAuth); err != nil || id != reviews {
		t.Errorf("%v, %v", id, err)
	}
	if issued.Chain[0].NotAfter.After(a.NotAfter()) {
		t.Error("the certificate outlives its signer")
	}
	if err := plug(t, dir, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, 0 }); err == nil {
		t.Error("a certificate that may not sign was accepted")
	}
	if err := plug(t, dir, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired signer: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "root-cert.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := Plug(dir, Options{}); err == nil || !strings.Contains(err.Error(), "root-cert.pem") {
		t.Errorf("without a root: %v", err)
	}
}

func TestNamesComeFromTheCallerOnly(t *testing.T) {
	a := open(t, t.TempDir(), Options{})
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	csr := csrFor(t, key, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "admin"},
		DNSNames: []string{"istiod.istio-system.svc"},
		URIs:     []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/istio-system/sa/istiod"}},
	})
	c := must[*Issued](t)(a.SignRequest(csr, reviews, 0)).Chain[0]
	if len(c.URIs) != 1 || c.URIs[0].String() != reviews.String() || len(c.DNSNames) != 0 || c.Subject.CommonName != "" || c.IsCA {
		t.Errorf("certificate names %v %v %q", c.URIs, c.DNSNames, c.Subject)
	}
	other := reviews
	other.TrustDomain = "other.example"
	if _, err := a.SignRequest(csr, other, 0); !errors.Is(err, ErrRequest) {
		t.Errorf("another trust domain: %v", err)
	}
}

func TestLifetimes(t *testing.T) {
	a := open(t, t.TempDir(), Options{})
	_, csr, err := identity.NewRequest(reviews)
	if err != nil {
		t.Fatal(err)
	}
	for ttl, want := range map[time.Duration]time.Duration{0: 24 * time.Hour, -5: 24 * time.Hour, time.Hour: time.Hour, 1e6 * time.Hour: 90 * 24 * time.Hour} {
		c := must[*Issued](t)(a.SignRequest(csr, reviews, ttl)).Chain[0]
		if left := time.Until(c.NotAfter); left > want || left < want-5*time.Second {
			t.Errorf("asked for %v: valid for %v", ttl, left)
		}
	}
}

func TestRequestsNotHonoured(t *testing.T) {
	a := open(t, t.TempDir(), Options{})
	_, good, err := identity.NewRequest(reviews)
	if err != nil {
		t.Fatal(err)
	}
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	tampered := bytes.Clone(block.Bytes)
	tampered[len(tampered)-1] ^= 1
	for name, csr := range map[string][]byte{
		"empty":         nil,
		"no PEM":        []byte("hello"),
		"a certificate": a.RootPEM(),
		"garbage":       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}),
		"signature":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: tampered}),
		"too large":     append(bytes.Clone(good), make([]byte, maxCSRBytes)...),
		"P-224":         csrFor(t, p224, &x509.CertificateRequest{}),
	} {
		if _, err := a.SignRequest(csr, reviews, 0); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkKey(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}); err == nil {
		t.Error("RSA of 1024 bits was accepted")
	}
	if _, err := a.SignRequest(csrFor(t, ed, &x509.CertificateRequest{}), reviews, 0); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
}

func FuzzRequestKey(f *testing.F) {
	_, good, err := identity.NewRequest(reviews)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := requestKey(data)
		if err == nil && checkKey(key) != nil {
			t.Error("a key was accepted that is not allowed")
		}
		if err != nil && !errors.Is(err, ErrRequest) {
			t.Errorf("unexpected error %v", err)
		}
	})
}

func TestServingCertificateRenewsItself(t *testing.T) {
	now := time.Now()
	a := open(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	s := a.Serving(DefaultServingHosts())
	first, err := s.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"istiod.istio-system.svc", "localhost", "127.0.0.1", "::1"} {
		if _, err := first.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: a.Bundle().Pool("cluster.local"), CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	now = now.Add(19 * time.Hour)
	if c, err := s.GetCertificate(nil); err != nil || c != first {
		t.Errorf("renewed early: %v", err)
	}
	now = now.Add(time.Hour)
	if c, err := s.GetCertificate(nil); err != nil || c == first {
		t.Errorf("not renewed after 20 of 24 hours: %v", err)
	}
}

func TestTokens(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	clock := func() time.Time { return now }
	tokens := must[*Tokens](t)(OpenTokens(dir, "cluster.local", clock))
	raw, expiry, err := tokens.Issue(TokenRequest{Namespace: "default", ServiceAccount: "reviews", Node: "reviews-v1.default"})
	if err != nil {
		t.Fatal(err)
	}
	again := must[*Tokens](t)(OpenTokens(dir, "cluster.local", clock))
	got, err := again.Verify(t.Context(), raw)
	if err != nil || got.ID != reviews || got.Node != "reviews-v1.default" || !got.Expiry.Equal(expiry.Truncate(time.Second)) {
		t.Errorf("%+v, %v", got, err)
	}
	if info := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, tokenKeyFile))); info.Mode().Perm() != 0o600 {
		t.Errorf("key has mode %v", info.Mode())
	}
	now = now.Add(tokenTTL + time.Minute)
	if _, err := tokens.Verify(t.Context(), raw); !errors.Is(err, ErrToken) {
		t.Errorf("expired: %v", err)
	}
	for _, r := range []TokenRequest{{}, {Namespace: "a/b", ServiceAccount: "c"}, {Namespace: "default", ServiceAccount: "../x"}} {
		if _, _, err := tokens.Issue(r); err == nil {
			t.Errorf("token issued for %+v", r)
		}
	}
}

func TestForeignTokens(t *testing.T) {
	tokens := must[*Tokens](t)(OpenTokens(t.TempDir(), "cluster.local", nil))
	foreign := must[*Tokens](t)(OpenTokens(t.TempDir(), "cluster.local", nil))
	raw, _, err := foreign.Issue(TokenRequest{Namespace: "default", ServiceAccount: "reviews"})
	if err != nil {
		t.Fatal(err)
	}
	soon := jwt.NewNumericDate(time.Now().Add(time.Hour))
	sign := func(c jwt.Claims) string {
		s := must[jose.Signer](t)(jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: tokens.key}, nil))
		return must[string](t)(jwt.Signed(s).Claims(c).Serialize())
	}
	good := jwt.Claims{Issuer: tokenIssuer, Subject: "system:serviceaccount:default:reviews", Audience: jwt.Audience{TokenAudience}, Expiry: soon}
	if _, err := tokens.Verify(t.Context(), sign(good)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	change := func(f func(*jwt.Claims)) string { c := good; f(&c); return sign(c) }
	for name, token := range map[string]string{
		"other key":      raw,
		"empty":          "",
		"no signature":   "eyJhbGciOiJub25lIn0.eyJpc3MiOiJsYXRlZW4iLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YTpiIn0.",
		"too long":       strings.Repeat("x", maxTokenBytes+1),
		"other audience": change(func(c *jwt.Claims) { c.Audience = jwt.Audience{"vault"} }),
		"no audience":    change(func(c *jwt.Claims) { c.Audience = nil }),
		"other issuer":   change(func(c *jwt.Claims) { c.Issuer = "x" }),
		"no expiry":      change(func(c *jwt.Claims) { c.Expiry = nil }),
		"not yet":        change(func(c *jwt.Claims) { c.NotBefore = soon }),
		"no account":     change(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:default" }),
		"a user":         change(func(c *jwt.Claims) { c.Subject = "alice" }),
		"slash":          change(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:default:a/b" }),
	} {
		if got, err := tokens.Verify(t.Context(), token); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzTokens(f *testing.F) {
	tokens := must[*Tokens](f)(OpenTokens(f.TempDir(), "cluster.local", nil))
	raw, _, err := tokens.Issue(TokenRequest{Namespace: "default", ServiceAccount: "reviews"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw[:len(raw)-1])
	f.Add("eyJhbGciOiJIUzI1NiJ9.e30.AA")
	payload, _, _ := strings.Cut(raw[strings.IndexByte(raw, '.')+1:], ".")
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := tokens.Verify(context.Background(), token); err == nil && !strings.Contains(token, payload) {
			t.Errorf("accepted a token that nobody issued: %+v", got)
		}
	})
}
