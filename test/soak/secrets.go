package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"lateen.dev/lateen/xds"
)

// secrets are what one side of mutual TLS has, as PEM.
type secrets struct {
	Chain, Key string
	Roots      string
}

// The names of secrets in configuration.
const (
	certificateName = "certificate"
	rootsName       = "roots"
)

// updates are the secrets as discovery brings them.
func (s *secrets) updates(version int) ([]xds.Update, error) {
	pair := map[string]any{"name": certificateName, "tls_certificate": map[string]any{
		"certificate_chain": map[string]string{"inline_string": s.Chain}, "private_key": map[string]string{"inline_string": s.Key}}}
	trust := map[string]any{"name": rootsName, "validation_context": map[string]any{"trusted_ca": map[string]string{"inline_string": s.Roots},
		"match_typed_subject_alt_names": []any{map[string]any{"san_type": "URI", "matcher": map[string]string{"prefix": "spiffe://soak/"}}}}}
	var list []xds.Update
	for name, value := range map[string]any{certificateName: pair, rootsName: trust} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		u, err := resource(xds.SecretType, name, version, text, &tlsv3.Secret{})
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, nil
}

// root is a certificate authority.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func serial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return n, nil
}

func newRoot() (*root, error) {
	r := &root{}
	var err error
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	number, err := serial()
	if err != nil {
		return nil, err
	}
	r.cert = &x509.Certificate{SerialNumber: number, Subject: pkix.Name{CommonName: "soak root " + number.String()}, NotBefore: time.Now().Add(-time.Minute),
		NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, r.cert, r.cert, r.key.Public(), r.key)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if r.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	r.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return r, nil
}

// issue makes a certificate for a name.
func (r *root) issue(name string) (chain, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("%s's key: %w", name, err)
	}
	number, err := serial()
	if err != nil {
		return "", "", err
	}
	leaf := &x509.Certificate{SerialNumber: number, NotBefore: r.cert.NotBefore, NotAfter: r.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "soak", Path: "/ns/default/sa/" + name}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, r.cert, k.Public(), r.key)
	if err != nil {
		return "", "", fmt.Errorf("%s's certificate: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", fmt.Errorf("%s's key: %w", name, err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), nil
}

// trust is what everybody trusts and who signs, as it changes: in each fourth step there are new certificates, then a
// second root is trusted, then it signs, and then the first one is trusted no more.
type trust struct {
	steps     int
	roots     []*root
	signer    *root
	exchanged int // roots
}

func newTrust() (*trust, error) {
	r, err := newRoot()
	if err != nil {
		return nil, err
	}
	return &trust{roots: []*root{r}, signer: r}, nil
}

func (t *trust) step() error {
	t.steps++
	switch t.steps % 4 {
	case 1:
		r, err := newRoot()
		if err != nil {
			return err
		}
		t.roots = append(t.roots, r)
	case 2:
		t.signer = t.roots[len(t.roots)-1]
	case 3:
		t.roots = t.roots[1:]
		t.exchanged++
	}
	return nil
}

// secrets makes a new certificate for a name.
func (t *trust) secrets(name string) (s secrets, err error) {
	if s.Chain, s.Key, err = t.signer.issue(name); err != nil {
		return s, err
	}
	var b strings.Builder
	for _, r := range t.roots {
		b.WriteString(r.pem)
	}
	s.Roots = b.String()
	return s, nil
}

// visitor is a TLS client of ours, whose secrets change while it is used.
type visitor struct {
	sessions tls.ClientSessionCache

	mu    sync.Mutex // guards what follows
	cert  tls.Certificate
	roots *x509.CertPool
	// Finished handshakes.
	full, resumed int64
}

func (v *visitor) swap(s *secrets) error {
	cert, err := tls.X509KeyPair([]byte(s.Chain), []byte(s.Key))
	if err != nil {
		return fmt.Errorf("client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(s.Roots))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cert, v.roots = cert, pool
	return nil
}

// config is for one connection to a server. resume says whether sessions are resumed.
func (v *visitor) config(server string, resume bool, alpn ...string) *tls.Config {
	v.mu.Lock()
	defer v.mu.Unlock()
	cert, roots := v.cert, v.roots
	c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: alpn, ServerName: server,
		Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true}
	c.VerifyConnection = func(cs tls.ConnectionState) error { // names are SPIFFE ids
		if len(cs.PeerCertificates) == 0 {
			return errors.New("the server has shown no certificate")
		}
		_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
		return err
	}
	if resume {
		c.ClientSessionCache = v.sessions
	}
	return c
}

// met counts handshakes.
func (v *visitor) met(cs tls.ConnectionState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if cs.DidResume {
		v.resumed++
	} else {
		v.full++
	}
}

func (v *visitor) handshakes() (full, resumed int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.full, v.resumed
}
