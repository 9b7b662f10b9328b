package model

import (
	"maps"
	"net/netip"
	"slices"
)

// ProxyType is the part a proxy plays.
type ProxyType uint8

// The types.
const (
	SidecarProxy ProxyType = iota
	GatewayProxy
)

// String returns Istio's node type.
func (t ProxyType) String() string { return [...]string{"sidecar", "router"}[t] }

// Flavor is which program the proxy is, which decides what it can be sent.
type Flavor uint8

// The flavors.
const (
	// StockEnvoy takes only what every Envoy build has.
	StockEnvoy Flavor = iota
	// IstioEnvoy has Istio's own filters besides.
	IstioEnvoy
	// LateenProxy is our own proxy.
	LateenProxy
	// GRPCClient is a client library that speaks xDS without a proxy.
	GRPCClient
)

// String returns the flavor's name.
func (f Flavor) String() string { return [...]string{"envoy", "istio", "lateen", "grpc"}[f] }

// Interception is how the workload's traffic reaches the proxy.
type Interception uint8

// The modes.
const (
	InterceptRedirect Interception = iota
	InterceptTProxy
	InterceptNone
)

// String returns Istio's name of the mode.
func (i Interception) String() string { return [...]string{"REDIRECT", "TPROXY", "NONE"}[i] }

// Proxy is what the control plane knows about one proxy from the node it presented. It does not change during the proxy's
// connection; a proxy with new facts is a new value.
type Proxy struct {
	// ID is the node id as presented; Name is the workload instance's name within its namespace.
	ID        string
	Name      string
	Type      ProxyType
	Flavor    Flavor
	Namespace string
	// IPs are the workload's addresses, the primary one first.
	IPs            []netip.Addr
	Labels         map[string]string
	Annotations    map[string]string
	ServiceAccount string
	// TrustDomain is that of the identity with which the proxy connected, or the mesh's.
	TrustDomain string
	// WorkloadName, CanonicalName and CanonicalRevision name the workload in telemetry.
	WorkloadName      string
	CanonicalName     string
	CanonicalRevision string
	Cluster           string
	Network           string
	MeshID            string
	Locality          Locality
	Interception      Interception
	// Version is the proxy's own version as it presented it.
	Version string

	// BindAddress is where a proxy outside a namespace of its own opens its inbound or gateway listeners. The zero value
	// means all addresses.
	BindAddress netip.Addr
	// BindPorts maps port numbers written in Gateways (or inbound service ports) to those that the proxy opens instead, for
	// proxies without a Kubernetes Service in front of them.
	BindPorts map[uint32]uint32
	// DNSCapture says that the workload's DNS is answered by the proxy, so allocated addresses are used.
	DNSCapture bool
	// HTTP10 says that the proxy accepts requests of HTTP/1.0.
	HTTP10 bool
	// HTTPProxyPort is the port of the explicit HTTP proxy listener, 0 if there is none.
	HTTPProxyPort uint32
	// Metadata are further string values of the node's metadata.
	Metadata map[string]string
}

// BindPort returns the port that the proxy opens for a declared one.
func (p *Proxy) BindPort(declared uint32) uint32 {
	if b, ok := p.BindPorts[declared]; ok {
		return b
	}
	return declared
}

// Equal reports whether both say the same.
func (p *Proxy) Equal(o *Proxy) bool {
	if p == o {
		return true
	}
	if p == nil || o == nil {
		return false
	}
	return p.ID == o.ID && p.Name == o.Name && p.Type == o.Type && p.Flavor == o.Flavor && p.Namespace == o.Namespace &&
		p.ServiceAccount == o.ServiceAccount && p.TrustDomain == o.TrustDomain && p.WorkloadName == o.WorkloadName &&
		p.CanonicalName == o.CanonicalName && p.CanonicalRevision == o.CanonicalRevision && p.Cluster == o.Cluster &&
		p.Network == o.Network && p.MeshID == o.MeshID && p.Locality == o.Locality && p.Interception == o.Interception &&
		p.Version == o.Version && p.BindAddress == o.BindAddress && p.DNSCapture == o.DNSCapture && p.HTTP10 == o.HTTP10 &&
		p.HTTPProxyPort == o.HTTPProxyPort && slices.Equal(p.IPs, o.IPs) && maps.Equal(p.Labels, o.Labels) &&
		maps.Equal(p.Annotations, o.Annotations) && maps.Equal(p.BindPorts, o.BindPorts) && maps.Equal(p.Metadata, o.Metadata)
}
