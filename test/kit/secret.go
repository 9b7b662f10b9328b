package kit

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"lateen.dev/lateen/ca/catest"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/sds"
)

// The names under which a workload's own key and the mesh's roots are asked for.
const (
	workloadSecret = sds.Workload
	rootSecret     = sds.Roots
)

// material issues a key and certificate for a workload.
func (c *Control) material(id identity.ID) (*identity.Material, error) {
	return catest.Issue(c.Authority, id, time.Hour)
}

// secretsOf are the two secrets of a workload as an Envoy asks for them.
func secretsOf(m *identity.Material) (*xds.Set, error) {
	der, err := x509.MarshalPKCS8PrivateKey(m.Key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return sds.Set(sds.Material{Chain: identity.EncodeCertificates(m.Chain), Key: key, Roots: identity.EncodeCertificates(m.Bundle.All())})
}
