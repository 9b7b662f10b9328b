package world

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/derive"
	"lateen.dev/lateen/model"
)

// labelKey is a label as workloads of one namespace carry it.
type labelKey struct{ namespace, key, value string }

// Compare orders by namespace, key and value.
func (k labelKey) Compare(o labelKey) int {
	if c := strings.Compare(k.namespace, o.namespace); c != 0 {
		return c
	}
	if c := strings.Compare(k.key, o.key); c != 0 {
		return c
	}
	return strings.Compare(k.value, o.value)
}

type workloadIndex = derive.Index[labelKey, config.Key, *model.Workload]

func workloadLabels(_ config.Key, w *model.Workload) []labelKey {
	out := make([]labelKey, 0, len(w.Labels))
	for k, v := range w.Labels {
		out = append(out, labelKey{w.Namespace, k, v})
	}
	return out
}

// selected returns the namespace's workloads with these labels. It reads the index by one label alone, so that of all the
// workloads that come and go only those concern a selector which share that label with it.
func selected(ctx *derive.Ctx, ix *workloadIndex, namespace string, selector map[string]string) []*model.Workload {
	if len(selector) == 0 {
		return nil
	}
	key := slices.Min(slices.Collect(maps.Keys(selector)))
	if _, ok := selector["app"]; ok {
		key = "app" // most workloads differ in it
	}
	var out []*model.Workload
	for _, e := range derive.FetchIndex(ctx, ix, labelKey{namespace, key, selector[key]}) {
		if model.SubsetOf(selector, e.Value.Labels) {
			out = append(out, e.Value)
		}
	}
	return out
}

// endpointsOfParts finds the endpoints of a service: what each of its objects writes down or selects. The service's ports
// are matched with each object's by name, or by number where they have none.
func endpointsOfParts(ctx *derive.Ctx, workloads *workloadIndex, svc *model.Service, group partGroup) *model.EndpointSet {
	out := &model.EndpointSet{Service: svc.Key()}
	if svc.Resolution == model.Alias {
		return out
	}
	for i := range group {
		part := group[i].Value
		ports := newPortNumbers(svc, part.service)
		for _, w := range part.inline {
			out.Endpoints = append(out.Endpoints, model.Endpoint{Workload: w, PortNumbers: ports.of(w)})
		}
		for _, w := range selected(ctx, workloads, part.service.Namespace, part.service.Selector) {
			if !isDNS(part.service.Resolution) && !isAddress(w.Address) {
				continue // names are resolved only for services whose clients do so
			}
			out.Endpoints = append(out.Endpoints, model.Endpoint{Workload: w, PortNumbers: ports.of(w)})
		}
		if w := hostAsEndpoint(part); w != nil {
			out.Endpoints = append(out.Endpoints, model.Endpoint{Workload: w, PortNumbers: ports.of(w)})
		}
	}
	return out
}

func isDNS(r model.Resolution) bool {
	return r == model.DNS || r == model.DNSRoundRobin || r == model.DynamicDNS
}

func isAddress(s string) bool {
	if strings.HasPrefix(s, "unix://") {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

// hostAsEndpoint is the service's own name, or its external name, where a DNS service names no endpoints.
func hostAsEndpoint(part *servicePart) *model.Workload {
	s := part.service
	if (s.Resolution != model.DNS && s.Resolution != model.DNSRoundRobin) || len(part.inline) > 0 || s.Selector != nil {
		return nil
	}
	address := firstOf(s.ExternalName, s.Hostname)
	if model.IsWildcard(address) {
		return nil
	}
	return &model.Workload{
		Config: s.Config, Address: address, Namespace: s.Namespace, TLSMode: model.TLSModeDisabled, Weight: 1,
	}
}

// portNumbers works out endpoints' port numbers; workloads without names for their ports share one list.
type portNumbers struct {
	service *model.Service
	part    *model.Service
	// index says which of the part's ports each of the service's is, -1 for none.
	index  []int
	shared []uint32
}

func newPortNumbers(svc, part *model.Service) *portNumbers {
	p := &portNumbers{service: svc, part: part, index: make([]int, len(svc.Ports))}
	for i := range svc.Ports {
		p.index[i] = slices.IndexFunc(part.Ports, func(port model.Port) bool {
			if svc.Ports[i].Name != "" || port.Name != "" {
				return port.Name == svc.Ports[i].Name
			}
			return port.Number == svc.Ports[i].Number
		})
	}
	return p
}

func (p *portNumbers) of(w *model.Workload) []uint32 {
	if len(w.Ports) > 0 {
		return p.compute(w)
	}
	if p.shared == nil {
		p.shared = p.compute(w)
	}
	return p.shared
}

// compute takes, for each port, the first of: the workload's port named like the target port, its port named like the
// service's port, its port named by the target port's number, and that number itself. A target port that is only a name,
// which the workload doesn't know, is not served by it.
//
// Names that are numbers are for workloads that are reached at another port than the one they were written for: they don't
// know how a service names it.
func (p *portNumbers) compute(w *model.Workload) []uint32 {
	out := make([]uint32, len(p.index))
	for i, at := range p.index {
		if at < 0 {
			continue
		}
		port := &p.part.Ports[at]
		switch {
		case port.TargetName != "" && w.Ports[port.TargetName] != 0:
			out[i] = w.Ports[port.TargetName]
		case w.Ports[port.Name] != 0:
			out[i] = w.Ports[port.Name]
		case port.TargetName != "":
		case len(w.Ports) > 0 && w.Ports[strconv.FormatUint(uint64(port.Target()), 10)] != 0:
			out[i] = w.Ports[strconv.FormatUint(uint64(port.Target()), 10)]
		default:
			out[i] = port.Target()
		}
	}
	return out
}
