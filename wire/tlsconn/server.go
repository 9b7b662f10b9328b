package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"

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
	tickets        ticketUser
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
	if len(o.ALPN) > 0 {
		s.config.GetConfigForClient = s.choose
	}
	s.tickets = ticketUser{source: o.Tickets, configs: []*tls.Config{s.config, s.noALPN}}
	return s, nil
}

func (s *Server) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	for _, p := range hello.SupportedProtos {
		if slices.Contains(s.o.ALPN, p) {
			return nil, nil
		}
	}
	return s.noALPN, nil
}

// Handshake makes the handshake on c and encrypts it from then on. On error the connection is good for nothing and
// the caller closes it.
func (s *Server) Handshake(c *sock.Conn) (Result, error) {
	if err := s.tickets.refresh(s.o.now()); err != nil {
		return Result{}, fmt.Errorf("tls session ticket keys: %w", err)
	}
	m := &memory{c: c}
	return handshake(c, m, tls.Server(m, s.config), s.o.timeout())
}
