package model

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"lateen.dev/lateen/config"
)

// Locality is where something runs. Empty parts are unknown.
type Locality struct {
	Region, Zone, SubZone string
}

// ParseLocality reads region/zone/subzone, with any of the later parts left out.
func ParseLocality(s string) Locality {
	region, rest, _ := strings.Cut(s, "/")
	zone, sub, _ := strings.Cut(rest, "/")
	return Locality{Region: region, Zone: zone, SubZone: sub}
}

// String returns region/zone/subzone without empty parts at its end.
func (l Locality) String() string {
	return strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.SubZone, "/")
}

// Compare orders localities by their parts.
func (l Locality) Compare(o Locality) int { return strings.Compare(l.String(), o.String()) }

// Health is what is known about an endpoint.
type Health uint8

// The states of health.
const (
	Healthy Health = iota
	Unhealthy
	Draining
)

// String returns the state's name.
func (h Health) String() string { return [...]string{"HEALTHY", "UNHEALTHY", "DRAINING"}[h] }

// Workload is one running instance of something: a WorkloadEntry, or an endpoint written inside a ServiceEntry.
type Workload struct {
	// Config is the object that declares it; Index counts the endpoints inside a ServiceEntry and is -1 for a WorkloadEntry.
	Config config.Key
	Index  int

	// Address is an IP address, a DNS name, or unix:///path.
	Address   string
	Namespace string
	Labels    map[string]string
	// Ports maps port names to numbers where they differ from the service's target ports.
	Ports          map[string]uint32
	ServiceAccount string
	TrustDomain    string
	// TLSMode is "istio" if the workload's proxy takes mutual TLS, else "disabled".
	TLSMode  string
	Network  string
	Cluster  string
	Locality Locality
	// Weight is the share of traffic within its locality; never zero.
	Weight uint32
	Health Health

	// Name is the workload's name in telemetry (the WorkloadGroup, Deployment, or the entry itself).
	Name              string
	CanonicalName     string
	CanonicalRevision string
}

// TLS modes of a Workload.
const (
	TLSModeIstio    = "istio"
	TLSModeDisabled = "disabled"
)

// SPIFFE returns the workload's identity, or "" if it has no service account.
func (w *Workload) SPIFFE() string {
	if w.ServiceAccount == "" {
		return ""
	}
	return "spiffe://" + w.TrustDomain + "/ns/" + w.Namespace + "/sa/" + w.ServiceAccount
}

// HasAddress reports whether the workload is at the IP address.
func (w *Workload) HasAddress(ip netip.Addr) bool {
	own, err := netip.ParseAddr(w.Address)
	return err == nil && own == ip
}

// Equal reports whether both say the same.
func (w *Workload) Equal(o *Workload) bool {
	if w == o {
		return true
	}
	if w == nil || o == nil {
		return false
	}
	return w.Config == o.Config && w.Index == o.Index && w.Address == o.Address &&
		w.Namespace == o.Namespace && w.ServiceAccount == o.ServiceAccount && w.TrustDomain == o.TrustDomain &&
		w.TLSMode == o.TLSMode && w.Network == o.Network && w.Cluster == o.Cluster && w.Locality == o.Locality &&
		w.Weight == o.Weight && w.Health == o.Health && w.Name == o.Name && w.CanonicalName == o.CanonicalName &&
		w.CanonicalRevision == o.CanonicalRevision && maps.Equal(w.Labels, o.Labels) && maps.Equal(w.Ports, o.Ports)
}

// Labels that every workload has by where it runs, whether written or not.
const (
	LabelRegion  = "topology.kubernetes.io/region"
	LabelZone    = "topology.kubernetes.io/zone"
	LabelSubZone = "topology.istio.io/subzone"
	LabelNetwork = "topology.istio.io/network"
	LabelCluster = "topology.istio.io/cluster"
)

// HasLabels reports whether the workload carries every entry of selector, among its labels or among those of where it runs.
func (w *Workload) HasLabels(selector map[string]string) bool {
	for k, v := range selector {
		if w.label(k) != v {
			return false
		}
		if v == "" {
			if _, ok := w.Labels[k]; !ok {
				return false
			}
		}
	}
	return true
}

func (w *Workload) label(key string) string {
	if v, ok := w.Labels[key]; ok {
		return v
	}
	switch key {
	case LabelRegion:
		return w.Locality.Region
	case LabelZone:
		return w.Locality.Zone
	case LabelSubZone:
		return w.Locality.SubZone
	case LabelNetwork:
		return w.Network
	case LabelCluster:
		return w.Cluster
	default:
		return ""
	}
}

// SubsetOf reports whether labels has every entry of selector. An empty selector chooses everything.
func SubsetOf(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Endpoint is a workload in its role for one service.
type Endpoint struct {
	*Workload
	// PortNumbers are the workload's ports, one for each port of the service by index; 0 where it does not serve that port.
	// Endpoints of one service often share the list. At a unix socket the numbers say no more than that the port is served.
	PortNumbers []uint32
}

// EndpointSet is all the endpoints of one service.
type EndpointSet struct {
	Service ServiceKey
	// Endpoints are in a stable order: by declaring object and index.
	Endpoints []Endpoint
}

// Select yields the endpoints that serve the service's port of that index and carry the subset's labels, with the port's
// number at the endpoint. A nil set yields nothing.
func (e *EndpointSet) Select(portIndex int, subset map[string]string) iter.Seq2[*Workload, uint32] {
	return func(yield func(*Workload, uint32) bool) {
		if e == nil || portIndex < 0 {
			return
		}
		for i := range e.Endpoints {
			ep := &e.Endpoints[i]
			if portIndex >= len(ep.PortNumbers) || ep.PortNumbers[portIndex] == 0 || !ep.HasLabels(subset) {
				continue
			}
			if !yield(ep.Workload, ep.PortNumbers[portIndex]) {
				return
			}
		}
	}
}

// Identities returns the SPIFFE ids of all endpoints, sorted, each once.
func (e *EndpointSet) Identities() []string {
	if e == nil {
		return nil
	}
	var out []string
	var last *Workload
	for i := range e.Endpoints {
		w := e.Endpoints[i].Workload
		if last != nil && w.ServiceAccount == last.ServiceAccount && w.Namespace == last.Namespace && w.TrustDomain == last.TrustDomain {
			continue // mostly all have one identity
		}
		last = w
		if id := w.SPIFFE(); id != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Equal reports whether both say the same.
func (e *EndpointSet) Equal(o *EndpointSet) bool {
	if e == o {
		return true
	}
	if e == nil || o == nil {
		return false
	}
	return e.Service == o.Service && slices.EqualFunc(e.Endpoints, o.Endpoints, func(a, b Endpoint) bool {
		return a.Workload.Equal(b.Workload) && slices.Equal(a.PortNumbers, b.PortNumbers)
	})
}

// Instance is a service that a proxy's workload serves.
type Instance struct {
	Service *Service
	// Ports has an entry for each port of the service that the workload serves.
	Ports []InstancePort
}

// InstancePort pairs a service's port with the port on which the workload listens for it.
type InstancePort struct {
	Port   *Port
	Target uint32
}
