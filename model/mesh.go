package model

import (
	"slices"

	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/config"
)

// Mesh is what holds for everybody: MeshConfig with its defaults filled in, and what the control plane was started with.
type Mesh struct {
	Config *meshconfig.MeshConfig
	// RootNamespace holds mesh-wide policies; istio-system by default.
	RootNamespace string
	TrustDomain   string
	// Domain is the DNS suffix of Kubernetes-style services; cluster.local by default.
	Domain  string
	Cluster string
	Network string
	// Origin is where MeshConfig was read, empty for the defaults.
	Origin config.Origin
	// What exportTo means where an object leaves it out.
	DefaultServiceExportTo         []string
	DefaultVirtualServiceExportTo  []string
	DefaultDestinationRuleExportTo []string
}

// Equal reports whether both say the same.
func (m *Mesh) Equal(o *Mesh) bool {
	if m == o {
		return true
	}
	if m == nil || o == nil {
		return false
	}
	return m.RootNamespace == o.RootNamespace && m.TrustDomain == o.TrustDomain && m.Domain == o.Domain &&
		m.Cluster == o.Cluster && m.Network == o.Network && samePlace(m.Origin, o.Origin) &&
		slices.Equal(m.DefaultServiceExportTo, o.DefaultServiceExportTo) &&
		slices.Equal(m.DefaultVirtualServiceExportTo, o.DefaultVirtualServiceExportTo) &&
		slices.Equal(m.DefaultDestinationRuleExportTo, o.DefaultDestinationRuleExportTo) &&
		proto.Equal(m.Config, o.Config)
}
