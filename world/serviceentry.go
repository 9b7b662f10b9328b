package world

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/protocol"
	"lateen.dev/lateen/model"
)

// labelAutoAllocate on a ServiceEntry turns automatic addresses off with "false".
const labelAutoAllocate = "networking.istio.io/enable-autoallocate-ip"

// fromServiceEntry reads a ServiceEntry as the services that it declares, one for each host.
func fromServiceEntry(o *config.Object, mesh *model.Mesh) []*model.Service {
	se := config.As[*networking.ServiceEntry](o)
	if se == nil {
		return nil
	}
	common := model.Service{
		Namespace: o.Namespace, Registry: model.ServiceEntryRegistry, Resolution: resolutionOf(se.GetResolution()),
		MeshExternal: se.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL,
		ExportTo:     model.ParseExportTo(se.GetExportTo(), o.Namespace, mesh.DefaultServiceExportTo),
		Addresses:    parsePrefixes(se.GetAddresses()), SubjectAltNames: se.GetSubjectAltNames(),
		TrafficDistribution: o.Annotations[annotationTrafficDistribution],
		Labels:              o.Labels, CreationTime: o.Created, Config: o.Key, Origin: o.Origin,
	}
	if sel := se.GetWorkloadSelector().GetLabels(); len(sel) > 0 {
		common.Selector = sel
	}
	for _, p := range se.GetPorts() {
		common.Ports = append(common.Ports, model.Port{
			Name: p.GetName(), Number: p.GetNumber(), Protocol: protocol.Parse(p.GetProtocol()), TargetPort: p.GetTargetPort(),
		})
	}
	out := make([]*model.Service, 0, len(se.GetHosts()))
	for _, h := range se.GetHosts() {
		s := common
		s.Hostname = strings.ToLower(h)
		s.Name = s.Hostname
		out = append(out, &s)
	}
	return out
}

func resolutionOf(r networking.ServiceEntry_Resolution) model.Resolution {
	switch r {
	case networking.ServiceEntry_STATIC:
		return model.Static
	case networking.ServiceEntry_DNS:
		return model.DNS
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		return model.DNSRoundRobin
	case networking.ServiceEntry_DYNAMIC_DNS:
		return model.DynamicDNS
	default:
		return model.Passthrough
	}
}

// inlineWorkloads reads the endpoints written inside a ServiceEntry.
func inlineWorkloads(o *config.Object, mesh *model.Mesh) []*model.Workload {
	se := config.As[*networking.ServiceEntry](o)
	out := make([]*model.Workload, 0, len(se.GetEndpoints()))
	for i, e := range se.GetEndpoints() {
		w := workloadOf(o, e, "", mesh)
		w.Index = i
		out = append(out, w)
	}
	return out
}

// needsVIP reports whether addresses are to be allocated for a service.
func needsVIP(s *model.Service) bool {
	if len(s.Addresses) > 0 || s.Headless || s.Resolution == model.Alias || model.IsWildcard(s.Hostname) {
		return false
	}
	if s.Registry == model.KubernetesRegistry {
		return true
	}
	return s.Resolution != model.Passthrough && s.Resolution != model.DynamicDNS && s.Labels[labelAutoAllocate] != "false"
}
