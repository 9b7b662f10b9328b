package plan

// Endpoints is a cluster load assignment.
type Endpoints struct {
	Name    string
	Version Hash
	// Priorities in order of preference, each with its localities.
	Priorities []Priority
	// Overprovisioning is 1.4 unless given otherwise.
	Overprovisioning float64
	// DropPercent is the share of requests to drop (sum of the drop overloads, in percent).
	DropPercent float64
}

// Len is the number of endpoints.
func (e *Endpoints) Len() int {
	n := 0
	if e == nil {
		return 0
	}
	for i := range e.Priorities {
		for j := range e.Priorities[i].Localities {
			n += len(e.Priorities[i].Localities[j].Endpoints)
		}
	}
	return n
}

// Priority is one failover level.
type Priority struct{ Localities []LocalityEndpoints }

// Locality is a place.
type Locality struct{ Region, Zone, SubZone string }

// LocalityEndpoints are the endpoints of a locality.
type LocalityEndpoints struct {
	Locality  Locality
	Weight    uint32 // 0 when not given: no traffic under locality weighted balancing
	Endpoints []Endpoint
}

// Endpoint is one host.
type Endpoint struct {
	Address  Address
	Hostname string
	Weight   uint32 // at least 1
	Health   HealthStatus
	// HealthCheckAddress and HealthCheckHost, when health checks go elsewhere.
	HealthCheckAddress *Address
	HealthCheckHost    string
	// NoHealthCheck leaves the endpoint out of active health checks.
	NoHealthCheck bool
	// TransportSocket is the index into the cluster's TransportSocketMatches that this endpoint's metadata chose, or
	// -1 for the cluster's own. It is set in clusters' own Endpoints, not in a bare load assignment.
	TransportSocket int
	// Workload is what Istio's metadata says of the workload, for telemetry's labels.
	Workload Workload
	Metadata Metadata
}

// Workload names the workload behind an endpoint.
type Workload struct {
	Name              string
	Namespace         string
	CanonicalName     string
	CanonicalRevision string
	Cluster           string
	// MTLS is whether the endpoint is told to accept mutual TLS (tlsMode: istio).
	MTLS bool
}

// HealthStatus is what the control plane says of an endpoint's health.
type HealthStatus uint8

// The statuses.
const (
	HealthUnknown HealthStatus = iota // counts as healthy
	Healthy
	Unhealthy
	Draining // gets no new requests
	HealthTimeout
	Degraded // used only when no healthy one is left
)

// String returns Envoy's name.
func (h HealthStatus) String() string {
	return [...]string{"UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"}[h]
}

// Usable reports whether the endpoint takes new requests.
func (h HealthStatus) Usable() bool { return h == HealthUnknown || h == Healthy || h == Degraded }

// TLSFor returns how to speak to an endpoint of c: nil is plain text.
func (c *Cluster) TLSFor(e *Endpoint) *UpstreamTLS {
	if e.TransportSocket >= 0 && e.TransportSocket < len(c.TransportSocketMatches) {
		return c.TransportSocketMatches[e.TransportSocket].TLS
	}
	return c.TLS
}

// ProxyProtocolFor returns the version of the PROXY header that connections to an endpoint of c begin with, or 0.
func (c *Cluster) ProxyProtocolFor(e *Endpoint) uint8 {
	if e.TransportSocket >= 0 && e.TransportSocket < len(c.TransportSocketMatches) {
		return c.TransportSocketMatches[e.TransportSocket].ProxyProtocol
	}
	return c.ProxyProtocol
}
