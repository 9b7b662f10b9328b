package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"lateen.dev/lateen/wire/sock"
)

// ClientOptions configure a Client.
type ClientOptions struct {
	Options
	// ServerName is sent as SNI; "" sends none.
	ServerName string
	// VerifyHost is the DNS name or address that the server's certificate must be good for; "" doesn't check that, as
	// between workloads, whose names Authorize checks.
	VerifyHost string
	// Certificate returns the certificate to show if the server asks. It is called in every full handshake. Nil shows
	// none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// SkipVerify must be set if there is no Verifier, so that nobody goes unverified by oversight.
	SkipVerify bool
	// Sessions is how many sessions are kept for resumption, by server address; 0 disables it.
	Sessions int
}

// Client makes the client's side of handshakes.
type Client struct {
	o      ClientOptions
	config *tls.Config
}

var errUnverified = errors.New("tls client: neither a verifier nor leave to go without one")

// NewClient checks the options and prepares a Client.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Verifier == nil && !o.SkipVerify {
		return nil, errUnverified
	}
	cl := &Client{o: o}
	cl.config = cl.o.config(x509.ExtKeyUsageServerAuth)
	cl.config.ServerName = o.ServerName
	cl.config.GetClientCertificate = o.Certificate
	if o.Certificate == nil {
		cl.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{}, nil
		}
	}
	cl.config.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errNoCertificate
		}
		return cl.o.verify(cs.PeerCertificates, x509.ExtKeyUsageServerAuth, o.VerifyHost)
	}
	if o.Sessions > 0 {
		cl.config.ClientSessionCache = tls.NewLRUClientSessionCache(o.Sessions)
	}
	return cl, nil
}

// Handshake makes the handshake on c and encrypts it from then on. On error the connection is good for nothing and
// the caller closes it.
func (cl *Client) Handshake(c *sock.Conn) (Result, error) {
	m := &memory{c: c}
	if cl.config.ClientSessionCache == nil {
		return handshake(c, m, tls.Client(m, cl.config), cl.o.timeout())
	}
	config, kept := cl.resuming(c.RemoteAddr().String())
	r, err := handshake(c, m, tls.Client(m, config), cl.o.timeout())
	if err != nil && kept.offered {
		kept.forget() // the next handshake must not fail for the same session
	}
	return r, err
}
