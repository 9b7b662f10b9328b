package identity

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Material is a key, the certificate chain that belongs to it, and the roots to
// check others with, as one immutable value: a reader never sees a key of one
// generation with a certificate of another.
type Material struct {
	ID  ID
	Key crypto.Signer
	// Chain has the leaf first and does not contain the root.
	Chain  []*x509.Certificate
	Bundle *Bundle
	// TLS is key and chain in the form of crypto/tls. Read only.
	TLS *tls.Certificate
}

// NewMaterial checks that key and leaf belong together and that the leaf names
// a workload.
func NewMaterial(key crypto.Signer, chain []*x509.Certificate, bundle *Bundle) (*Material, error) {
	if len(chain) == 0 {
		return nil, errors.New("identity: no certificate")
	}
	public, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("identity: the certificate is not for this key")
	}
	id, err := FromCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return &Material{ID: id, Key: key, Chain: chain, Bundle: bundle, TLS: pair}, nil
}

// Leaf is the workload's own certificate.
func (m *Material) Leaf() *x509.Certificate { return m.Chain[0] }

// ValidAt reports whether the certificate is in force.
func (m *Material) ValidAt(now time.Time) bool {
	return m != nil && !now.Before(m.Leaf().NotBefore) && now.Before(m.Leaf().NotAfter)
}

// withBundle is the same key and chain with other roots.
func (m *Material) withBundle(b *Bundle) *Material {
	c := *m
	c.Bundle = b
	return &c
}

// ErrNoCertificate means that no certificate has been obtained yet.
var ErrNoCertificate = errors.New("identity: no certificate yet; the certificate authority has not answered")

// Holder has the current Material. Readers never wait for a writer.
type Holder struct {
	current atomic.Pointer[Material]

	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

// NewHolder makes an empty holder.
func NewHolder() *Holder { return &Holder{watchers: make(map[chan struct{}]struct{})} }

// Current is the newest material, nil before the first.
func (h *Holder) Current() *Material { return h.current.Load() }

// Set swaps in new material and tells the watchers. Connections made with the
// old one go on.
func (h *Holder) Set(m *Material) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current.Store(m)
	h.notifyLocked()
}

// SetBundle swaps the roots and keeps key and certificate. It does nothing
// while there are none.
func (h *Holder) SetBundle(b *Bundle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.current.Load(); m != nil && m.Bundle.Version() != b.Version() {
		h.current.Store(m.withBundle(b))
		h.notifyLocked()
	}
}

func (h *Holder) notifyLocked() {
	for c := range h.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Watch gives a channel that receives after each change, several changes
// possibly as one. Call stop when done.
func (h *Holder) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, c)
	}
}

// Wait returns the first material as soon as there is one.
func (h *Holder) Wait(ctx context.Context) (*Material, error) {
	changed, stop := h.Watch()
	defer stop()
	for {
		if m := h.Current(); m != nil {
			return m, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNoCertificate, ctx.Err())
		}
	}
}

// GetCertificate is for tls.Config on the server's side.
func (h *Holder) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m := h.Current()
	if m == nil {
		return nil, ErrNoCertificate
	}
	return m.TLS, nil
}

// GetClientCertificate is for tls.Config on the client's side. Without a
// certificate in force it presents none, so that a server which also takes
// tokens can still be talked to.
func (h *Holder) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	m := h.Current()
	if !m.ValidAt(time.Now()) {
		return &tls.Certificate{}, nil
	}
	return m.TLS, nil
}

// Bundle is the current roots; nil before the first material.
func (h *Holder) Bundle() *Bundle {
	if m := h.Current(); m != nil {
		return m.Bundle
	}
	return nil
}

// VerifyPeer checks a chain, leaf first, against the current roots.
func (h *Holder) VerifyPeer(chain []*x509.Certificate, usage x509.ExtKeyUsage) (ID, error) {
	return h.Bundle().Verify(chain, time.Now(), usage)
}
