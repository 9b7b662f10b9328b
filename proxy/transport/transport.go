// Package transport makes TLS of the plan's transport sockets: it finds the certificates and roots that they refer to
// and builds wire/tlsconn's servers and clients.
//
// Secrets are looked up in every handshake, first in the plan, then, under the names default and ROOTCA, in the
// proxy's own identity; so a renewed certificate is used at once and no connection is touched.
//
// Called by proxy when a plan is prepared (Server) and by proxy/upstream for its hosts (Client). A Source is safe for
// concurrent use and starts no goroutine.
//
// May import: wire, identity, proxy/plan.
package transport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/tlsconn"
)

// The SDS names that Istio's agent answers from the workload's own identity.
const (
	OwnCertificate = "default"
	OwnRoots       = "ROOTCA"
)

// Source knows where secrets are.
type Source struct {
	current *plan.Current
	holder  *identity.Holder // may be nil
	tickets *tlsconn.Tickets
	version atomic.Uint64 // of the Trusts handed out
}

// NewSource returns a source over the plan in force and the proxy's identity, which may be nil.
func NewSource(current *plan.Current, holder *identity.Holder) *Source {
	return &Source{current: current, holder: holder, tickets: tlsconn.NewTickets(time.Hour)}
}

// ErrNoSecret means that a certificate or roots have not arrived yet.
var ErrNoSecret = errors.New("secret has not arrived")

// Server builds the server's side of a listener's TLS context.
func (s *Source) Server(t *plan.DownstreamTLS, timeout time.Duration) (*tlsconn.Server, error) {
	o := tlsconn.ServerOptions{
		Options:                   s.options(&t.TLSParameters),
		Certificate:               func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return s.serverCertificate(t, hello) },
		OptionalClientCertificate: !t.RequireClientCertificate,
	}
	o.HandshakeTimeout = timeout
	if !t.DisableSessionTickets {
		o.Tickets = s.tickets
	}
	if t.Validation.Empty() && !t.RequireClientCertificate {
		o.Verifier = nil
	}
	server, err := tlsconn.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("downstream TLS context: %w", err)
	}
	return server, nil
}

// ClientConfig is what varies between the clients of one TLS context.
type ClientConfig struct {
	// SNI and ALPN replace the context's when not empty.
	SNI     string
	ALPN    []string
	Timeout time.Duration
}

// Client builds the client's side of a cluster's TLS context.
func (s *Source) Client(t *plan.UpstreamTLS, cfg ClientConfig) (*tlsconn.Client, error) {
	o := tlsconn.ClientOptions{
		Options:    s.options(&t.TLSParameters),
		ServerName: t.SNI,
		SkipVerify: t.Validation.Empty(),
		Sessions:   int(t.MaxSessionKeys),
	}
	if cfg.SNI != "" {
		o.ServerName = cfg.SNI
	}
	if len(cfg.ALPN) > 0 {
		o.ALPN = cfg.ALPN
	}
	if t.AutoSANValidation {
		o.VerifyHost = o.ServerName
	}
	o.HandshakeTimeout = cfg.Timeout
	if len(t.Certificates) > 0 {
		o.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.certificate(&t.Certificates[0]) }
	}
	if o.SkipVerify = o.SkipVerify || o.Verifier == nil; o.SkipVerify {
		o.Verifier = nil
	}
	client, err := tlsconn.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("upstream TLS context: %w", err)
	}
	return client, nil
}

func (s *Source) options(p *plan.TLSParameters) tlsconn.Options {
	v := &p.Validation
	o := tlsconn.Options{
		MinVersion: p.MinVersion, MaxVersion: p.MaxVersion, CipherSuites: p.Ciphers, Curves: p.Curves, ALPN: p.ALPN,
		Authorize: func(peer *tlsconn.Peer) error { return s.authorize(v, peer.Leaf) },
		Shown:     func() [sha256.Size]byte { return s.shown(p.Certificates) },
	}
	if !v.AcceptUntrusted {
		o.Verifier = tlsconn.NewVerifier(s.trustOf(v), 0)
	}
	return o
}

// serverCertificate chooses by SNI among several certificates: the first that names the server, else the first.
func (s *Source) serverCertificate(t *plan.DownstreamTLS, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(t.Certificates) == 0 {
		return nil, fmt.Errorf("tls certificate: %w", ErrNoSecret)
	}
	if t.RequireSNI && hello.ServerName == "" {
		return nil, errors.New("tls: the client sent no server name, which this listener requires")
	}
	if len(t.Certificates) > 1 {
		for i := range t.Certificates {
			c, err := s.certificate(&t.Certificates[i])
			if err == nil && hello.SupportsCertificate(c) == nil {
				return c, nil
			}
		}
	}
	return s.certificate(&t.Certificates[0])
}

func (s *Source) certificate(c *plan.CertificateSource) (*tls.Certificate, error) {
	if c.Inline != nil {
		return c.Inline, nil
	}
	if secret := s.current.Load().Secret(c.SDS); secret != nil && secret.Certificate != nil {
		return secret.Certificate, nil
	}
	if c.SDSName == OwnCertificate && s.holder != nil {
		if m := s.holder.Current(); m != nil {
			return m.TLS, nil
		}
	}
	return nil, fmt.Errorf("certificate %q: %w", c.SDSName, ErrNoSecret)
}

// shown identifies the certificates of a context as they are now.
func (s *Source) shown(list []plan.CertificateSource) [sha256.Size]byte {
	h := sha256.New()
	for i := range list {
		// One that has not arrived is not shown.
		if c, err := s.certificate(&list[i]); err == nil && len(c.Certificate) > 0 {
			sum := sha256.Sum256(c.Certificate[0])
			h.Write(sum[:])
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// roots returns the roots that a validation refers to; both are nil when they have not arrived.
func (s *Source) roots(v *plan.Validation) (*plan.TrustedRoots, *identity.Bundle) {
	if v.Inline != nil {
		return v.Inline, nil
	}
	if secret := s.current.Load().Secret(v.SDS); secret != nil && secret.Roots != nil {
		return secret.Roots, nil
	}
	if v.SDSName == OwnRoots && s.holder != nil {
		return nil, s.holder.Bundle()
	}
	return nil, nil
}

// trustOf returns a function that gives the Trust of a validation, rebuilt only when its roots change.
func (s *Source) trustOf(v *plan.Validation) func() *tlsconn.Trust {
	type made struct {
		roots  *plan.TrustedRoots
		bundle *identity.Bundle
		trust  *tlsconn.Trust
	}
	var last atomic.Pointer[made]
	var mu sync.Mutex
	return func() *tlsconn.Trust {
		roots, bundle := s.roots(v)
		if m := last.Load(); m != nil && m.roots == roots && m.bundle == bundle {
			return m.trust
		}
		mu.Lock()
		defer mu.Unlock()
		m := &made{roots: roots, bundle: bundle, trust: &tlsconn.Trust{Version: s.version.Add(1)}}
		switch {
		case roots != nil:
			m.trust.Roots = roots.Pool
		case bundle != nil:
			m.trust.Domains, m.trust.Roots = domains(bundle)
		}
		last.Store(m)
		return m.trust
	}
}

func domains(b *identity.Bundle) (map[string]*x509.CertPool, *x509.CertPool) {
	byDomain, all := map[string]*x509.CertPool{}, x509.NewCertPool()
	for _, name := range b.TrustDomains() {
		byDomain[name] = b.Pool(name)
	}
	for _, c := range b.All() {
		all.AddCert(c)
	}
	return byDomain, all
}

// ErrPeerName means that a verified certificate is not one of those that the context asks for.
var ErrPeerName = errors.New("peer certificate matches none of the names that are allowed")

// authorize checks a peer's leaf against the validation's own rules and those that came with its roots.
func (s *Source) authorize(v *plan.Validation, leaf *x509.Certificate) error {
	if err := allowed(v, leaf); err != nil {
		return err
	}
	if roots, _ := s.roots(v); roots != nil {
		return allowed(&roots.Validation, leaf)
	}
	return nil
}

func allowed(v *plan.Validation, leaf *x509.Certificate) error {
	if len(v.SANs) > 0 && !slices.ContainsFunc(v.SANs, func(m plan.SANMatch) bool { return m.MatchCertificate(leaf) }) {
		return fmt.Errorf("%w: it names %v %v", ErrPeerName, leaf.URIs, leaf.DNSNames)
	}
	if len(v.Hashes) > 0 && !slices.Contains(v.Hashes, sha256.Sum256(leaf.Raw)) {
		return errors.New("peer certificate's hash is not among those that are allowed")
	}
	if len(v.SPKIs) > 0 && !slices.Contains(v.SPKIs, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)) {
		return errors.New("peer certificate's public key is not among those that are allowed")
	}
	return nil
}
