// Package catest gives tests what an authority issues, without the service and
// the workload's agent that ask for it in the product.
//
// Called by tests, and by test/kit. It starts no goroutines.
//
// May import: ca, identity.
package catest

import (
	"fmt"
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/identity"
)

// Issue makes a key for an identity and has the authority sign it for ttl.
func Issue(a *ca.Authority, id identity.ID, ttl time.Duration) (*identity.Material, error) {
	key, csr, err := identity.NewRequest(id)
	if err != nil {
		return nil, fmt.Errorf("certificate request of %s: %w", id, err)
	}
	issued, err := a.SignRequest(csr, id, ttl)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", id, err)
	}
	return identity.NewMaterial(key, issued.Chain, a.Bundle())
}
