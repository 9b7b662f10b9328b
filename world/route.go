package world

import (
	"slices"
	"strings"

	"lateen.dev/lateen/model"
)

// gateKey files the routes of one gateway: the public ones under no namespace, those exported to listed namespaces under
// each of these.
type gateKey struct{ gateway, namespace string }

// VirtualService returns a route by the key of its object; nil if there is none. Delegates are not routes.
func (s *Snapshot) VirtualService(key model.ConfigKey) *model.VirtualService { return s.routes.At(key) }

// VirtualServices returns the routes bound to a gateway ("mesh" or namespace/name) that a proxy in the namespace sees, in
// the order in which they compete: those exported to the namespace by name first, its own before others', then public ones;
// within each the oldest first. Of two that claim one host, the first has it.
func (s *Snapshot) VirtualServices(namespace, gateway string) []*model.VirtualService {
	public := s.routesByGate.At(gateKey{gateway: gateway})
	local := s.routesByGate.At(gateKey{gateway, namespace})
	if len(local) == 0 || namespace == "" {
		return public
	}
	out := make([]*model.VirtualService, 0, len(local)+len(public))
	for _, own := range []bool{true, false} {
		for _, v := range local {
			if (v.Namespace == namespace) == own {
				out = append(out, v)
			}
		}
	}
	return append(out, public...)
}

// VirtualServiceFor returns the route that applies to requests for the hostname which come through the gateway from a proxy
// in the namespace: the one with the most specific matching host, and among equals the first in VirtualServices' order. It
// is nil if none does.
func (s *Snapshot) VirtualServiceFor(namespace, gateway, hostname string) *model.VirtualService {
	for name := range covering(hostname) {
		var best *model.VirtualService
		for _, v := range s.routesByHost.At(name) {
			if !v.ExportTo.VisibleTo(namespace) || !v.AppliesTo(gateway) {
				continue
			}
			if best == nil || rank(v, namespace) < rank(best, namespace) {
				best = v
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// rank is the group of VirtualServices' order that a visible route falls in.
func rank(v *model.VirtualService, namespace string) int {
	switch {
	case v.ExportTo.Public:
		return 2
	case v.Namespace == namespace:
		return 0
	default:
		return 1
	}
}

// filed is the form of a hostname under which lists by host are kept: wildcards without their star, so that those which
// cover a name are among its own suffixes.
func filed(name string) string {
	if name == "*" || strings.HasPrefix(name, "*.") {
		return name[1:]
	}
	return name
}

// covering yields the filed forms of the name itself and of the wildcards that cover it, the most specific first: for a.b.c
// these are a.b.c, .b.c, .c and the empty one, which covers everything.
func covering(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		name = filed(name)
		if !yield(name) {
			return
		}
		for name != "" {
			i := strings.IndexByte(name[1:], '.')
			if i < 0 {
				yield("")
				return
			}
			name = name[1+i:]
			if !yield(name) {
				return
			}
		}
	}
}

// DestinationRule returns the rule that clients in the namespace with these labels follow towards the service: the client
// namespace's own rule, else the service's namespace's, else the root namespace's, the latter two if exported to the client.
// Within a namespace the most specific host counts, and a rule whose workloadSelector takes in the labels counts before one
// without. It is nil if there is none.
func (s *Snapshot) DestinationRule(namespace string, svc *model.Service, labels map[string]string) *model.DestinationRule {
	if svc == nil {
		return nil
	}
	root := s.mesh.RootNamespace
	found := s.rulesIn(namespace, svc.Hostname, namespace)
	if namespace == root {
		// Rules of the root namespace are meant for the mesh; to proxies that happen to live there only those that it keeps
		// to itself come before the service's own.
		found = privateRules(found)
	}
	if len(found) == 0 {
		found = s.rulesIn(svc.Namespace, svc.Hostname, namespace)
	}
	if len(found) == 0 {
		found = s.rulesIn(root, svc.Hostname, namespace)
	}
	return selectRule(found, namespace, labels)
}

// rulesIn returns the owner's rules for the most specific host that covers hostname, as far as the client may see them.
func (s *Snapshot) rulesIn(owner, hostname, client string) []*model.DestinationRule {
	for name := range covering(hostname) {
		list := s.rules.At(hostKey{owner, name})
		if len(list) == 0 {
			continue
		}
		if !slices.ContainsFunc(list, func(d *model.DestinationRule) bool { return !d.ExportTo.VisibleTo(client) }) {
			return list
		}
		var out []*model.DestinationRule
		for _, d := range list {
			if d.ExportTo.VisibleTo(client) {
				out = append(out, d)
			}
		}
		return out
	}
	return nil
}

func privateRules(list []*model.DestinationRule) []*model.DestinationRule {
	var out []*model.DestinationRule
	for _, d := range list {
		if !d.ExportTo.Public && len(d.ExportTo.Namespaces) == 1 && d.ExportTo.Namespaces[0] == d.Namespace {
			out = append(out, d)
		}
	}
	return out
}

func selectRule(list []*model.DestinationRule, namespace string, labels map[string]string) *model.DestinationRule {
	var general *model.DestinationRule
	for _, d := range list {
		switch {
		case d.WorkloadSelector == nil:
			if general == nil {
				general = d
			}
		case d.Namespace == namespace && model.SubsetOf(d.WorkloadSelector, labels):
			return d
		}
	}
	return general
}
