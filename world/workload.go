package world

import (
	"slices"

	"lateen.dev/lateen/model"
)

// InstancesOf returns the services that the proxy's workload serves, by hostname, with the ports on which it listens for
// them. The workload is found by the proxy's addresses among the endpoints; where several workloads share an address, by
// name, then by namespace. A workload that is no endpoint yet serves the Services of its namespace whose selectors take in
// its labels.
func (s *Snapshot) InstancesOf(p *model.Proxy) []model.Instance {
	var out []model.Instance
	for _, svc := range s.servicesAt(p) {
		endpoints := s.endpoints.At(svc.Key())
		if inst := instance(svc, endpointsOf(endpoints, p)); len(inst.Ports) > 0 {
			out = append(out, inst)
		}
	}
	if len(out) == 0 {
		out = s.selectedInstances(p)
	}
	slices.SortFunc(out, func(a, b model.Instance) int {
		return a.Service.Key().Compare(b.Service.Key())
	})
	return out
}

// servicesAt returns the services that have an endpoint at one of the proxy's addresses.
func (s *Snapshot) servicesAt(p *model.Proxy) []*model.Service {
	var out []*model.Service
	for _, ip := range p.IPs {
		for _, key := range s.byAddress.At(ip.String()) {
			if svc := s.services.At(key); svc != nil && !slices.Contains(out, svc) {
				out = append(out, svc)
			}
		}
	}
	return out
}

// endpointsOf returns which of the endpoints are the proxy's workload.
func endpointsOf(set *model.EndpointSet, p *model.Proxy) []*model.Endpoint {
	if set == nil {
		return nil
	}
	var byName, byNamespace, byAddress []*model.Endpoint
	for i := range set.Endpoints {
		e := &set.Endpoints[i]
		if !slices.ContainsFunc(p.IPs, e.HasAddress) {
			continue
		}
		byAddress = append(byAddress, e)
		if e.Namespace == p.Namespace {
			byNamespace = append(byNamespace, e)
			if p.Name != "" && e.Config.Name == p.Name {
				byName = append(byName, e)
			}
		}
	}
	switch {
	case len(byName) > 0:
		return byName
	case len(byAddress) == 1 || len(byNamespace) == 0:
		return byAddress
	default:
		return byNamespace
	}
}

// instance joins a workload's endpoints of one service.
func instance(svc *model.Service, endpoints []*model.Endpoint) model.Instance {
	out := model.Instance{Service: svc}
	for _, e := range endpoints {
		for i, target := range e.PortNumbers {
			add := model.InstancePort{Port: &svc.Ports[i], Target: target}
			if target != 0 && !slices.Contains(out.Ports, add) {
				out.Ports = append(out.Ports, add)
			}
		}
	}
	return out
}

func (s *Snapshot) selectedInstances(p *model.Proxy) []model.Instance {
	if len(p.Labels) == 0 {
		return nil
	}
	var out []model.Instance
	for _, svc := range s.byNamespace.At(p.Namespace) {
		if len(svc.Selector) == 0 || !model.SubsetOf(svc.Selector, p.Labels) {
			continue
		}
		inst := model.Instance{Service: svc}
		for i := range svc.Ports {
			if port := &svc.Ports[i]; port.TargetName == "" {
				inst.Ports = append(inst.Ports, model.InstancePort{Port: port, Target: port.Target()})
			}
		}
		out = append(out, inst)
	}
	return out
}
