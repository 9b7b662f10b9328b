package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// DefaultHandshakeTimeout bounds a handshake if the options don't. It is Envoy's default
// transport_socket_connect_timeout of Istio's listeners.
const DefaultHandshakeTimeout = 15 * time.Second

// Options are what server and client have in common.
type Options struct {
	// Versions and algorithms; zero values mean TLS 1.2 to 1.3 with crypto/tls's cipher suites, and the curves of
	// DefaultCurves.
	MinVersion, MaxVersion uint16
	CipherSuites           []uint16
	Curves                 []tls.CurveID
	// ALPN lists the protocols in order of preference.
	ALPN []string
	// Verifier checks the peer's chain. A server without one asks for no certificate.
	Verifier *Verifier
	// Authorize looks at the names of a verified peer; an error ends the handshake. Nil accepts every verified peer.
	Authorize func(*Peer) error
	// Shown identifies the certificates that this side may show now. Sessions that were made while it returned something
	// else are not resumed. Nil means that they never change.
	Shown func() [sha256.Size]byte
	// HandshakeTimeout bounds the handshake; 0 means DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// Time is the clock that certificates are judged by; nil means time.Now.
	Time func() time.Time
}

// DefaultCurves begins with the hybrid of X25519 and ML-KEM-768, which protects recorded traffic from quantum
// computers to come.
func DefaultCurves() []tls.CurveID {
	return []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}
}

// Peer is what a peer's certificate says. It is verified unless the options told not to.
type Peer struct {
	// ID is the first URI name with the scheme spiffe, or "".
	ID string
	// URIs and DNSNames are the subject alternative names.
	URIs, DNSNames []string
	// Leaf is the certificate itself.
	Leaf *x509.Certificate
}

// Result describes a finished handshake.
type Result struct {
	Version, CipherSuite uint16
	// Curve is the key exchange; 0 is none, or RSA's.
	Curve tls.CurveID
	// ALPN is the protocol agreed on, or "".
	ALPN string
	// SNI is the server name that the client asked for, or "".
	SNI string
	// Resumed says that the session was resumed.
	Resumed bool
	// Peer is nil if the peer has shown no certificate.
	Peer *Peer
}

// PeerID returns the peer's SPIFFE id, or "".
func (r *Result) PeerID() string {
	if r.Peer == nil {
		return ""
	}
	return r.Peer.ID
}

func (o *Options) timeout() time.Duration {
	if o.HandshakeTimeout > 0 {
		return o.HandshakeTimeout
	}
	return DefaultHandshakeTimeout
}

func (o *Options) now() time.Time {
	if o.Time != nil {
		return o.Time()
	}
	return time.Now()
}

// config makes what server and client have in common. Chains are verified in VerifyConnection only, which crypto/tls
// calls for resumed sessions too.
func (o *Options) config(usage x509.ExtKeyUsage) *tls.Config {
	c := &tls.Config{
		MinVersion: o.MinVersion, MaxVersion: o.MaxVersion, CipherSuites: o.CipherSuites,
		CurvePreferences: o.Curves, NextProtos: o.ALPN, Time: o.Time,
		// Records of full size: the data path writes whole buffers, and small first records cost a third more.
		DynamicRecordSizingDisabled: true,
		InsecureSkipVerify:          true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return o.verify(cs.PeerCertificates, usage, "")
		},
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	if len(c.CurvePreferences) == 0 {
		c.CurvePreferences = DefaultCurves()
	}
	return c
}

var errNoCertificate = errors.New("peer has shown no certificate")

func (o *Options) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage, host string) error {
	if len(chain) == 0 {
		return nil // crypto/tls has seen to it that one was shown if one is required
	}
	if o.Verifier != nil {
		if err := o.Verifier.Verify(chain, usage, host, o.now()); err != nil {
			return err
		}
	}
	if o.Authorize != nil {
		return o.Authorize(peerOf(chain[0]))
	}
	return nil
}

func peerOf(leaf *x509.Certificate) *Peer {
	p := &Peer{Leaf: leaf, DNSNames: leaf.DNSNames}
	for _, u := range leaf.URIs {
		s := u.String()
		if p.ID == "" && u.Scheme == "spiffe" {
			p.ID = s
		}
		p.URIs = append(p.URIs, s)
	}
	return p
}
