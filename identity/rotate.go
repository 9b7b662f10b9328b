package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/url"
	"time"

	"lateen.dev/lateen/lib/backoff"
)

// Signer turns a request into a certificate.
type Signer interface {
	// Sign sends a PEM certificate request and returns what came back. The
	// lifetime is a wish.
	Sign(ctx context.Context, csr []byte, ttl time.Duration) (*Signed, error)
}

// Signed is a signer's answer.
type Signed struct {
	// Chain has the leaf first, without the root.
	Chain []*x509.Certificate
	// Roots of the leaf's trust domain.
	Roots []*x509.Certificate
}

// RotatorConfig says what to keep valid. Zero values take the defaults named.
type RotatorConfig struct {
	ID     ID
	Holder *Holder
	Signer Signer
	// TTL to ask for; 24 h.
	TTL time.Duration
	// Share of a certificate's life after which it is renewed; 0.8.
	Share float64
	// Jitter moves each renewal earlier by up to this share of the life; 0.05.
	Jitter float64
	// File keeps key, chain and roots (0600) for the next start; "" for nowhere.
	File string
	// RetryMin and RetryMax bound the delay after a failure; 250 ms and 30 s.
	RetryMin, RetryMax time.Duration
	Log                *slog.Logger
	// Random gives numbers in [0,1); math/rand.
	Random func() float64
}

const (
	defaultTTL    = 24 * time.Hour
	defaultShare  = 0.8
	defaultJitter = 0.05
	retryMin      = 250 * time.Millisecond
	retryMax      = 30 * time.Second
)

// Rotator keeps a Holder's certificate valid.
type Rotator struct {
	cfg   RotatorConfig
	renew chan struct{}
}

// NewRotator checks nothing and does nothing: Run works.
func NewRotator(cfg RotatorConfig) *Rotator {
	if cfg.TTL <= 0 {
		cfg.TTL = defaultTTL
	}
	if cfg.Share <= 0 || cfg.Share >= 1 {
		cfg.Share = defaultShare
	}
	if cfg.Jitter <= 0 || cfg.Jitter >= cfg.Share {
		cfg.Jitter = min(defaultJitter, cfg.Share/2)
	}
	if cfg.RetryMin <= 0 {
		cfg.RetryMin = retryMin
	}
	if cfg.RetryMax <= 0 {
		cfg.RetryMax = retryMax
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Random == nil {
		cfg.Random = mathrand.Float64
	}
	return &Rotator{cfg: cfg, renew: make(chan struct{}, 1)}
}

// Renew asks for a new certificate now, for instance because the roots changed.
func (r *Rotator) Renew() {
	select {
	case r.renew <- struct{}{}:
	default:
	}
}

// Run obtains the first certificate and renews it until the context ends, which
// is what it then reports. A failure is logged and tried again; the certificate
// in force stays.
func (r *Rotator) Run(ctx context.Context) error {
	r.restore()
	for {
		if err := r.waitUntil(ctx, r.renewAt(r.cfg.Holder.Current())); err != nil {
			return err
		}
		if err := r.obtain(ctx); err != nil {
			return err
		}
	}
}

// restore takes the persisted material into use if it is good for the wanted
// identity.
func (r *Rotator) restore() {
	if r.cfg.File == "" || r.cfg.Holder.Current() != nil {
		return
	}
	m, err := LoadMaterial(r.cfg.File)
	switch {
	case err != nil:
		r.cfg.Log.Info("no persisted certificate in use", "file", r.cfg.File, "reason", err)
	case m.ID != r.cfg.ID || !m.ValidAt(time.Now()):
		r.cfg.Log.Info("persisted certificate not in use: expired or of another identity", "file", r.cfg.File, "id", m.ID, "notAfter", m.Leaf().NotAfter)
	default:
		r.cfg.Holder.Set(m)
	}
}

// renewAt is when the material is due; the zero time for none.
func (r *Rotator) renewAt(m *Material) time.Time {
	if m == nil {
		return time.Time{}
	}
	leaf := m.Leaf()
	return RenewalTime(leaf.NotBefore, leaf.NotAfter, r.cfg.Share-r.cfg.Jitter*r.cfg.Random())
}

// RenewalTime is the moment at which the given share of a certificate's life is
// over.
func RenewalTime(notBefore, notAfter time.Time, share float64) time.Time {
	life := notAfter.Sub(notBefore)
	return notBefore.Add(time.Duration(float64(life) * share))
}

func (r *Rotator) waitUntil(ctx context.Context, due time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.renew:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// obtain tries until it has a certificate or the context has ended.
func (r *Rotator) obtain(ctx context.Context) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.retryMax(), Random: r.cfg.Random}
	for {
		m, err := r.request(ctx)
		if err == nil {
			r.cfg.Holder.Set(m)
			r.cfg.Log.Info("certificate obtained", "id", m.ID, "notAfter", m.Leaf().NotAfter)
			r.persist(m)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.cfg.Log.Warn("certificate not obtained, trying again", "id", r.cfg.ID, "error", err)
		if err := retry.Wait(ctx); err != nil {
			return err
		}
	}
}

// retryMax leaves several attempts within what is left of the certificate.
func (r *Rotator) retryMax() time.Duration {
	const attempts = 5
	if m := r.cfg.Holder.Current(); m != nil {
		if left := time.Until(m.Leaf().NotAfter) / attempts; left > r.cfg.RetryMin {
			return min(left, r.cfg.RetryMax)
		}
	}
	return r.cfg.RetryMax
}

func (r *Rotator) request(ctx context.Context) (*Material, error) {
	key, csr, err := NewRequest(r.cfg.ID)
	if err != nil {
		return nil, err
	}
	signed, err := r.cfg.Signer.Sign(ctx, csr, r.cfg.TTL)
	if err != nil {
		return nil, err
	}
	return check(key, signed, r.cfg.ID)
}

// check accepts nothing from a signer that its own roots would not.
func check(key crypto.Signer, signed *Signed, want ID) (*Material, error) {
	bundle := NewBundle(map[string][]*x509.Certificate{want.TrustDomain: signed.Roots})
	m, err := NewMaterial(key, signed.Chain, bundle)
	if err != nil {
		return nil, err
	}
	if m.ID != want {
		return nil, fmt.Errorf("identity: certificate is for %s, asked for %s", m.ID, want)
	}
	if _, err := bundle.Verify(m.Chain, time.Now(), x509.ExtKeyUsageClientAuth); err != nil {
		return nil, fmt.Errorf("identity: certificate does not lead to the roots that came with it: %w", err)
	}
	return m, nil
}

func (r *Rotator) persist(m *Material) {
	if r.cfg.File == "" {
		return
	}
	if err := m.Save(r.cfg.File); err != nil {
		r.cfg.Log.Warn("certificate not persisted", "file", r.cfg.File, "error", err)
	}
}

// NewRequest makes a P-256 key and a PEM certificate request for the id.
func NewRequest(id ID) (crypto.Signer, []byte, error) {
	if id.IsZero() {
		return nil, nil, errors.New("identity: certificate request without an id")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: generate key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: create certificate request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
