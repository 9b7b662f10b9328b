package cluster

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/stencil"
)

// Shape is what clusters have in common that differ in names only: one Stencil writes them all.
type Shape struct {
	dialect  dialect.Dialect
	mesh     *model.Mesh
	kind     clusterv3.Cluster_DiscoveryType
	port     uint32
	protocol model.Protocol
	registry model.Registry
	// policy is what the rule says, encoded: rules that say the same have one shape.
	policy string
	// rule is the kind of the rule's object, empty for none.
	rule                                                     string
	gateway, external, mtls, weighted, ipv6, subset, located bool
}

// Holes of a cluster's Stencil. What the endpoints' certificates may say is its list.
const (
	holeHost = iota
	holeName
	holeNamespace
	holeSubset
	holeRuleNamespace
	holeRule
	holeOrigin
)

// Shape is the cluster's, or false for one that no Stencil should write: its message holds more of its service than names.
func (in *Input) Shape() (Shape, bool) {
	policy := in.Rule.Policy(in.Subset, in.Port.Number)
	switch tls := policy.GetTls(); {
	case tls.GetMode() == networking.ClientTLSSettings_SIMPLE && tls != nil, tls.GetMode() == networking.ClientTLSSettings_MUTUAL:
		return Shape{}, false
	}
	s := Shape{
		dialect: in.Dialect, mesh: in.Mesh, kind: Type(in.Service, policy, in.Gateway), port: in.Port.Number, protocol: in.Port.Protocol,
		registry: in.Service.Registry, gateway: in.Gateway, external: in.Service.MeshExternal, mtls: in.MTLS,
		weighted: in.LocalityWeighted, ipv6: in.IPv6, subset: in.Subset != "",
	}
	if s.kind != clusterv3.Cluster_EDS && s.kind != clusterv3.Cluster_ORIGINAL_DST {
		return Shape{}, false
	}
	if policy != nil {
		s.policy = string(pb.Marshal(policy))
	}
	if in.Rule != nil {
		s.rule, s.located = in.Rule.Config.Kind.String(), place(in.Rule) != ""
		if in.Rule.Config.Namespace == "" {
			return Shape{}, false
		}
	}
	return s, stencil.Free(s.policy)
}

// place is where a rule was read, as its clusters tell it.
func place(rule *model.DestinationRule) string {
	at := rule.Origin.Position
	at.Column = 0
	return at.String()
}

// Stencil makes the Stencil of clusters of the input's shape; nil if it can't.
func (in Input) Stencil() *stencil.Stencil {
	policy := in.Rule.Policy(in.Subset, in.Port.Number)
	in.Service = &model.Service{
		Hostname: stencil.Hole(holeHost), Name: stencil.Hole(holeName), Namespace: stencil.Hole(holeNamespace),
		Registry: in.Service.Registry, Resolution: in.Service.Resolution, MeshExternal: in.Service.MeshExternal,
	}
	in.Identities = []string{stencil.Each}
	if in.Subset != "" {
		in.Subset = stencil.Hole(holeSubset)
	}
	if in.Rule != nil {
		rule := &model.DestinationRule{Config: in.Rule.Config}
		rule.Config.Namespace, rule.Config.Name = stencil.Hole(holeRuleNamespace), stencil.Hole(holeRule)
		if place(in.Rule) != "" {
			rule.Origin.File = stencil.Hole(holeOrigin)
		}
		in.Rule = rule
	}
	return stencil.New(outbound(in, policy))
}

// Append appends the encoding of Outbound(in), for a Stencil of its shape.
func (in *Input) Append(b []byte, s *stencil.Stencil) []byte {
	v := stencil.Values{Each: in.sans()}
	v.Text[holeHost], v.Text[holeName], v.Text[holeNamespace] = in.Service.Hostname, in.Service.Name, in.Service.Namespace
	v.Text[holeSubset] = in.Subset
	if in.Rule != nil {
		v.Text[holeRuleNamespace], v.Text[holeRule], v.Text[holeOrigin] = in.Rule.Config.Namespace, in.Rule.Config.Name, place(in.Rule)
	}
	return s.Append(b, &v)
}

// sans are the identities that the endpoints may have, by the registry's or their own word.
func (in *Input) sans() []string {
	sans := slices.Concat(in.Identities, in.Service.SubjectAltNames)
	slices.Sort(sans)
	return slices.Compact(sans)
}

// Name is the cluster's.
func (in *Input) Name() string {
	return naming.Outbound(in.Port.Number, in.Subset, in.Service.Hostname)
}
