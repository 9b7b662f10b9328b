package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/cluster"
	"lateen.dev/lateen/translate/internal/endpoint"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/xds"
)

// assignments makes the load assignments of all clusters that take one.
func (s *scope) assignments() []*xds.Resource {
	return s.forSubsets(s.assignment)
}

// assignmentsOf makes those of some services, as far as they are in scope.
func (s *scope) assignmentsOf(keys []model.ServiceKey) []*xds.Resource {
	var out []*xds.Resource
	for _, key := range keys {
		svc := s.world.Service(key.Hostname)
		if svc == nil || svc.Key() != key {
			continue
		}
		s.subsetsOf(svc, func(svc *model.Service, port *model.Port, rule *model.DestinationRule, subset string) {
			if r := s.assignment(svc, port, rule, subset); r != nil {
				out = append(out, r)
			}
		})
	}
	return out
}

// assignment is nil for a cluster that finds its endpoints by itself.
func (s *scope) assignment(svc *model.Service, port *model.Port, rule *model.DestinationRule, subset string) *xds.Resource {
	if cluster.Type(svc, rule.Policy(subset, port.Number), s.gateway()) != clusterv3.Cluster_EDS {
		return nil
	}
	key := assignmentKey{
		service: svc, port: port.Number, subset: subset, rule: rule, set: s.snap.Endpoints(svc.Key()),
		mesh: s.mesh, peers: s.gen.peers, place: s.place(rule, subset, port.Number),
	}
	return s.t.answers.assignments.get(s.gen.seq, key, func() *xds.Resource {
		in := s.assignmentInput(svc, port, rule, subset, key.set)
		scratch, _ := s.t.scratch.Get().(*[]byte)
		defer s.t.scratch.Put(scratch)
		*scratch = endpoint.Append((*scratch)[:0], in)
		return xds.Assemble(in.Cluster, xds.EndpointType, *scratch)
	})
}

func (s *scope) assignmentInput(svc *model.Service, port *model.Port, rule *model.DestinationRule, subset string, set *model.EndpointSet) endpoint.Input {
	policy := rule.Policy(subset, port.Number)
	_, index := svc.Port(port.Number)
	return endpoint.Input{
		Cluster:     naming.Outbound(port.Number, subset, svc.Hostname),
		Set:         set,
		PortIndex:   index,
		Subset:      rule.Subset(subset).GetLabels(),
		MTLS:        s.takesMTLS,
		KeepUnready: svc.PublishNotReady,
		Locality: endpoint.Locality{
			Setting:  endpoint.Setting(s.mesh, policy),
			Failover: policy.GetOutlierDetection() != nil,
			Client:   s.key.locality,
			Labels:   s.labels,
			Network:  s.key.network,
			Cluster:  s.key.cluster,
		},
	}
}

// takesMTLS reports whether a workload takes mutual TLS on the port: it has a proxy, and no policy turns it off there.
func (s *scope) takesMTLS(w *model.Workload, port uint32) bool {
	return w.TLSMode == model.TLSModeIstio && s.snap.PeerAuth(w.Namespace, w.Labels).Mode(port) != model.MTLSDisable
}

// place is zero where the client's place makes no difference to the order of localities, so that clients everywhere share
// one assignment.
func (s *scope) place(rule *model.DestinationRule, subset string, port uint32) placeKey {
	policy := rule.Policy(subset, port)
	setting := endpoint.Setting(s.mesh, policy)
	failover := policy.GetOutlierDetection() != nil
	if setting == nil || !failover && len(setting.GetDistribute()) == 0 {
		return placeKey{}
	}
	out := placeKey{locality: s.key.locality}
	if len(setting.GetFailoverPriority()) > 0 {
		out.labels, out.network, out.cluster = s.key.labels, s.key.network, s.key.cluster
	}
	return out
}
