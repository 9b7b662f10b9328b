package xds

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Node is what a client says about itself. Nothing in it is proven: compare it
// with the stream's Peer before you believe it.
type Node struct {
	// ID is the node id as sent.
	ID string
	// Cluster is the service cluster, by custom "app.namespace".
	Cluster  string
	Locality Locality

	// Type, IPs, Workload and Domain come from an id of Istio's form
	// type~ip~workload.namespace~domain; an id of another form leaves them
	// empty.
	Type     string
	IPs      []netip.Addr
	Workload string
	Domain   string

	Metadata Metadata
	// Raw is all metadata as sent; nil if none was. Read only.
	Raw *structpb.Struct

	// UserAgent is the client's program and version, "envoy 1.40.0".
	UserAgent string
}

// Node types of Istio's id form.
const (
	SidecarNode  = "sidecar"
	RouterNode   = "router"
	WaypointNode = "waypoint"
	ZtunnelNode  = "ztunnel"
)

// Locality is where the client runs.
type Locality struct{ Region, Zone, SubZone string }

// Metadata are the fields of a node's metadata that Istio's agents send, in
// Istio's spelling on the wire.
type Metadata struct {
	Namespace         string            // NAMESPACE
	ServiceAccount    string            // SERVICE_ACCOUNT
	WorkloadName      string            // WORKLOAD_NAME
	Name              string            // NAME: of the instance
	Owner             string            // OWNER
	NodeName          string            // NODE_NAME: of the machine
	ClusterID         string            // CLUSTER_ID
	Network           string            // NETWORK
	MeshID            string            // MESH_ID
	ProxyVersion      string            // ISTIO_VERSION
	Generator         string            // GENERATOR: "grpc" for proxyless clients
	InterceptionMode  string            // INTERCEPTION_MODE: REDIRECT, TPROXY, NONE
	AutoRegisterGroup string            // AUTO_REGISTER_GROUP: name of the WorkloadGroup
	DNSCapture        bool              // DNS_CAPTURE
	DNSAutoAllocate   bool              // DNS_AUTO_ALLOCATE
	EnableHBONE       bool              // ENABLE_HBONE
	InstanceIPs       []string          // INSTANCE_IPS
	Labels            map[string]string // LABELS
	Annotations       map[string]string // ANNOTATIONS
}

const (
	maxNodeIDBytes   = 1024
	maxNodeAddresses = 32
	maxMetadataBytes = 256 << 10
)

// ErrNode is the reason for which a client's node was not accepted.
var ErrNode = errors.New("node not acceptable")

// DecodeNode reads the node of a client's first request. It fails on a node
// without an id and on one that is larger than any honest one.
func DecodeNode(n *corev3.Node) (*Node, error) {
	switch {
	case n.GetId() == "":
		return nil, fmt.Errorf("%w: it has no id", ErrNode)
	case len(n.GetId()) > maxNodeIDBytes:
		return nil, fmt.Errorf("%w: its id has %d bytes, %d are allowed", ErrNode, len(n.GetId()), maxNodeIDBytes)
	case proto.Size(n.GetMetadata()) > maxMetadataBytes:
		return nil, fmt.Errorf("%w: its metadata exceed %d bytes", ErrNode, maxMetadataBytes)
	}
	out := &Node{
		ID:      n.GetId(),
		Cluster: n.GetCluster(),
		Locality: Locality{
			Region:  n.GetLocality().GetRegion(),
			Zone:    n.GetLocality().GetZone(),
			SubZone: n.GetLocality().GetSubZone(),
		},
		Metadata:  decodeMetadata(n.GetMetadata()),
		Raw:       n.GetMetadata(),
		UserAgent: userAgent(n),
	}
	if id, err := ParseNodeID(n.GetId()); err == nil {
		out.Type, out.IPs, out.Workload, out.Domain = id.Type, id.IPs, id.Workload, id.Domain
	}
	return out, nil
}

// NodeID is a node id of Istio's form.
type NodeID struct {
	Type     string
	IPs      []netip.Addr
	Workload string // name.namespace
	Domain   string // namespace.svc.cluster.local
}

// String is the id's form on the wire.
func (id NodeID) String() string {
	ips := make([]string, len(id.IPs))
	for i, ip := range id.IPs {
		ips[i] = ip.String()
	}
	return id.Type + "~" + strings.Join(ips, ",") + "~" + id.Workload + "~" + id.Domain
}

// ParseNodeID reads type~ip~workload.namespace~domain.
func ParseNodeID(s string) (NodeID, error) {
	parts := strings.Split(s, "~")
	if len(parts) != 4 {
		return NodeID{}, fmt.Errorf("node id %.80q: %d parts instead of type~ip~id~domain", s, len(parts))
	}
	id := NodeID{Type: parts[0], Workload: parts[2], Domain: parts[3]}
	if !slices.Contains([]string{SidecarNode, RouterNode, WaypointNode, ZtunnelNode}, id.Type) {
		return NodeID{}, fmt.Errorf("node id %.80q: unknown type %.20q", s, id.Type)
	}
	if parts[1] == "" {
		return id, nil
	}
	addresses := strings.Split(parts[1], ",")
	if len(addresses) > maxNodeAddresses {
		return NodeID{}, fmt.Errorf("node id %.80q: more than %d addresses", s, maxNodeAddresses)
	}
	for _, a := range addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			return NodeID{}, fmt.Errorf("node id %.80q: %w", s, err)
		}
		id.IPs = append(id.IPs, ip)
	}
	return id, nil
}

// WorkloadNamespace is the namespace in the id's workload name, "" if it names
// none.
func (n *Node) WorkloadNamespace() string {
	if _, ns, ok := strings.Cut(n.Workload, "."); ok {
		return ns
	}
	return ""
}

// Meta is a metadata field as text: strings as they are, booleans and numbers
// as JSON writes them; "" for what is missing or has parts.
func (n *Node) Meta(name string) string { return metaString(n.Raw.GetFields()[name]) }

func metaString(v *structpb.Value) string {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_BoolValue:
		if k.BoolValue {
			return "true"
		}
		return "false"
	case *structpb.Value_NumberValue:
		return fmt.Sprint(k.NumberValue)
	}
	return ""
}

func decodeMetadata(s *structpb.Struct) Metadata {
	f := s.GetFields()
	text := func(name string) string { return metaString(f[name]) }
	flag := func(name string) bool { return text(name) == "true" }
	return Metadata{
		Namespace:         text("NAMESPACE"),
		ServiceAccount:    text("SERVICE_ACCOUNT"),
		WorkloadName:      text("WORKLOAD_NAME"),
		Name:              text("NAME"),
		Owner:             text("OWNER"),
		NodeName:          text("NODE_NAME"),
		ClusterID:         text("CLUSTER_ID"),
		Network:           text("NETWORK"),
		MeshID:            text("MESH_ID"),
		ProxyVersion:      text("ISTIO_VERSION"),
		Generator:         text("GENERATOR"),
		InterceptionMode:  text("INTERCEPTION_MODE"),
		AutoRegisterGroup: text("AUTO_REGISTER_GROUP"),
		DNSCapture:        flag("DNS_CAPTURE"),
		DNSAutoAllocate:   flag("DNS_AUTO_ALLOCATE"),
		EnableHBONE:       flag("ENABLE_HBONE"),
		InstanceIPs:       instanceIPs(f["INSTANCE_IPS"]),
		Labels:            textMap(f["LABELS"]),
		Annotations:       textMap(f["ANNOTATIONS"]),
	}
}

// instanceIPs come as a comma-separated string from Istio's agent and as a list
// from others.
func instanceIPs(v *structpb.Value) []string {
	if list := v.GetListValue().GetValues(); list != nil {
		out := make([]string, 0, len(list))
		for _, e := range list {
			out = append(out, metaString(e))
		}
		return out
	}
	if s := v.GetStringValue(); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

func textMap(v *structpb.Value) map[string]string {
	fields := v.GetStructValue().GetFields()
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(fields))
	for name, value := range fields {
		out[name] = metaString(value)
	}
	return out
}

func userAgent(n *corev3.Node) string {
	version := n.GetUserAgentVersion()
	if b := n.GetUserAgentBuildVersion().GetVersion(); b != nil {
		version = fmt.Sprintf("%d.%d.%d", b.GetMajorNumber(), b.GetMinorNumber(), b.GetPatch())
	}
	return strings.TrimSpace(n.GetUserAgentName() + " " + version)
}
