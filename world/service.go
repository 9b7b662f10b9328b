package world

import (
	"slices"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/derive"
	"lateen.dev/lateen/model"
)

// servicePart is what one object says about one service, with the endpoints written in it.
type servicePart struct {
	service *model.Service
	inline  []*model.Workload
}

// Equal reports whether both say the same.
func (p *servicePart) Equal(o *servicePart) bool {
	return p == o || p.service.Equal(o.service) &&
		slices.EqualFunc(p.inline, o.inline, func(a, b *model.Workload) bool { return a.Equal(b) })
}

// partKey names what one object says about one host.
type partKey = derive.Part[config.Key]

// name is a key that is nothing but a text.
type name string

// Compare orders by the alphabet.
func (n name) Compare(o name) int {
	switch {
	case n < o:
		return -1
	case n > o:
		return 1
	default:
		return 0
	}
}

type partGroup = derive.Group[partKey, *servicePart]

// serviceIndexes is where a service looks for others.
type serviceIndexes struct {
	byHost    *derive.Index[name, partKey, *servicePart]
	byAliased *derive.Index[name, partKey, *servicePart]
}

// mergeParts makes one service of all that objects of one namespace say about one host. A Kubernetes Service counts alone,
// so that no ServiceEntry can take its name; of ServiceEntries the oldest counts, and younger ones of the same resolution
// add the ports that it lacks.
func mergeParts(group partGroup) *model.Service {
	parts := byPreference(group)
	first := parts[0].service
	if first.Registry == model.KubernetesRegistry {
		// What ServiceEntries may add to a Service is whom to trust.
		var names []string
		for _, p := range parts[1:] {
			for _, san := range p.service.SubjectAltNames {
				if !slices.Contains(names, san) {
					names = append(names, san)
				}
			}
		}
		if names == nil {
			return first
		}
		out := *first
		out.SubjectAltNames = names
		return &out
	}
	out := *first
	out.Ports = slices.Clone(first.Ports)
	for _, p := range parts[1:] {
		if p.service.Resolution != first.Resolution {
			continue
		}
		out.MergedFrom = append(out.MergedFrom, p.service.Config)
		for _, port := range p.service.Ports {
			if _, i := out.Port(port.Number); i < 0 {
				out.Ports = append(out.Ports, port)
			}
		}
		for _, a := range p.service.Addresses {
			if !slices.Contains(out.Addresses, a) {
				out.Addresses = append(slices.Clip(out.Addresses), a)
			}
		}
	}
	if len(out.MergedFrom) == 0 {
		return first
	}
	return &out
}

func byPreference(group partGroup) []*servicePart {
	parts := make([]*servicePart, len(group))
	for i := range group {
		parts[i] = group[i].Value
	}
	slices.SortStableFunc(parts, func(a, b *servicePart) int { return comparePreference(a.service, b.service) })
	return parts
}

// maxAliases bounds how many names deep an alias may lead.
const maxAliases = 8

// resolveAlias makes a service with an external name an alias if the name is a service's in the mesh, and finds the aliases
// of one that has none.
func (ix *serviceIndexes) resolveAlias(ctx *derive.Ctx, s *model.Service) *model.Service {
	if s.ExternalName != "" {
		target, found := ix.aliasTarget(ctx, s.ExternalName)
		if !found {
			return s
		}
		out := *s
		out.Resolution, out.ExternalName = model.Alias, target
		return &out
	}
	aliases := ix.aliasesOf(ctx, s.Hostname, 0, nil)
	if len(aliases) == 0 {
		return s
	}
	slices.SortFunc(aliases, model.ServiceKey.Compare)
	out := *s
	out.Aliases = slices.Compact(aliases)
	return &out
}

// aliasTarget follows external names to a service of the mesh that has none itself.
func (ix *serviceIndexes) aliasTarget(ctx *derive.Ctx, hostname string) (string, bool) {
	for range maxAliases {
		parts := derive.FetchIndex(ctx, ix.byHost, name(hostname))
		if len(parts) == 0 {
			return "", false
		}
		next := parts[0].Value.service.ExternalName
		if next == "" {
			return hostname, true
		}
		hostname = next
	}
	return "", false
}

func (ix *serviceIndexes) aliasesOf(ctx *derive.Ctx, hostname string, depth int, out []model.ServiceKey) []model.ServiceKey {
	if depth == maxAliases {
		return out
	}
	for _, e := range derive.FetchIndex(ctx, ix.byAliased, name(hostname)) {
		key := e.Value.service.Key()
		if slices.Contains(out, key) {
			continue
		}
		out = ix.aliasesOf(ctx, key.Hostname, depth+1, append(out, key))
	}
	return out
}
