package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"lateen.dev/lateen/wire/sock"
)

// ServerOptions configure a Server.
type ServerOptions struct {
	Options
	// Certificate returns the certificate to show. It is called in every full handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// OptionalClientCertificate accepts clients without a certificate though there is a Verifier.
	OptionalClientCertificate bool
	// Tickets hold the keys of session tickets; nil disables resumption.
	Tickets *Tickets
}

// Server makes the server's side of handshakes.
type Server struct {
	o ServerOptions
	// config offers the configured ALPN names; noALPN is for clients that share none of them. crypto/tls would
	// refuse those, Envoy goes on without a protocol.
	config, noALPN *tls.Config
	// resume and resumeNoALPN are the same without ML-KEM; nil if that isn't to be.
	resume, resumeNoALPN *tls.Config
	tickets              ticketUser
}

// NewServer checks the options and prepares a Server.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Certificate == nil {
		return nil, fmt.Errorf("tls server: no source of certificates")
	}
	s := &Server{o: o}
	c := s.o.config(x509.ExtKeyUsageClientAuth)
	c.GetCertificate = o.Certificate
	c.SessionTicketsDisabled = o.Tickets == nil
	switch {
	case o.Verifier == nil:
		c.ClientAuth = tls.NoClientCert
	case o.OptionalClientCertificate:
		c.ClientAuth = tls.RequestClientCert
	default:
		c.ClientAuth = tls.RequireAnyClientCert
	}
	c.WrapSession, c.UnwrapSession = s.seal, s.open
	s.config, s.noALPN = c, c.Clone()
	s.noALPN.NextProtos = nil
	s.tickets = ticketUser{source: o.Tickets, configs: []*tls.Config{s.config, s.noALPN}}
	if curves, ok := withoutHybrids(c.CurvePreferences); ok && o.Tickets != nil && (c.MaxVersion == 0 || c.MaxVersion >= tls.VersionTLS13) {
		s.resume, s.resumeNoALPN = c.Clone(), s.noALPN.Clone()
		s.resume.CurvePreferences, s.resumeNoALPN.CurvePreferences = curves, curves
		s.tickets.configs = append(s.tickets.configs, s.resume, s.resumeNoALPN)
	}
	if len(o.ALPN) > 0 || s.resume != nil {
		s.config.GetConfigForClient = s.choose
	}
	return s, nil
}

// choose chooses the configuration for a client; nil is the usual one.
func (s *Server) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	alpn := len(s.o.ALPN) == 0
	for _, p := range hello.SupportedProtos {
		alpn = alpn || slices.Contains(s.o.ALPN, p)
	}
	if config := s.resuming(hello, alpn); config != nil {
		return config, nil
	}
	if alpn {
		return nil, nil
	}
	return s.noALPN, nil
}

// Handshake makes the handshake on c and encrypts it from then on. On error the connection is good for nothing and
// the caller closes it.
func (s *Server) Handshake(c *sock.Conn) (Result, error) { return s.HandshakeWithin(c, s.Timeout()) }

// Timeout is how long a handshake may take.
func (s *Server) Timeout() time.Duration { return s.o.timeout() }

// HandshakeWithin is Handshake with another timeout.
func (s *Server) HandshakeWithin(c *sock.Conn, timeout time.Duration) (Result, error) {
	if err := s.tickets.refresh(s.o.now()); err != nil {
		return Result{}, fmt.Errorf("tls session ticket keys: %w", err)
	}
	m := &memory{c: c}
	if s.resume != nil {
		m.record()
		defer m.forget()
	}
	return handshake(c, m, tls.Server(m, s.config), timeout)
}
