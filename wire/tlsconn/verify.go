package tlsconn

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Trust says whom to trust. It is immutable; a changed one has another Version.
type Trust struct {
	// Version is part of the cache's key. Two Trusts that one Verifier sees must differ in it if they differ at all.
	Version uint64
	// Domains holds the roots of each SPIFFE trust domain. If it isn't nil, a peer with a SPIFFE id must chain to the
	// roots of its own domain; a domain that isn't listed falls back to Roots.
	Domains map[string]*x509.CertPool
	// Roots are for everybody else; nil trusts nobody.
	Roots *x509.CertPool
}

// Verifier checks chains against what is trusted now, and remembers whom it has verified.
type Verifier struct {
	trust func() *Trust
	max   int

	mu sync.Mutex
	// Two generations: when the young one is full it becomes the old one, so what is in use stays.
	young, old map[cacheKey]validity
}

type cacheKey struct {
	leaf    [sha256.Size]byte
	version uint64
	usage   x509.ExtKeyUsage
	host    string
}

// validity is when a whole verified chain is valid.
type validity struct{ from, to time.Time }

// DefaultVerifiedChains is how many verified chains a Verifier remembers by default.
const DefaultVerifiedChains = 1024

// NewVerifier returns a Verifier that asks trust in each handshake, and remembers about max chains; 0 means
// DefaultVerifiedChains, less than 0 none.
func NewVerifier(trust func() *Trust, max int) *Verifier {
	if max == 0 {
		max = DefaultVerifiedChains
	}
	return &Verifier{trust: trust, max: max}
}

// Errors that Verify wraps.
var (
	ErrUntrustedDomain = errors.New("no roots for this trust domain")
	ErrManyIDs         = errors.New("certificate has more than one SPIFFE id")
)

// Verify checks a chain as a peer has shown it, leaf first, for a usage and, if host isn't empty, a host name.
func (v *Verifier) Verify(chain []*x509.Certificate, usage x509.ExtKeyUsage, host string, now time.Time) error {
	leaf, trust := chain[0], v.trust()
	key := cacheKey{leaf: sha256.Sum256(leaf.Raw), version: trust.Version, usage: usage, host: host}
	if v.known(key, now) {
		return nil
	}
	roots, err := trust.rootsFor(leaf)
	if err != nil {
		return err
	}
	inter := x509.NewCertPool()
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: inter, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("verify certificate of %s: %w", describe(leaf), err)
	}
	v.remember(key, chains[0])
	return nil
}

// rootsFor finds the roots that a leaf must chain to.
func (t *Trust) rootsFor(leaf *x509.Certificate) (*x509.CertPool, error) {
	domain := ""
	for _, u := range leaf.URIs {
		if u.Scheme != "spiffe" {
			continue
		}
		if domain != "" {
			return nil, fmt.Errorf("certificate of %s: %w", describe(leaf), ErrManyIDs)
		}
		domain = u.Host
	}
	if domain != "" && t.Domains != nil {
		if roots := t.Domains[domain]; roots != nil {
			return roots, nil
		}
	}
	if t.Roots == nil {
		return nil, fmt.Errorf("certificate of %s: trust domain %q: %w", describe(leaf), domain, ErrUntrustedDomain)
	}
	return t.Roots, nil
}

func describe(leaf *x509.Certificate) string {
	if len(leaf.URIs) > 0 {
		return leaf.URIs[0].String()
	}
	return leaf.Subject.String()
}

func (v *Verifier) known(key cacheKey, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	w, ok := v.young[key]
	if !ok {
		if w, ok = v.old[key]; ok {
			v.put(key, w)
		}
	}
	return ok && !now.Before(w.from) && !now.After(w.to)
}

// remember keeps the time in which every certificate of the chain is valid.
func (v *Verifier) remember(key cacheKey, chain []*x509.Certificate) {
	w := validity{from: chain[0].NotBefore, to: chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(w.from) {
			w.from = c.NotBefore
		}
		if c.NotAfter.Before(w.to) {
			w.to = c.NotAfter
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(key, w)
}

func (v *Verifier) put(key cacheKey, w validity) {
	if v.max < 0 {
		return
	}
	if v.young == nil || len(v.young) >= max(v.max/2, 1) {
		v.old, v.young = v.young, make(map[cacheKey]validity)
	}
	v.young[key] = w
}
