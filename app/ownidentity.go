package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/identity"
)

// ownIdentity is the control plane's certificate for speaking to others that
// have the same root, made when it is first needed and renewed by use.
type ownIdentity struct {
	authority *ca.Authority

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	renewAt time.Time
}

// Istio's namespace and service account of control planes.
const (
	controlNamespace = "istio-system"
	controlAccount   = "istiod"
)

// ownShare of its life after which the certificate is replaced.
const ownShare = 0.8

// certificate is for tls.Config.GetClientCertificate.
func (o *ownIdentity) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current != nil && time.Now().Before(o.renewAt) {
		return o.current, nil
	}
	cert, err := o.issue()
	if err != nil {
		return nil, fmt.Errorf("the control plane's own certificate: %w", err)
	}
	o.current = cert
	o.renewAt = identity.RenewalTime(cert.Leaf.NotBefore, cert.Leaf.NotAfter, ownShare)
	return cert, nil
}

func (o *ownIdentity) issue() (*tls.Certificate, error) {
	id, err := identity.NewID(o.authority.TrustDomain(), controlNamespace, controlAccount)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	issued, err := o.authority.SignRequest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), id, 0)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: issued.Chain[0]}
	for _, c := range issued.Chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

// roots are those that both ends must have.
func (o *ownIdentity) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(o.authority.RootPEM())
	return pool
}
