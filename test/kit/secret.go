package kit

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/xds"
)

// The names under which a workload's own key and the mesh's roots are asked for.
const (
	workloadSecret = "default"
	rootSecret     = "ROOTCA"
)

// material issues a key and certificate for a workload.
func (c *Control) material(id identity.ID) (*identity.Material, error) {
	key, csr, err := identity.NewRequest(id)
	if err != nil {
		return nil, fmt.Errorf("certificate request of %s: %w", id, err)
	}
	issued, err := c.Authority.SignRequest(csr, id, time.Hour)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", id, err)
	}
	return identity.NewMaterial(key, issued.Chain, c.Authority.Bundle())
}

// secretsOf are the two secrets of a workload as an Envoy asks for them.
func secretsOf(m *identity.Material) (*xds.Set, error) {
	der, err := x509.MarshalPKCS8PrivateKey(m.Key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	own, err := xds.NewResource(workloadSecret, &tlsv3.Secret{Name: workloadSecret, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(identity.EncodeCertificates(m.Chain)), PrivateKey: inline(key)},
	}})
	if err != nil {
		return nil, err
	}
	roots, err := xds.NewResource(rootSecret, &tlsv3.Secret{Name: rootSecret, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(identity.EncodeCertificates(m.Bundle.All()))},
	}})
	if err != nil {
		return nil, err
	}
	return xds.NewSet(xds.SecretType, []*xds.Resource{own, roots}), nil
}

func inline(data []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: data}}
}
