package compile

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	assignmentFields = fields("cluster_name endpoints policy")
	localityFields   = fields("locality metadata lb_endpoints load_balancing_weight priority proximity")
	lbEndpointFields = fields("endpoint health_status metadata load_balancing_weight")
	endpointFields   = fields("address health_check_config hostname")
	policyFieldsEDS  = fields("drop_overloads overprovisioning_factor endpoint_stale_after weighted_priority_health")
)

// maxPriority is Envoy's limit.
const maxPriority = 128

// Endpoints compiles a load assignment got by EDS. Its endpoints must be IP addresses or unix sockets.
func (c *Compiler) Endpoints(m *endpointv3.ClusterLoadAssignment) (*plan.Endpoints, error) {
	return endpoints(m, false)
}

func endpoints(m *endpointv3.ClusterLoadAssignment, names bool) (*plan.Endpoints, error) {
	out := &plan.Endpoints{Name: m.GetClusterName(), Version: hashOf(m), Overprovisioning: 1.4}
	if out.Name == "" {
		return nil, errors.New("cluster_name is empty")
	}
	if err := assignmentFields.only(m); err != nil {
		return nil, err
	}
	if err := assignmentPolicy(out, m.GetPolicy()); err != nil {
		return nil, at(err, "policy")
	}
	for i, l := range m.GetEndpoints() {
		loc, err := locality(l, names)
		if err != nil {
			return nil, at(err, "endpoints[%d]", i)
		}
		p := int(l.GetPriority())
		if l.GetPriority() > maxPriority {
			return nil, fmt.Errorf("endpoints[%d]: priority %d is above %d", i, p, maxPriority)
		}
		for len(out.Priorities) <= p {
			out.Priorities = append(out.Priorities, plan.Priority{})
		}
		out.Priorities[p].Localities = append(out.Priorities[p].Localities, loc)
	}
	return out, weightsFit(out)
}

// weightsFit checks that the weights of a priority add up, since balancers compute with their sum.
func weightsFit(e *plan.Endpoints) error {
	for p := range e.Priorities {
		places, hosts := uint64(0), uint64(0)
		for i := range e.Priorities[p].Localities {
			l := &e.Priorities[p].Localities[i]
			places += uint64(l.Weight)
			hosts = 0
			for j := range l.Endpoints {
				hosts += uint64(l.Endpoints[j].Weight)
			}
			if hosts > math.MaxUint32 {
				return fmt.Errorf("priority %d: the weights of a locality's endpoints add up to more than 4294967295", p)
			}
		}
		if places > math.MaxUint32 {
			return fmt.Errorf("priority %d: the localities' weights add up to more than 4294967295", p)
		}
	}
	return nil
}

func assignmentPolicy(out *plan.Endpoints, m *endpointv3.ClusterLoadAssignment_Policy) error {
	if err := policyFieldsEDS.only(m); err != nil {
		return err
	}
	if f := m.GetOverprovisioningFactor(); f != nil {
		if f.GetValue() == 0 {
			return errors.New("overprovisioning_factor is 0")
		}
		out.Overprovisioning = float64(f.GetValue()) / 100
	}
	for i, d := range m.GetDropOverloads() {
		f, err := fraction(d.GetDropPercentage(), plan.Fraction{Denominator: 100})
		if err != nil {
			return at(err, "drop_overloads[%d]", i)
		}
		out.DropPercent += 100 * float64(f.Numerator) / float64(f.Denominator)
	}
	out.DropPercent = min(out.DropPercent, 100)
	return nil
}

func locality(m *endpointv3.LocalityLbEndpoints, names bool) (plan.LocalityEndpoints, error) {
	l := m.GetLocality()
	out := plan.LocalityEndpoints{
		Locality: plan.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()},
		Weight:   m.GetLoadBalancingWeight().GetValue(),
	}
	if err := localityFields.only(m); err != nil {
		return out, err
	}
	out.Endpoints = make([]plan.Endpoint, 0, len(m.GetLbEndpoints()))
	for i, e := range m.GetLbEndpoints() {
		ep, err := endpoint(e, names)
		if err != nil {
			return out, at(err, "lb_endpoints[%d]", i)
		}
		out.Endpoints = append(out.Endpoints, ep)
	}
	return out, nil
}

func endpoint(m *endpointv3.LbEndpoint, names bool) (plan.Endpoint, error) {
	out := plan.Endpoint{
		Weight: max(u32(m.GetLoadBalancingWeight(), 1), 1), Hostname: m.GetEndpoint().GetHostname(), TransportSocket: -1,
		Health: health(m.GetHealthStatus()), Metadata: metadata(m.GetMetadata()),
	}
	if err := lbEndpointFields.only(m); err != nil {
		return out, err
	}
	if m.GetEndpoint() == nil {
		return out, errors.New("endpoint is missing")
	}
	if err := endpointFields.only(m.GetEndpoint()); err != nil {
		return out, at(err, "endpoint")
	}
	var err error
	if out.Address, err = address(m.GetEndpoint().GetAddress(), names); err != nil {
		return out, at(err, "endpoint: address")
	}
	if hc := m.GetEndpoint().GetHealthCheckConfig(); hc != nil {
		if err := checkAddress(&out, hc); err != nil {
			return out, at(err, "endpoint: health_check_config")
		}
	}
	out.Workload = workload(out.Metadata)
	return out, nil
}

func checkAddress(out *plan.Endpoint, hc *endpointv3.Endpoint_HealthCheckConfig) error {
	out.HealthCheckHost, out.NoHealthCheck = hc.GetHostname(), hc.GetDisableActiveHealthCheck()
	a := out.Address
	if hc.GetAddress() != nil {
		var err error
		if a, err = address(hc.GetAddress(), false); err != nil {
			return err
		}
	} else if hc.GetPortValue() == 0 {
		return nil
	}
	if hc.GetPortValue() != 0 {
		p, err := port16(hc.GetPortValue())
		if err != nil {
			return err
		}
		a = a.WithPort(p)
	}
	out.HealthCheckAddress = &a
	return nil
}

func health(h corev3.HealthStatus) plan.HealthStatus {
	switch h {
	case corev3.HealthStatus_HEALTHY:
		return plan.Healthy
	case corev3.HealthStatus_UNHEALTHY:
		return plan.Unhealthy
	case corev3.HealthStatus_DRAINING:
		return plan.Draining
	case corev3.HealthStatus_TIMEOUT:
		return plan.HealthTimeout
	case corev3.HealthStatus_DEGRADED:
		return plan.Degraded
	}
	return plan.HealthUnknown
}

// socketMatchKey is the metadata by which transport sockets are chosen.
const socketMatchKey = "envoy.transport_socket_match"

// workload reads Istio's short form: name;namespace;service;revision;cluster.
func workload(m plan.Metadata) plan.Workload {
	var out plan.Workload
	out.MTLS = m.String(socketMatchKey, "tlsMode") == "istio"
	parts := strings.Split(m.String("istio", "workload"), ";")
	for i, into := range []*string{&out.Name, &out.Namespace, &out.CanonicalName, &out.CanonicalRevision, &out.Cluster} {
		if i < len(parts) {
			*into = parts[i]
		}
	}
	if out.CanonicalRevision == "" && out.CanonicalName != "" {
		out.CanonicalRevision = "latest"
	}
	return out
}

// ForCluster returns the endpoints as one cluster sees them: with the transport socket that each one's metadata
// chooses. The argument is not changed; it is returned as it is when the cluster has no matches.
func ForCluster(c *plan.Cluster, e *plan.Endpoints) *plan.Endpoints {
	if e == nil || len(c.TransportSocketMatches) == 0 {
		return e
	}
	out := *e
	out.Priorities = make([]plan.Priority, len(e.Priorities))
	for p := range e.Priorities {
		localities := make([]plan.LocalityEndpoints, len(e.Priorities[p].Localities))
		for i, l := range e.Priorities[p].Localities {
			eps := make([]plan.Endpoint, len(l.Endpoints))
			for j := range l.Endpoints {
				eps[j] = l.Endpoints[j]
				eps[j].TransportSocket = chooseSocket(c, eps[j].Metadata[socketMatchKey])
			}
			l.Endpoints = eps
			localities[i] = l
		}
		out.Priorities[p].Localities = localities
	}
	return &out
}

func chooseSocket(c *plan.Cluster, have map[string]any) int {
	for i := range c.TransportSocketMatches {
		all := true
		for k, want := range c.TransportSocketMatches[i].Match {
			if !reflect.DeepEqual(have[k], want) {
				all = false
				break
			}
		}
		if all {
			return i
		}
	}
	return -1
}
