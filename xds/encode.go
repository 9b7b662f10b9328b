package xds

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// Encode is the node as a client sends it, the reverse of DecodeNode. Fields
// that Raw holds too are taken from the struct; what else Raw holds is kept. A
// node with a Type gets an id of Istio's form, others keep theirs.
func (n *Node) Encode() *corev3.Node {
	out := &corev3.Node{
		Id:       n.ID,
		Cluster:  n.Cluster,
		Metadata: &structpb.Struct{Fields: make(map[string]*structpb.Value)},
		Locality: &corev3.Locality{Region: n.Locality.Region, Zone: n.Locality.Zone, SubZone: n.Locality.SubZone},
	}
	if n.Type != "" {
		out.Id = NodeID{Type: n.Type, IPs: n.IPs, Workload: n.Workload, Domain: n.Domain}.String()
	}
	agent, version, _ := strings.Cut(n.UserAgent, " ")
	out.UserAgentName = agent
	if version != "" {
		out.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: version}
	}
	for name, value := range n.Raw.GetFields() {
		out.Metadata.Fields[name] = value
	}
	n.Metadata.encode(out.Metadata.Fields)
	return out
}

func (m *Metadata) encode(fields map[string]*structpb.Value) {
	for name, value := range map[string]string{
		"NAMESPACE":           m.Namespace,
		"SERVICE_ACCOUNT":     m.ServiceAccount,
		"WORKLOAD_NAME":       m.WorkloadName,
		"NAME":                m.Name,
		"OWNER":               m.Owner,
		"NODE_NAME":           m.NodeName,
		"CLUSTER_ID":          m.ClusterID,
		"NETWORK":             m.Network,
		"MESH_ID":             m.MeshID,
		"ISTIO_VERSION":       m.ProxyVersion,
		"GENERATOR":           m.Generator,
		"INTERCEPTION_MODE":   m.InterceptionMode,
		"AUTO_REGISTER_GROUP": m.AutoRegisterGroup,
		"INSTANCE_IPS":        strings.Join(m.InstanceIPs, ","),
	} {
		if value != "" {
			fields[name] = structpb.NewStringValue(value)
		}
	}
	// Istio's agents write booleans as text.
	for name, value := range map[string]bool{
		"DNS_CAPTURE":       m.DNSCapture,
		"DNS_AUTO_ALLOCATE": m.DNSAutoAllocate,
		"ENABLE_HBONE":      m.EnableHBONE,
	} {
		if value {
			fields[name] = structpb.NewStringValue("true")
		}
	}
	for name, value := range map[string]map[string]string{"LABELS": m.Labels, "ANNOTATIONS": m.Annotations} {
		if len(value) > 0 {
			fields[name] = encodeMap(value)
		}
	}
}

func encodeMap(m map[string]string) *structpb.Value {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(m))}
	for k, v := range m {
		s.Fields[k] = structpb.NewStringValue(v)
	}
	return structpb.NewStructValue(s)
}

// SetMeta adds a metadata field that Metadata has no name for. It belongs to the
// making of a node: a node that has been handed on is not changed any more.
func (n *Node) SetMeta(name, value string) {
	if n.Raw == nil {
		n.Raw = &structpb.Struct{Fields: make(map[string]*structpb.Value)}
	}
	n.Raw.Fields[name] = structpb.NewStringValue(value)
}
