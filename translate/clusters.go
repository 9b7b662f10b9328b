package translate

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/cluster"
	"lateen.dev/lateen/translate/internal/endpoint"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/stencil"
	"lateen.dev/lateen/xds"
)

// clusters makes all outbound clusters.
func (s *scope) clusters() []*xds.Resource {
	out := []*xds.Resource{resource(naming.BlackHoleCluster, cluster.BlackHole(s.mesh))}
	if !s.gateway() {
		out = append(out, resource(naming.PassthroughCluster, cluster.Passthrough(s.mesh, s.key.dialect)))
	}
	return append(out, s.forSubsets(s.cluster)...)
}

// forSubsets makes a resource for every port and subset of every service in scope, on all cores when there are many.
func (s *scope) forSubsets(resource func(*model.Service, *model.Port, *model.DestinationRule, string) *xds.Resource) []*xds.Resource {
	type one struct {
		service *model.Service
		port    *model.Port
		rule    *model.DestinationRule
		subset  string
	}
	var all []one
	s.eachSubset(func(svc *model.Service, port *model.Port, rule *model.DestinationRule, subset string) {
		all = append(all, one{svc, port, rule, subset})
	})
	out := make([]*xds.Resource, len(all))
	inParts(len(all), func(from, to int) {
		for i := from; i < to; i++ {
			out[i] = resource(all[i].service, all[i].port, all[i].rule, all[i].subset)
		}
	})
	return slices.DeleteFunc(out, func(r *xds.Resource) bool { return r == nil })
}

// inParts calls work for parts of n things until all are done: by several goroutines where n is large. A panic of one of
// them is the caller's.
func inParts(n int, work func(from, to int)) {
	const part, few = 64, 128
	workers := min(runtime.GOMAXPROCS(0), n/few)
	if workers < 2 {
		work(0, n)
		return
	}
	var next atomic.Int64
	var failure atomic.Pointer[any]
	var g sync.WaitGroup
	for range workers {
		g.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					failure.CompareAndSwap(nil, &p)
				}
			}()
			for {
				from := int(next.Add(part)) - part
				if from >= n {
					return
				}
				work(from, min(from+part, n))
			}
		})
	}
	g.Wait()
	if p := failure.Load(); p != nil {
		panic(*p)
	}
}

// eachSubset yields every port and subset of every service in scope that has a cluster. The service is the whole one.
func (s *scope) eachSubset(yield func(*model.Service, *model.Port, *model.DestinationRule, string)) {
	for _, svc := range s.world.Services {
		s.subsetsOf(svc, yield)
	}
}

func (s *scope) subsetsOf(svc *model.Service, yield func(*model.Service, *model.Port, *model.DestinationRule, string)) {
	if svc.Resolution == model.Alias || svc.Resolution == model.DynamicDNS {
		return
	}
	whole := s.whole(svc)
	rule := s.rule(whole)
	for i := range svc.Ports {
		port, _ := whole.Port(svc.Ports[i].Number)
		if port == nil || port.Protocol == model.UDP {
			continue
		}
		yield(whole, port, rule, "")
		if rule == nil {
			continue
		}
		for _, sub := range rule.Spec.GetSubsets() {
			yield(whole, port, rule, sub.GetName())
		}
	}
}

func (s *scope) cluster(svc *model.Service, port *model.Port, rule *model.DestinationRule, subset string) *xds.Resource {
	set := s.snap.Endpoints(svc.Key())
	facts := s.facts(set)
	policy := rule.Policy(subset, port.Number)
	key := clusterKey{
		dialect: s.key.dialect, gateway: s.gateway(), ipv6: s.key.ipv6, mesh: s.mesh,
		service: svc, port: port.Number, subset: subset, rule: rule,
		identities: facts.identities,
		mtls:       s.mtls(svc, facts, cluster.Type(svc, policy, s.gateway())),
	}
	switch cluster.Type(svc, policy, s.gateway()) {
	case clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS:
		key.set, key.place = set, s.place(rule, subset, port.Number)
	}
	return s.t.answers.clusters.get(s.gen.seq, key, func() *xds.Resource {
		in := cluster.Input{
			Dialect: key.dialect, Mesh: s.mesh, Gateway: key.gateway, Service: svc, Port: port, Rule: rule, Subset: subset,
			MTLS: key.mtls, IPv6: key.ipv6,
			LocalityWeighted: endpoint.Weighted(endpoint.Setting(s.mesh, policy), policy.GetOutlierDetection() != nil),
		}
		if facts.identities != "" {
			in.Identities = strings.Split(facts.identities, ",")
		}
		if key.set != nil {
			in.Assignment = s.localities(svc, port, rule, subset, set)
		}
		return s.makeCluster(&in)
	})
}

// clusterShape makes clusters that differ in names only.
type clusterShape struct {
	// wanted says that one was made. The Stencil is worth it from the second on.
	wanted  atomic.Bool
	once    sync.Once
	stencil *stencil.Stencil
}

func (c *clusterShape) of(in *cluster.Input) *stencil.Stencil {
	if !c.wanted.Swap(true) {
		return nil
	}
	c.once.Do(func() { c.stencil = in.Stencil() })
	return c.stencil
}

// makeCluster writes a cluster's bytes where others of its shape were made before, else it makes and packs its message.
func (s *scope) makeCluster(in *cluster.Input) *xds.Resource {
	if shape, ok := in.Shape(); ok {
		known := s.t.answers.shapes.get(s.gen.seq, shape, func() *clusterShape { return &clusterShape{} })
		if st := known.of(in); st != nil {
			scratch, _ := s.t.scratch.Get().(*[]byte)
			defer s.t.scratch.Put(scratch)
			*scratch = in.Append((*scratch)[:0], st)
			return xds.Assemble(in.Name(), xds.ClusterType, *scratch)
		}
	}
	c := cluster.Outbound(*in)
	if c == nil {
		return nil
	}
	return resource(c.GetName(), c)
}

// mtls says whether automatic mutual TLS applies to a service's cluster.
func (s *scope) mtls(svc *model.Service, facts endpointFacts, t clusterv3.Cluster_DiscoveryType) bool {
	if !model.Bool(s.mesh.Config.GetEnableAutoMtls(), true) || svc.MeshExternal {
		return false
	}
	if t == clusterv3.Cluster_ORIGINAL_DST && !facts.allMTLS {
		return false
	}
	key := modeKey{s.gen.peers, svc.Namespace}
	return model.MTLSDisable != s.t.answers.modes.get(s.gen.seq, key, func() model.MTLSMode {
		return s.snap.PeerAuth(svc.Namespace, nil).Default
	})
}

// endpointFacts are what clusters want to know of a service's endpoints.
type endpointFacts struct {
	identities string // joined by commas
	// allMTLS says that there are endpoints and all take mutual TLS.
	allMTLS bool
}

func (s *scope) facts(set *model.EndpointSet) endpointFacts {
	if set == nil {
		return endpointFacts{}
	}
	return s.t.answers.facts.get(s.gen.seq, set, func() endpointFacts {
		out := endpointFacts{identities: strings.Join(set.Identities(), ","), allMTLS: len(set.Endpoints) > 0}
		for i := range set.Endpoints {
			out.allMTLS = out.allMTLS && set.Endpoints[i].TLSMode == model.TLSModeIstio
		}
		return out
	})
}

// localities lists a service's endpoints as this client should prefer them.
func (s *scope) localities(svc *model.Service, port *model.Port, rule *model.DestinationRule, subset string, set *model.EndpointSet) []*endpointv3.LocalityLbEndpoints {
	return endpoint.Localities(s.assignmentInput(svc, port, rule, subset, set))
}
