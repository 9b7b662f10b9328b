package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
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
	// Headers are sent with the request, further facts for the signer.
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

// Sign sends the request and reads the chain. The last element of the answer is
// the roots, as everywhere in Istio. A certificate that the authority no longer
// accepts, because its root was replaced, is made up for by the token.
func (c *Client) Sign(ctx context.Context, csr []byte, ttl time.Duration) (*Signed, error) {
	request := &securityv1.IstioCertificateRequest{Csr: string(csr), ValidityDuration: int64(ttl / time.Second)}
	if c.cfg.Holder != nil && c.cfg.Holder.Current().ValidAt(time.Now()) {
		signed, err := c.send(ctx, request, true)
		if c.cfg.Token == nil || status.Code(err) != codes.Unauthenticated {
			return signed, err
		}
	}
	return c.send(ctx, request, false)
}

// send makes one attempt, proving the identity by the certificate in force or
// else by a token.
func (c *Client) send(ctx context.Context, request *securityv1.IstioCertificateRequest, byCertificate bool) (*Signed, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	ctx, err := c.headers(ctx, byCertificate)
	if err != nil {
		return nil, err
	}
	secure := grpc.WithTransportCredentials(credentials.NewTLS(c.tlsConfig(byCertificate)))
	conn, err := grpc.NewClient(c.cfg.Target, append([]grpc.DialOption{secure}, c.cfg.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", c.cfg.Target, err)
	}
	defer conn.Close()
	response, err := securityv1.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", c.cfg.Target, err)
	}
	return decodeChain(response.GetCertChain())
}

func (c *Client) tlsConfig(byCertificate bool) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    c.cfg.Roots,
		ServerName: c.cfg.ServerName,
	}
	if cfg.RootCAs == nil {
		// An empty pool trusts nobody; nil would mean the machine's roots.
		cfg.RootCAs = x509.NewCertPool()
	}
	if byCertificate {
		cfg.GetClientCertificate = c.cfg.Holder.GetClientCertificate
	}
	return cfg
}

func (c *Client) headers(ctx context.Context, byCertificate bool) (context.Context, error) {
	for name, value := range c.cfg.Headers {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	if byCertificate {
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

// decodeChain reads an answer: certificates, then the roots in the last
// element. Each element may hold several.
func decodeChain(elements []string) (*Signed, error) {
	var chain, last []*x509.Certificate
	for _, e := range elements {
		certs, err := ParseCertificates([]byte(e))
		if err != nil {
			return nil, fmt.Errorf("certificate authority's answer: %w", err)
		}
		chain, last = append(chain, last...), certs
		if len(chain) > maxPEMCertificates {
			return nil, fmt.Errorf("certificate authority's answer: more than %d certificates", maxPEMCertificates)
		}
	}
	if len(chain) == 0 && len(last) > 1 {
		end := len(last) - 1
		chain, last = last[:end], last[end:]
	}
	if len(chain) == 0 {
		return nil, errors.New("certificate authority's answer: a leaf and a root are needed")
	}
	return &Signed{Chain: chain, Roots: last}, nil
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
