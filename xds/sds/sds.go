// Package sds writes a workload's key, certificate and roots as the secrets that
// proxies ask for by Istio's names.
//
// Called by app for the agent, and by test/kit. Pure; safe for concurrent use.
//
// May import: xds.
package sds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"lateen.dev/lateen/xds"
)

// The names under which a workload's own key and the mesh's roots are asked for.
const (
	Workload = "default"
	Roots    = "ROOTCA"
)

// Material is what the secrets are made of, each in PEM.
type Material struct{ Chain, Key, Roots []byte }

// Set is the two secrets of a workload.
func Set(m Material) (*xds.Set, error) {
	own, err := xds.NewResource(Workload, &tlsv3.Secret{Name: Workload, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(m.Chain), PrivateKey: inline(m.Key)},
	}})
	if err != nil {
		return nil, err
	}
	roots, err := xds.NewResource(Roots, &tlsv3.Secret{Name: Roots, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(m.Roots)},
	}})
	if err != nil {
		return nil, err
	}
	return xds.NewSet(xds.SecretType, []*xds.Resource{own, roots}), nil
}

func inline(data []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: data}}
}
