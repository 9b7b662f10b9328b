package ca

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/lib/atomicfile"
)

const (
	// TokenAudience is whom tokens are for, in Istio's word.
	TokenAudience = "istio-ca"

	tokenIssuer   = "lateen"
	tokenKeyFile  = "token.key"
	tokenKeyBytes = 32
	tokenTTL      = 10 * time.Minute
	maxTokenTTL   = 24 * time.Hour
	maxTokenBytes = 8 << 10
	// tokenLeeway allows for clocks that differ.
	tokenLeeway = 10 * time.Second

	subjectPrefix = "system:serviceaccount:"
)

// ErrToken is the reason for which a token was not accepted.
var ErrToken = errors.New("token not acceptable")

// Claims is what a verified token says.
type Claims struct {
	ID identity.ID
	// Node is the workload instance, "name.namespace", that alone may use the
	// token for discovery; "" for any of the identity.
	Node   string
	Expiry time.Time
}

// TokenVerifier accepts or refuses tokens.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (Claims, error)
}

// Tokens issues and verifies the tokens that the control plane's local socket
// hands to workloads of the same user. They are good for proving an identity to
// this control plane and nothing else.
type Tokens struct {
	key         []byte
	trustDomain string
	now         func() time.Time
}

// OpenTokens reads the directory's token key, or makes one (0600). A nil clock
// is time.Now.
func OpenTokens(dir, trustDomain string, now func() time.Time) (*Tokens, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	path := filepath.Join(dir, tokenKeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, tokenKeyBytes)
		if _, err = rand.Read(key); err == nil {
			err = atomicfile.Write(path, key, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	if len(key) != tokenKeyBytes {
		return nil, fmt.Errorf("token key: file %s has %d bytes instead of %d; remove it to start with a new key", path, len(key), tokenKeyBytes)
	}
	return &Tokens{key: key, trustDomain: trustDomain, now: now}, nil
}

// TokenRequest says whom a token is for.
type TokenRequest struct {
	Namespace      string
	ServiceAccount string
	// Node binds the token to one workload instance, "name.namespace".
	Node string
	// TTL of the token; 10 minutes if zero, a day at most.
	TTL time.Duration
}

type nodeClaims struct {
	Node string `json:"lateen.dev/node,omitempty"`
}

// Issue makes a token and tells when it expires.
func (t *Tokens) Issue(r TokenRequest) (string, time.Time, error) {
	if _, err := identity.NewID(t.trustDomain, r.Namespace, r.ServiceAccount); err != nil {
		return "", time.Time{}, fmt.Errorf("token for service account %q in namespace %q: %w", r.ServiceAccount, r.Namespace, err)
	}
	ttl := r.TTL
	if ttl <= 0 {
		ttl = tokenTTL
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: t.key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("token: %w", err)
	}
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return "", time.Time{}, fmt.Errorf("token: %w", err)
	}
	now := t.now()
	expiry := now.Add(min(ttl, maxTokenTTL))
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:    tokenIssuer,
		Subject:   subjectPrefix + r.Namespace + ":" + r.ServiceAccount,
		Audience:  jwt.Audience{TokenAudience},
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		Expiry:    jwt.NewNumericDate(expiry),
		ID:        hex.EncodeToString(nonce),
	}).Claims(nodeClaims{Node: r.Node}).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("token: %w", err)
	}
	return token, expiry, nil
}

// Verify accepts tokens that Issue made with the same key, within their time.
func (t *Tokens) Verify(_ context.Context, token string) (Claims, error) {
	if len(token) > maxTokenBytes {
		return Claims{}, fmt.Errorf("%w: longer than %d bytes", ErrToken, maxTokenBytes)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	var standard jwt.Claims
	var node nodeClaims
	if err := parsed.Claims(t.key, &standard, &node); err != nil {
		return Claims{}, fmt.Errorf("%w: not signed by this control plane: %w", ErrToken, err)
	}
	err = standard.ValidateWithLeeway(jwt.Expected{
		Issuer:      tokenIssuer,
		AnyAudience: jwt.Audience{TokenAudience},
		Time:        t.now(),
	}, tokenLeeway)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if standard.Expiry == nil {
		return Claims{}, fmt.Errorf("%w: it never expires", ErrToken)
	}
	id, err := subjectID(standard.Subject, t.trustDomain)
	if err != nil {
		return Claims{}, err
	}
	return Claims{ID: id, Node: node.Node, Expiry: standard.Expiry.Time()}, nil
}

// subjectID reads system:serviceaccount:NAMESPACE:ACCOUNT.
func subjectID(subject, trustDomain string) (identity.ID, error) {
	rest, ok := strings.CutPrefix(subject, subjectPrefix)
	namespace, account, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return identity.ID{}, fmt.Errorf("%w: subject %.100q is no service account", ErrToken, subject)
	}
	id, err := identity.NewID(trustDomain, namespace, account)
	if err != nil {
		return identity.ID{}, fmt.Errorf("%w: subject %.100q: %w", ErrToken, subject, err)
	}
	return id, nil
}
