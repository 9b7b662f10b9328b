package identity

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"lateen.dev/lateen/lib/atomicfile"
)

// rootHeader marks the root certificates in a persisted file and names their
// trust domain.
const rootHeader = "Trust-Domain"

// Save writes key, chain and roots into one file of mode 0600, atomically.
func (m *Material) Save(path string) error {
	key, err := x509.MarshalPKCS8PrivateKey(m.Key)
	if err != nil {
		return fmt.Errorf("identity: marshal key: %w", err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	out = append(out, EncodeCertificates(m.Chain)...)
	for _, td := range m.Bundle.TrustDomains() {
		for _, c := range m.Bundle.Roots(td) {
			block := pem.Block{Type: "CERTIFICATE", Headers: map[string]string{rootHeader: td}, Bytes: c.Raw}
			out = append(out, pem.EncodeToMemory(&block)...)
		}
	}
	if err := atomicfile.Write(path, out, 0o600); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}

// LoadMaterial reads what Save wrote.
func LoadMaterial(path string) (*Material, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	m, err := decodeMaterial(data)
	if err != nil {
		return nil, fmt.Errorf("identity: file %s: %w", path, err)
	}
	return m, nil
}

func decodeMaterial(data []byte) (*Material, error) {
	if len(data) > maxPEMBytes {
		return nil, fmt.Errorf("%d bytes, %d are allowed", len(data), maxPEMBytes)
	}
	var key crypto.Signer
	var chain []*x509.Certificate
	roots := make(map[string][]*x509.Certificate)
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			k, err := ParseKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			key = k
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			if td, ok := block.Headers[rootHeader]; ok {
				roots[td] = append(roots[td], c)
			} else {
				chain = append(chain, c)
			}
		default:
			return nil, fmt.Errorf("unexpected PEM block %.40q", block.Type)
		}
	}
	if key == nil {
		return nil, errors.New("no private key")
	}
	return NewMaterial(key, chain, NewBundle(roots))
}

// ParseKey reads a private key in PKCS #8, SEC 1 or PKCS #1 form.
func ParseKey(der []byte) (crypto.Signer, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if s, ok := k.(crypto.Signer); ok {
			return s, nil
		}
		return nil, fmt.Errorf("private key: a %T cannot sign", k)
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, errors.New("private key: neither PKCS #8 nor SEC 1 nor PKCS #1")
	}
	return k, nil
}
