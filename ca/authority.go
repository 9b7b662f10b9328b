package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/lib/atomicfile"
)

// Options of an authority. Zero values take the defaults named.
type Options struct {
	// TrustDomain of all identities it signs; "cluster.local".
	TrustDomain string
	// DefaultTTL where a request wishes none (24 h), MaxTTL for those who wish
	// for more (90 days).
	DefaultTTL, MaxTTL time.Duration
	// Now is the clock; time.Now.
	Now func() time.Time
}

const (
	defaultTrustDomain = "cluster.local"
	defaultTTL         = 24 * time.Hour
	maxTTL             = 90 * 24 * time.Hour
	rootTTL            = 10 * 365 * 24 * time.Hour
	// maxBackdate is how far before its issue a certificate begins to be valid,
	// for peers whose clocks are behind.
	maxBackdate = time.Minute

	// selfSignedFile holds key and certificate together, so that no crash can
	// separate them.
	selfSignedFile = "ca.pem"
	rootFile       = "root-cert.pem"
)

func (o Options) withDefaults() Options {
	if o.TrustDomain == "" {
		o.TrustDomain = defaultTrustDomain
	}
	if o.DefaultTTL <= 0 {
		o.DefaultTTL = defaultTTL
	}
	if o.MaxTTL <= 0 {
		o.MaxTTL = maxTTL
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Authority is a signing certificate with its key.
type Authority struct {
	opts Options
	key  crypto.Signer
	cert *x509.Certificate
	// intermediates lead from cert to a root: cert first. Empty where cert is
	// itself a root.
	intermediates []*x509.Certificate
	roots         []*x509.Certificate
	bundle        *identity.Bundle
}

// Open reads the self-signed authority of a directory, or makes one there that
// is valid for ten years. The root's certificate also stands in root-cert.pem,
// for whoever must trust it.
func Open(dir string, o Options) (*Authority, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	path := filepath.Join(dir, selfSignedFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newRoot(o); err == nil {
			err = atomicfile.Write(path, data, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a, err := decodeSelfSigned(data, o)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: file %s: %w; move it away to start with a new root", path, err)
	}
	if err := atomicfile.Write(filepath.Join(dir, rootFile), a.RootPEM(), 0o644); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return a, nil
}

// Plug reads an authority of the user's own from a directory with Istio's file
// names: ca-cert.pem, ca-key.pem, root-cert.pem and, if there are intermediates,
// cert-chain.pem.
func Plug(dir string, o Options) (*Authority, error) {
	o = o.withDefaults()
	signer, err := readCertificates(dir, "ca-cert.pem")
	if err != nil {
		return nil, err
	}
	roots, err := readCertificates(dir, rootFile)
	if err != nil {
		return nil, err
	}
	chain, err := readCertificates(dir, "cert-chain.pem")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		return nil, fmt.Errorf("plugged-in authority: %w", err)
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("plugged-in authority: ca-key.pem is not PEM")
	}
	key, err := identity.ParseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("plugged-in authority: ca-key.pem: %w", err)
	}
	a, err := newAuthority(key, append(signer, chain...), roots, o)
	if err != nil {
		return nil, fmt.Errorf("plugged-in authority in %s: %w", dir, err)
	}
	return a, nil
}

func readCertificates(dir, name string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("plugged-in authority: %w", err)
	}
	certs, err := identity.ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("plugged-in authority: %s: %w", name, err)
	}
	return certs, nil
}

// newAuthority checks that the parts belong together: chain is the signer's
// certificate and any others that lead to a root.
func newAuthority(key crypto.Signer, chain, roots []*x509.Certificate, o Options) (*Authority, error) {
	cert := chain[0]
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(key.Public()):
		return nil, errors.New("the key does not belong to the certificate")
	case !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, errors.New("the certificate may not sign others (CA flag or key usage missing)")
	case !o.Now().Before(cert.NotAfter):
		return nil, fmt.Errorf("the certificate expired at %s", cert.NotAfter.Format(time.RFC3339))
	}
	a := &Authority{opts: o, key: key, cert: cert, roots: roots}
	a.bundle = identity.NewBundle(map[string][]*x509.Certificate{o.TrustDomain: roots})
	for _, c := range chain {
		if !isOneOf(c, roots) && !isOneOf(c, a.intermediates) {
			a.intermediates = append(a.intermediates, c)
		}
	}
	if err := a.checkChain(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Authority) checkChain() error {
	intermediates := x509.NewCertPool()
	for _, c := range a.intermediates {
		intermediates.AddCert(c)
	}
	_, err := a.cert.Verify(x509.VerifyOptions{
		Roots:         a.bundle.Pool(a.opts.TrustDomain),
		Intermediates: intermediates,
		CurrentTime:   a.opts.Now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("the certificate does not lead to a root of root-cert.pem: %w", err)
	}
	return nil
}

func isOneOf(c *x509.Certificate, list []*x509.Certificate) bool {
	for _, other := range list {
		if c.Equal(other) {
			return true
		}
	}
	return false
}

func newRoot(o Options) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate root key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := o.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{o.TrustDomain}},
		NotBefore:             now.Add(-maxBackdate),
		NotAfter:              now.Add(rootTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign root certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("marshal root key: %w", err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...), nil
}

func decodeSelfSigned(data []byte, o Options) (*Authority, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it does not begin with a private key")
	}
	key, err := identity.ParseKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	certs, err := identity.ParseCertificates(rest)
	if err != nil {
		return nil, err
	}
	return newAuthority(key, certs, certs[:1], o)
}

// newSerial is 127 random bits, as browsers' rules want at least 64.
func newSerial() (*big.Int, error) {
	const serialBits = 127
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return n, nil
}

// TrustDomain is the domain of all identities the authority signs.
func (a *Authority) TrustDomain() string { return a.opts.TrustDomain }

// Bundle is what to check the authority's certificates against.
func (a *Authority) Bundle() *identity.Bundle { return a.bundle }

// RootPEM is the roots as a file for those who must trust them.
func (a *Authority) RootPEM() []byte { return identity.EncodeCertificates(a.roots) }

// NotAfter is when the signing certificate expires.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }
