// Package endpoint makes cluster load assignments: the endpoints of one port and subset of a service, by locality, with
// the weights and priorities that a client at one place should see. It is called by translate. Pure; safe for any number
// of goroutines; results belong to the caller.
//
// May import: model, translate/internal/{pb,naming}, the Envoy and Istio API protos.
package endpoint

import (
	"math"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
)

// Input is everything that one assignment depends on.
type Input struct {
	Cluster string
	// Set may be nil: no endpoints. PortIndex is the port's place among the service's.
	Set       *model.EndpointSet
	PortIndex int
	// Subset are the labels of the subset, nil for all endpoints.
	Subset map[string]string
	// MTLS tells whether the endpoint takes mutual TLS; nil means none does.
	MTLS func(*model.Workload, uint32) bool
	// Locality is how localities are preferred.
	Locality Locality
	// KeepUnready keeps endpoints that are not healthy, for services that publish them.
	KeepUnready bool
}

// Locality says where the client is and what it prefers.
type Locality struct {
	// Setting is nil when localities are all alike.
	Setting *networking.LocalityLoadBalancerSetting
	// Failover says that endpoints are ejected when they fail, without which nothing ever fails over.
	Failover bool
	Client   model.Locality
	// Labels are the client's, for failoverPriority; Network and Cluster stand beside them under their topology names.
	Labels           map[string]string
	Network, Cluster string
}

// group is the endpoints of one locality.
type group struct {
	priority, weight uint32
	members          []member
}

// member is a workload as an endpoint on a port.
type member struct {
	*model.Workload
	port uint32
	mtls bool
}

func (g *group) at() model.Locality { return g.members[0].Locality }

// Assignment makes the resource.
func Assignment(in Input) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: in.Cluster, Endpoints: Localities(in)}
}

// Localities lists the endpoints by locality, in a stable order.
func Localities(in Input) []*endpointv3.LocalityLbEndpoints {
	groups := groupsOf(in)
	out := make([]*endpointv3.LocalityLbEndpoints, len(groups))
	for i, g := range groups {
		out[i] = g.message()
	}
	return out
}

// groupsOf are the endpoints by locality as the client prefers them.
func groupsOf(in Input) []*group {
	byPlace := map[model.Locality]*group{}
	for w, port := range in.Set.Select(in.PortIndex, in.Subset) {
		if w.Health != model.Healthy && !in.KeepUnready {
			continue
		}
		g := byPlace[w.Locality]
		if g == nil {
			g = &group{}
			byPlace[w.Locality] = g
		}
		g.members = append(g.members, member{w, port, in.MTLS != nil && in.MTLS(w, port)})
	}
	groups := make([]*group, 0, len(byPlace))
	for _, g := range byPlace {
		g.weigh()
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return a.at().Compare(b.at()) })
	return prefer(groups, in.Locality)
}

func (g *group) message() *endpointv3.LocalityLbEndpoints {
	out := &endpointv3.LocalityLbEndpoints{
		Locality: place(g.at()), LoadBalancingWeight: pb.UInt32(g.weight), Priority: g.priority,
		LbEndpoints: make([]*endpointv3.LbEndpoint, len(g.members)),
	}
	for i, m := range g.members {
		out.LbEndpoints[i] = lbEndpoint(m.Workload, m.port, m.mtls)
	}
	return out
}

func place(l model.Locality) *corev3.Locality {
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
}

// weigh gives the group the sum of its endpoints' weights, as far as it can be said.
func (g *group) weigh() {
	sum := uint64(0)
	for _, m := range g.members {
		sum += uint64(max(m.Weight, 1))
	}
	g.weight = uint32(min(sum, math.MaxUint32))
}

func lbEndpoint(w *model.Workload, port uint32, mtls bool) *endpointv3.LbEndpoint {
	md := pb.SetMetadata(nil, naming.IstioMetadata, "workload", pb.String(workload(w)))
	if mtls {
		md.FilterMetadata[naming.TransportSocketMatchMeta] = pb.Struct(map[string]*structpb.Value{"tlsMode": pb.String(model.TLSModeIstio)})
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: pb.Address(w.Address, port)}},
		HealthStatus:        health(w.Health),
		LoadBalancingWeight: pb.UInt32(max(w.Weight, 1)),
		Metadata:            md,
	}
}

// workload is the short form in which telemetry learns who the endpoint is: name;namespace;service;revision;cluster. The
// usual revision is left out.
func workload(w *model.Workload) string {
	revision := w.CanonicalRevision
	if revision == "latest" {
		revision = ""
	}
	return strings.Join([]string{w.Name, w.Namespace, w.CanonicalName, revision, w.Cluster}, ";")
}

func health(h model.Health) corev3.HealthStatus {
	switch h {
	case model.Unhealthy:
		return corev3.HealthStatus_UNHEALTHY
	case model.Draining:
		return corev3.HealthStatus_DRAINING
	default:
		return corev3.HealthStatus_HEALTHY
	}
}
