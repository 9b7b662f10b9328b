package model

import (
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
)

// MeshGateway is the name under which sidecars stand in a VirtualService's gateways.
const MeshGateway = "mesh"

// RuleOrigin says which configuration one rule of a route came from. A rule of a delegate has the delegate's key and index.
type RuleOrigin struct {
	Config config.Key
	Origin config.Origin
	// Index is the rule's position in its list (http, tls or tcp) of that object.
	Index int
}

// VirtualService is a route: Istio's VirtualService after delegates were merged in and names were resolved. Hosts,
// destinations and mirrors in Spec are fully qualified, gateways are "mesh" or namespace/name.
type VirtualService struct {
	Config       config.Key
	Origin       config.Origin
	CreationTime time.Time
	Namespace    string
	// Hosts are fully qualified, possibly wildcards, in the order written.
	Hosts    []string
	Gateways []string
	ExportTo Visibility
	// Spec has the resolved rules; HTTP, TLS and TCP say where each of them came from, by index.
	Spec           *networking.VirtualService
	HTTP, TLS, TCP []RuleOrigin
	// Delegates are the objects whose rules were merged in, found or not: a change to any of them changes this.
	Delegates []config.Key
}

// AppliesTo reports whether the route is bound to the gateway, "mesh" or namespace/name.
func (v *VirtualService) AppliesTo(gateway string) bool { return slices.Contains(v.Gateways, gateway) }

// CompareAge is the conflict order: the older one first, then by name and namespace.
func (v *VirtualService) CompareAge(o *VirtualService) int {
	return CompareAge(v.CreationTime, v.Config, o.CreationTime, o.Config)
}

// Equal reports whether both were derived from the same objects.
func (v *VirtualService) Equal(o *VirtualService) bool {
	if v == o {
		return true
	}
	if v == nil || o == nil {
		return false
	}
	return v.Config == o.Config && samePlace(v.Origin, o.Origin) && v.CreationTime.Equal(o.CreationTime) &&
		slices.Equal(v.Hosts, o.Hosts) && slices.Equal(v.Gateways, o.Gateways) && v.ExportTo.Equal(o.ExportTo) &&
		sameRules(v.HTTP, o.HTTP) && sameRules(v.TLS, o.TLS) && sameRules(v.TCP, o.TCP) &&
		slices.Equal(v.Delegates, o.Delegates) && equalMessages(v.Spec, o.Spec)
}

func sameRules(a, b []RuleOrigin) bool {
	return slices.EqualFunc(a, b, func(x, y RuleOrigin) bool {
		return x.Config == y.Config && x.Index == y.Index && samePlace(x.Origin, y.Origin)
	})
}
