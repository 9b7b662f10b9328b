package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"lateen.dev/lateen/identity"
)

// ErrRequest means that a certificate request cannot be honoured because of
// what it contains.
var ErrRequest = errors.New("certificate request not acceptable")

const (
	maxCSRBytes = 64 << 10
	minRSABits  = 2048
	maxRSABits  = 8192
)

// Issued is a certificate with what leads to the root.
type Issued struct {
	// Chain has the leaf first, then intermediates; no root.
	Chain []*x509.Certificate
	Roots []*x509.Certificate
}

// SignRequest issues a workload certificate for the PEM request's key. The
// identity is the caller's proven one: whatever names the request contains are
// not read.
func (a *Authority) SignRequest(csr []byte, id identity.ID, ttl time.Duration) (*Issued, error) {
	if id.TrustDomain != a.opts.TrustDomain {
		return nil, fmt.Errorf("%w: identity %s is not of trust domain %s", ErrRequest, id, a.opts.TrustDomain)
	}
	public, err := requestKey(csr)
	if err != nil {
		return nil, err
	}
	leaf, err := a.sign(public, &x509.Certificate{
		URIs:        []*url.URL{id.URL()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ttl)
	if err != nil {
		return nil, err
	}
	return &Issued{Chain: append([]*x509.Certificate{leaf}, a.intermediates...), Roots: a.roots}, nil
}

// requestKey checks a request's form, signature and key.
func requestKey(data []byte) (crypto.PublicKey, error) {
	if len(data) > maxCSRBytes {
		return nil, fmt.Errorf("%w: %d bytes, %d are allowed", ErrRequest, len(data), maxCSRBytes)
	}
	block, _ := pem.Decode(data)
	if block == nil || (block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST") {
		return nil, fmt.Errorf("%w: no PEM block CERTIFICATE REQUEST", ErrRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if csr.SignatureAlgorithm == x509.SHA1WithRSA || csr.SignatureAlgorithm == x509.ECDSAWithSHA1 {
		return nil, fmt.Errorf("%w: signed with SHA-1", ErrRequest)
	}
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: signature: %w", ErrRequest, err)
	}
	return csr.PublicKey, nil
}

func checkKey(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fmt.Errorf("curve %s; P-256, P-384 and P-521 are allowed", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("RSA key of %d bits; %d to %d are allowed", bits, minRSABits, maxRSABits)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("keys of type %T are not supported", public)
	}
	return nil
}

// sign completes the template and signs it.
func (a *Authority) sign(public crypto.PublicKey, template *x509.Certificate, ttl time.Duration) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if ttl <= 0 {
		ttl = a.opts.DefaultTTL
	}
	ttl = min(ttl, a.opts.MaxTTL)
	now := a.opts.Now()
	template.SerialNumber = serial
	// A twentieth, so that certificates of seconds (in tests) keep their life.
	template.NotBefore = now.Add(-min(maxBackdate, ttl/20))
	template.NotAfter = now.Add(ttl)
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if _, ok := public.(*rsa.PublicKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Serving is the control plane's own server certificate, renewed as handshakes
// need it.
type Serving struct {
	authority *Authority
	hosts     []string

	mu      sync.Mutex
	current *tls.Certificate
	renewAt time.Time
}

// DefaultServingHosts are the names under which proxies reach a control plane.
func DefaultServingHosts() []string {
	return []string{"istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local", "istiod.istio-system", "localhost", "127.0.0.1", "::1"}
}

// Serving makes a server certificate for DNS names and IP addresses.
func (a *Authority) Serving(hosts []string) *Serving {
	return &Serving{authority: a, hosts: hosts}
}

// servingShare of its life after which the certificate is replaced.
const servingShare = 0.8

// GetCertificate is for tls.Config.
func (s *Serving) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.authority.opts.Now().Before(s.renewAt) {
		return s.current, nil
	}
	cert, err := s.issue()
	if err != nil {
		return nil, fmt.Errorf("control plane's server certificate: %w", err)
	}
	s.current = cert
	s.renewAt = identity.RenewalTime(cert.Leaf.NotBefore, cert.Leaf.NotAfter, servingShare)
	return cert, nil
}

func (s *Serving) issue() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range s.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	leaf, err := s.authority.sign(key.Public(), template, 0)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, c := range s.authority.intermediates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

// TLSConfig serves with this certificate and asks clients for theirs without
// insisting: who they are is for the Authenticator to say, which also takes
// tokens and answers with words instead of a broken handshake.
func (s *Serving) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.GetCertificate,
		ClientAuth:     tls.RequestClientCert,
		NextProtos:     []string{"h2"},
	}
}
