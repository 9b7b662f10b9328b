package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Bundle is the set of root certificates by trust domain. It is immutable; the
// nil Bundle trusts nobody.
type Bundle struct {
	domains map[string]domain
	version string
}

type domain struct {
	roots []*x509.Certificate
	pool  *x509.CertPool
}

// NewBundle makes a bundle of roots by trust domain. Duplicates count once.
func NewBundle(roots map[string][]*x509.Certificate) *Bundle {
	b := &Bundle{domains: make(map[string]domain, len(roots))}
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(roots)) {
		list := slices.Clone(roots[name])
		slices.SortFunc(list, func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) })
		list = slices.CompactFunc(list, (*x509.Certificate).Equal)
		pool := x509.NewCertPool()
		fmt.Fprintf(hash, "%d:%s", len(name), name)
		for _, c := range list {
			pool.AddCert(c)
			hash.Write(c.Raw)
		}
		b.domains[name] = domain{roots: list, pool: pool}
	}
	b.version = hex.EncodeToString(hash.Sum(nil)[:12])
	return b
}

// Version is a hash of the content: equal bundles have equal versions.
func (b *Bundle) Version() string {
	if b == nil {
		return ""
	}
	return b.version
}

// TrustDomains are the bundle's domains, sorted.
func (b *Bundle) TrustDomains() []string {
	if b == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(b.domains))
}

// Roots are the trust domain's root certificates. Read only.
func (b *Bundle) Roots(trustDomain string) []*x509.Certificate {
	if b == nil {
		return nil
	}
	return b.domains[trustDomain].roots
}

// Pool is the trust domain's roots for crypto/x509; nil for an unknown domain.
// Read only.
func (b *Bundle) Pool(trustDomain string) *x509.CertPool {
	if b == nil {
		return nil
	}
	return b.domains[trustDomain].pool
}

// All are the roots of all trust domains, without duplicates.
func (b *Bundle) All() []*x509.Certificate {
	var all []*x509.Certificate
	for _, name := range b.TrustDomains() {
		all = append(all, b.domains[name].roots...)
	}
	slices.SortFunc(all, func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) })
	return slices.CompactFunc(all, (*x509.Certificate).Equal)
}

// ErrUntrusted is the reason for which a peer's certificate was not accepted.
var ErrUntrusted = errors.New("peer certificate not trusted")

// Verify checks a peer's chain, leaf first: it must name one SPIFFE id, and
// lead to a root of that id's own trust domain. A certificate for one domain is
// never checked against another one's roots.
func (b *Bundle) Verify(chain []*x509.Certificate, now time.Time, usage x509.ExtKeyUsage) (ID, error) {
	if len(chain) == 0 {
		return ID{}, fmt.Errorf("%w: none presented", ErrUntrusted)
	}
	id, err := FromCertificate(chain[0])
	if err != nil {
		return ID{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	pool := b.Pool(id.TrustDomain)
	if pool == nil {
		return ID{}, fmt.Errorf("%w: no roots for trust domain %q of %s", ErrUntrusted, id.TrustDomain, id)
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots:         pool,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return ID{}, fmt.Errorf("%w: %s: %w", ErrUntrusted, id, err)
	}
	return id, nil
}

const (
	maxPEMBytes        = 1 << 20
	maxPEMCertificates = 1000
)

// ParseCertificates reads all CERTIFICATE blocks. It fails when there is none,
// and on any other content.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxPEMBytes {
		return nil, fmt.Errorf("certificates: %d bytes, %d are allowed", len(data), maxPEMBytes)
	}
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return nil, errors.New("certificates: content that is not PEM")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("certificates: unexpected PEM block %.40q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		if out = append(out, c); len(out) > maxPEMCertificates {
			return nil, fmt.Errorf("certificates: more than %d", maxPEMCertificates)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("certificates: none found")
	}
	return out, nil
}

// EncodeCertificates writes certificates as PEM.
func EncodeCertificates(certs []*x509.Certificate) []byte {
	var buf bytes.Buffer
	for _, c := range certs {
		block := pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}
		buf.Write(pem.EncodeToMemory(&block))
	}
	return buf.Bytes()
}
