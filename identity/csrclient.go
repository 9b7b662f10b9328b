package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	securityv1 "istio.io/api/security/v1alpha1"
)

// TokenSource gives a token that the certificate authority accepts, a fresh one
// when the last is about to expire.
type TokenSource func(ctx context.Context) (string, error)

// ClientConfig says where the certificate authority is and how to prove who
// asks.
type ClientConfig struct {
	// Target is gRPC's, "127.0.0.1:15012".
	Target string
	// Roots the server's certificate must lead to, and the name it must carry.
	Roots      *x509.CertPool
	ServerName string
	// Holder, if it has a certificate in force, proves the identity by mTLS.
	// Otherwise Token does.
	Holder *Holder
	Token  TokenSource
	// Timeout of one request; 10 s.
	Timeout time.Duration
	// Metadata is sent with the request as further facts for the signer.
	Headers map[string]string
	// DialOptions come last.
	DialOptions []grpc.DialOption
}

// Client asks a certificate authority that serves Istio's certificate service.
// It holds no connection between requests: they are a day apart, and each must
// present the certificate of its time.
type Client struct{ cfg ClientConfig }

var _ Signer = (*Client)(nil)

// NewClient makes a client. It does not connect yet.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	return &Client{cfg: cfg}
}

// Sign sends the request and reads the chain. The last certificate of the
// answer is the root, as everywhere in Istio.
func (c *Client) Sign(ctx context.Context, csr []byte, ttl time.Duration) (*Signed, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	ctx, err := c.authorize(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(c.cfg.Target, append([]grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(c.tlsConfig()))}, c.cfg.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", c.cfg.Target, err)
	}
	defer conn.Close()
	response, err := securityv1.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, &securityv1.IstioCertificateRequest{
		Csr:              string(csr),
		ValidityDuration: int64(ttl / time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", c.cfg.Target, err)
	}
	return decodeChain(response.GetCertChain())
}

func (c *Client) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    c.cfg.Roots,
		ServerName: c.cfg.ServerName,
	}
	if cfg.RootCAs == nil {
		// An empty pool trusts nobody; nil would mean the machine's roots.
		cfg.RootCAs = x509.NewCertPool()
	}
	if c.cfg.Holder != nil {
		cfg.GetClientCertificate = c.cfg.Holder.GetClientCertificate
	}
	return cfg
}

func (c *Client) authorize(ctx context.Context) (context.Context, error) {
	for name, value := range c.cfg.Headers {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	if c.cfg.Holder != nil && c.cfg.Holder.Current().ValidAt(time.Now()) {
		return ctx, nil
	}
	if c.cfg.Token == nil {
		return nil, errors.New("certificate request: neither a certificate in force nor a token to prove the identity with")
	}
	token, err := c.cfg.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("certificate request: token: %w", err)
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil
}

// decodeChain reads an answer's certificates. Each element may hold several.
func decodeChain(elements []string) (*Signed, error) {
	var all []*x509.Certificate
	for _, e := range elements {
		certs, err := ParseCertificates([]byte(e))
		if err != nil {
			return nil, fmt.Errorf("certificate authority's answer: %w", err)
		}
		if all = append(all, certs...); len(all) > maxPEMCertificates {
			return nil, fmt.Errorf("certificate authority's answer: more than %d certificates", maxPEMCertificates)
		}
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("certificate authority's answer: %d certificates, a leaf and a root are needed", len(all))
	}
	chain, root := all[:len(all)-1], all[len(all)-1]
	return &Signed{Chain: chain, Roots: []*x509.Certificate{root}}, nil
}

// PerRPC sends the source's token with each call or stream, over TLS only.
func PerRPC(source TokenSource) credentials.PerRPCCredentials { return perRPC{source} }

type perRPC struct{ source TokenSource }

func (p perRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := p.source(ctx)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (perRPC) RequireTransportSecurity() bool { return true }
