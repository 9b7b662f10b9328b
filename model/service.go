package model

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lateen.dev/lateen/config"
)

// ServiceKey names a service. Two namespaces may declare the same hostname; they are two services, and what a client sees
// under the hostname depends on its namespace.
type ServiceKey struct {
	Namespace string
	Hostname  string
}

// Compare orders by namespace and hostname.
func (k ServiceKey) Compare(o ServiceKey) int {
	if c := strings.Compare(k.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.Hostname, o.Hostname)
}

// String returns namespace/hostname.
func (k ServiceKey) String() string { return k.Namespace + "/" + k.Hostname }

// Resolution says how a client finds a service's endpoints.
type Resolution uint8

// The ways to find endpoints.
const (
	// Static endpoints are told by the control plane (an EDS cluster).
	Static Resolution = iota
	// DNS resolves the endpoints' names, and balances over all the addresses.
	DNS
	// DNSRoundRobin resolves the name and connects to the first address of the answer (a logical DNS cluster).
	DNSRoundRobin
	// Passthrough connects to the address that the client dialled. ServiceEntry resolution NONE and headless services of
	// plain TCP are such.
	Passthrough
	// DynamicDNS resolves the name in each request, for wildcard hosts.
	DynamicDNS
	// Alias services are other names of a service in the mesh (ExternalName): they have no endpoints or clusters of their own,
	// their name stands among the target's Aliases.
	Alias
)

// String returns the resolution's name.
func (r Resolution) String() string {
	return [...]string{"STATIC", "DNS", "DNS_ROUND_ROBIN", "NONE", "DYNAMIC_DNS", "ALIAS"}[r]
}

// Registry says what kind of object declared a service.
type Registry uint8

// The registries.
const (
	ServiceEntryRegistry Registry = iota
	KubernetesRegistry
)

// String returns Istio's name of the registry.
func (r Registry) String() string { return [...]string{"External", "Kubernetes"}[r] }

// Port is one port of a service.
type Port struct {
	Name     string
	Number   uint32
	Protocol Protocol
	// TargetPort is the endpoints' port. Zero means the port's own number, or a number found by TargetName.
	TargetPort uint32
	// TargetName is a target port given by name (Kubernetes Services); each workload says what number it has.
	TargetName string
	// NodePort is the Kubernetes node port, zero if none.
	NodePort uint32
}

// Target returns the endpoints' port where it is known without asking the workload.
func (p *Port) Target() uint32 {
	if p.TargetPort != 0 {
		return p.TargetPort
	}
	return p.Number
}

// Service is a name that clients call.
type Service struct {
	Hostname  string
	Namespace string
	// Name is the object's short name: the Kubernetes Service's name, or a ServiceEntry's hostname.
	Name  string
	Ports []Port
	// Addresses are the virtual IPs and CIDRs that were declared: clusterIPs, or a ServiceEntry's addresses.
	Addresses []netip.Prefix
	// AutoAddresses are allocated by Lateen for services that declare none, IPv4 first. Programs whose DNS is answered by
	// their sidecar connect to them.
	AutoAddresses []netip.Addr
	Resolution    Resolution
	// Headless is a Kubernetes Service with clusterIP None: clients know its endpoints' addresses.
	Headless bool
	// MeshExternal is a ServiceEntry with location MESH_EXTERNAL: its endpoints have no sidecar, so no automatic mTLS.
	MeshExternal bool
	Registry     Registry
	ExportTo     Visibility
	// Selector chooses workloads of the namespace as endpoints. Nil means none are chosen.
	Selector map[string]string
	// SubjectAltNames are the names that clients accept in the endpoints' certificates, beside those of service accounts.
	SubjectAltNames []string
	// ExternalName makes this service another name of that host. With Resolution Alias the host is in the mesh; with DNS it is
	// not, and the one endpoint is that name.
	ExternalName string
	// Aliases are the services that are other names of this one, sorted.
	Aliases []ServiceKey
	// PublishNotReady keeps endpoints that are not ready in DNS and load balancing.
	PublishNotReady bool
	// NodeLocal keeps traffic on the client's node (internalTrafficPolicy Local).
	NodeLocal bool
	// SessionAffinity is Kubernetes' sessionAffinity ClientIP.
	SessionAffinity bool
	// TrafficDistribution is the annotation networking.istio.io/traffic-distribution or the Service's field of that name.
	TrafficDistribution string

	Labels       map[string]string
	CreationTime time.Time
	Config       config.Key
	Origin       config.Origin
	// MergedFrom are further objects whose ports were merged in, oldest first.
	MergedFrom []config.Key
}

// Key returns the service's name.
func (s *Service) Key() ServiceKey { return ServiceKey{Namespace: s.Namespace, Hostname: s.Hostname} }

// Port returns the port of that number and its index, or nil and -1.
func (s *Service) Port(number uint32) (*Port, int) {
	for i := range s.Ports {
		if s.Ports[i].Number == number {
			return &s.Ports[i], i
		}
	}
	return nil, -1
}

// PortByName returns the port of that name and its index, or nil and -1.
func (s *Service) PortByName(name string) (*Port, int) {
	for i := range s.Ports {
		if s.Ports[i].Name == name {
			return &s.Ports[i], i
		}
	}
	return nil, -1
}

// VIPs returns the addresses that clients dial: the declared single addresses, or if nothing was declared the allocated
// ones. CIDRs are left out.
func (s *Service) VIPs() []netip.Addr {
	if len(s.Addresses) == 0 {
		return s.AutoAddresses
	}
	out := make([]netip.Addr, 0, len(s.Addresses))
	for _, p := range s.Addresses {
		if p.IsSingleIP() {
			out = append(out, p.Addr())
		}
	}
	return out
}

// Matches returns the addresses and CIDRs under which listeners should expect the service.
func (s *Service) Matches() []netip.Prefix {
	if len(s.Addresses) > 0 {
		return s.Addresses
	}
	out := make([]netip.Prefix, len(s.AutoAddresses))
	for i, a := range s.AutoAddresses {
		out[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return out
}

// CompareAge is the canonical order of services: the older one first, then by name and namespace. Where two services
// compete for something, the first in this order has it.
func (s *Service) CompareAge(o *Service) int {
	return cmp.Or(CompareAge(s.CreationTime, s.Config, o.CreationTime, o.Config), strings.Compare(s.Hostname, o.Hostname))
}

// Equal reports whether both say the same.
func (s *Service) Equal(o *Service) bool {
	if s == o {
		return true
	}
	if s == nil || o == nil {
		return false
	}
	return s.Hostname == o.Hostname && s.Namespace == o.Namespace && s.Name == o.Name &&
		s.Resolution == o.Resolution && s.Headless == o.Headless && s.MeshExternal == o.MeshExternal &&
		s.Registry == o.Registry && s.ExternalName == o.ExternalName && s.PublishNotReady == o.PublishNotReady &&
		s.NodeLocal == o.NodeLocal && s.SessionAffinity == o.SessionAffinity && s.TrafficDistribution == o.TrafficDistribution &&
		s.CreationTime.Equal(o.CreationTime) && s.Config == o.Config && samePlace(s.Origin, o.Origin) &&
		(s.Selector == nil) == (o.Selector == nil) && maps.Equal(s.Selector, o.Selector) && maps.Equal(s.Labels, o.Labels) &&
		s.ExportTo.Equal(o.ExportTo) && slices.Equal(s.Ports, o.Ports) && slices.Equal(s.Addresses, o.Addresses) &&
		slices.Equal(s.AutoAddresses, o.AutoAddresses) && slices.Equal(s.SubjectAltNames, o.SubjectAltNames) &&
		slices.Equal(s.MergedFrom, o.MergedFrom) && slices.Equal(s.Aliases, o.Aliases)
}
