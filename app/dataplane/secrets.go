package dataplane

import (
	"crypto/x509"
	"hash/fnv"
	"time"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/proxy/plan"
)

// The SDS names under which configuration refers to the workload's identity.
const (
	ownCertificate = "default"
	ownRoots       = "ROOTCA"
)

// followIdentity puts each new certificate in force. Connections made with the
// old one go on.
func (p *Proxy) followIdentity() {
	changed, stop := p.holder.Watch()
	defer stop()
	for {
		if m := p.holder.Current(); m != nil {
			p.store.SetSecrets(secretsOf(m, p.config.TrustDomain)...)
		}
		select {
		case <-p.ctx.Done():
			return
		case <-changed:
		}
	}
}

func secretsOf(m *identity.Material, trustDomain string) []*plan.Secret {
	now := time.Now()
	roots := m.Bundle.Roots(trustDomain)
	return []*plan.Secret{
		{Name: ownCertificate, Version: hashOf(m.Chain), Updated: now, Certificate: m.TLS},
		{Name: ownRoots, Version: hashOf(roots), Updated: now, Roots: &plan.TrustedRoots{Pool: m.Bundle.Pool(trustDomain), Certs: roots}},
	}
}

func hashOf(certs []*x509.Certificate) plan.Hash {
	h := fnv.New64a()
	for _, c := range certs {
		h.Write(c.Raw)
	}
	return plan.Hash(h.Sum64())
}
