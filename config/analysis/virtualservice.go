package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
)

// destination is a place in a VirtualService that names a service.
type destination struct {
	path string
	*networking.Destination
}

func destinationsOf(vs *networking.VirtualService) []destination {
	var all []destination
	add := func(path string, d *networking.Destination) {
		if d != nil {
			all = append(all, destination{path, d})
		}
	}
	for i, r := range vs.Http {
		at := fmt.Sprintf("spec.http[%d]", i)
		for j, d := range r.Route {
			add(fmt.Sprintf("%s.route[%d].destination", at, j), d.Destination)
		}
		add(at+".mirror", r.Mirror)
		for j, m := range r.Mirrors {
			add(fmt.Sprintf("%s.mirrors[%d].destination", at, j), m.Destination)
		}
	}
	for i, r := range vs.Tls {
		for j, d := range r.Route {
			add(fmt.Sprintf("spec.tls[%d].route[%d].destination", i, j), d.Destination)
		}
	}
	for i, r := range vs.Tcp {
		for j, d := range r.Route {
			add(fmt.Sprintf("spec.tcp[%d].route[%d].destination", i, j), d.Destination)
		}
	}
	return all
}

// destinations looks for services, subsets and ports that routes lead to.
func destinations(f *facts) {
	for _, o := range f.subjects(config.VirtualService) {
		for _, d := range destinationsOf(config.As[*networking.VirtualService](o)) {
			f.destination(o, d)
		}
	}
}

func (f *facts) destination(o *config.Object, d destination) {
	services := f.services(d.Host, o.Namespace)
	if len(services) == 0 {
		hint := "Create a Service or ServiceEntry for it, or mend the name"
		switch {
		case f.known(d.Host, o.Namespace):
			hint = "It exists, but its exportTo doesn't include namespace " + o.Namespace
		case strings.Count(d.Host, ".") == 1:
			full := strings.Replace(d.Host, ".", "/", 1)
			name, ns, _ := strings.Cut(full, "/")
			if len(f.exact[host.FQDN(name, ns, "")]) > 0 {
				hint = "Write the full name: " + string(host.FQDN(name, ns, ""))
			}
		}
		f.report(referencedResourceNotFound, o, d.path+".host", hint, "no service has the host %q", d.Host)
		return
	}
	if d.Subset != "" {
		f.subset(o, d)
	}
	if d.Port == nil && !slices.ContainsFunc(services, func(s service) bool { return s.ports == 1 || s.host.IsWildcard() }) {
		f.report(portSelectorRequired, o, d.path, "Add port with a number", "the service %q has %d ports, and nothing says which one is meant", d.Host, services[0].ports)
	}
}

func (f *facts) subset(o *config.Object, d destination) {
	want := host.Resolve(strings.ToLower(d.Host), o.Namespace, "")
	var subsets []string
	for _, dr := range f.rulesFor(want, o.Namespace) {
		for _, s := range dr.Subsets {
			if s.Name == d.Subset {
				return
			}
			subsets = append(subsets, s.Name)
		}
	}
	hint := fmt.Sprintf("Create a DestinationRule for %s with that subset", d.Host)
	if len(subsets) > 0 {
		hint = "The DestinationRules have: " + strings.Join(subsets, ", ")
	}
	f.report(referencedResourceNotFound, o, d.path+".subset", hint, "no DestinationRule gives the host %q a subset %q", d.Host, d.Subset)
}

// gatewayRefs looks for the Gateways that VirtualServices are bound to, and for
// hosts that their Gateways don't have.
func gatewayRefs(f *facts) {
	for _, o := range f.subjects(config.VirtualService) {
		vs := config.As[*networking.VirtualService](o)
		check := func(at, name string) {
			if name != "mesh" && f.byKey[gatewayKey(name, o.Namespace)] == nil {
				f.report(referencedResourceNotFound, o, at, "Create it, or mend the name (NAMESPACE/NAME)", "there is no Gateway %q", name)
			}
		}
		for i, g := range vs.Gateways {
			check(fmt.Sprintf("spec.gateways[%d]", i), g)
			if gw := f.byKey[gatewayKey(g, o.Namespace)]; gw != nil {
				f.hostsInGateway(o, vs, gw)
			}
		}
		for i, r := range vs.Http {
			for j, m := range r.Match {
				for k, g := range m.Gateways {
					check(fmt.Sprintf("spec.http[%d].match[%d].gateways[%d]", i, j, k), g)
				}
			}
		}
	}
}

func (f *facts) hostsInGateway(o *config.Object, vs *networking.VirtualService, gw *config.Object) {
	for i, h := range vs.Hosts {
		covered := false
		for _, s := range config.As[*networking.Gateway](gw).Servers {
			for _, sh := range s.Hosts {
				ns, name := host.SplitNamespaced(sh)
				here := ns == "*" || ns == o.Namespace || ns == "." && gw.Namespace == o.Namespace
				covered = covered || here && host.Name(strings.ToLower(h)).Matches(host.Name(strings.ToLower(string(name))))
			}
		}
		if !covered {
			f.report(hostNotInGateway, o, fmt.Sprintf("spec.hosts[%d]", i), "Add it to one of the Gateway's servers",
				"the Gateway %s/%s has no server for the host %q", gw.Namespace, gw.Name, h)
		}
	}
}

func delegates(f *facts) {
	for _, o := range f.subjects(config.VirtualService) {
		for i, r := range config.As[*networking.VirtualService](o).Http {
			if r.Delegate == nil {
				continue
			}
			key := config.Key{Kind: config.VirtualService, Namespace: r.Delegate.Namespace, Name: r.Delegate.Name}
			if key.Namespace == "" {
				key.Namespace = o.Namespace
			}
			if f.byKey[key] == nil {
				f.report(referencedResourceNotFound, o, fmt.Sprintf("spec.http[%d].delegate", i), "Create it, or mend its name and namespace",
					"there is no VirtualService %s/%s to delegate to", key.Namespace, key.Name)
			}
		}
	}
}

// meshHosts looks for hosts that several VirtualServices want to route for the
// same sidecars: only one of them gets it.
func meshHosts(f *facts) {
	for _, o := range f.subjects(config.VirtualService) {
		vs := config.As[*networking.VirtualService](o)
		if !onMesh(vs) {
			continue
		}
		for i, h := range vs.Hosts {
			name := host.Resolve(strings.ToLower(h), o.Namespace, "")
			var rivals []string
			for _, c := range f.routed[name] {
				if (c.object != o || c.host != i) && overlap(o, c.object) {
					rivals = append(rivals, c.object.Namespace+"/"+c.object.Name)
				}
			}
			if len(rivals) > 0 {
				f.report(conflictingMeshHosts, o, fmt.Sprintf("spec.hosts[%d]", i), "Merge them, or bind all but one to gateways",
					"the host %q is also routed by VirtualService %s, and only one of them takes effect", name, strings.Join(rivals, ", "))
			}
		}
	}
}

// routeClaim is a VirtualService that routes a host, and the host's place in it.
type routeClaim struct {
	object *config.Object
	host   int
}

// overlap says whether some namespace sees both.
func overlap(a, b *config.Object) bool {
	ea, eb := exportOf(a), exportOf(b)
	for _, x := range ea {
		for _, y := range eb {
			if x == "*" || y == "*" || x == y {
				return true
			}
		}
	}
	return false
}

// exportOf is a VirtualService's exportTo with "." resolved.
func exportOf(o *config.Object) []string {
	list := config.As[*networking.VirtualService](o).GetExportTo()
	if len(list) == 0 {
		return []string{"*"}
	}
	out := slices.Clone(list)
	for i, s := range out {
		if s == "." {
			out[i] = o.Namespace
		}
	}
	return out
}

// routes looks for routes and matches that can never be used.
func routes(f *facts) {
	for _, o := range f.subjects(config.VirtualService) {
		f.unreachable(o, config.As[*networking.VirtualService](o).Http)
	}
}

func (f *facts) unreachable(o *config.Object, routes []*networking.HTTPRoute) {
	catchAll := -1
	seen := map[string]string{} // match → path of the first
	var earlier []placed
	for i, r := range routes {
		at := fmt.Sprintf("spec.http[%d]", i)
		if catchAll >= 0 {
			f.report(unreachableRule, o, at, "Move it up, or give the other one a match",
				"this route is never used: spec.http[%d] takes every request before it", catchAll)
			continue
		}
		repeated := 0
		for j, m := range r.Match {
			path, key := fmt.Sprintf("%s.match[%d]", at, j), matchKey(m)
			if first, twice := seen[key]; twice {
				repeated++
				f.report(ineffectiveMatch, o, path, "Remove one of the two", "this match is never used: %s is the same and comes before it", first)
				continue
			}
			seen[key] = path
			if first := covering(earlier, m); first != "" {
				f.report(ineffectiveMatch, o, path, "Move the more specific match up", "this match is never used: %s has a prefix of its path and comes before it", first)
			}
			earlier = append(earlier, placed{path, m})
		}
		if repeated > 0 && repeated == len(r.Match) {
			f.report(unreachableRule, o, at, "Remove it, or change its matches", "this route is never used: earlier routes have all of its matches")
		}
		if len(r.Match) == 0 || slices.ContainsFunc(r.Match, matchesAll) {
			catchAll = i
		}
	}
}

// placed is a match with its path in the object.
type placed struct {
	path  string
	match *networking.HTTPMatchRequest
}

// covering is the path of an earlier match that takes everything m matches,
// because it has a prefix of the same path and no other conditions than m.
func covering(earlier []placed, m *networking.HTTPMatchRequest) string {
	uri := m.GetUri().GetPrefix() + m.GetUri().GetExact()
	if uri == "" {
		return ""
	}
	for _, e := range earlier {
		prefix := e.match.GetUri().GetPrefix()
		if prefix == "" || !strings.HasPrefix(uri, prefix) || e.match.IgnoreUriCase && !m.IgnoreUriCase {
			continue
		}
		if conditions(e.match) == conditions(m) {
			return e.path
		}
	}
	return ""
}

// conditions is equal for matches that differ at most in their path.
func conditions(m *networking.HTTPMatchRequest) string {
	rest := proto.Clone(m).(*networking.HTTPMatchRequest)
	rest.Uri, rest.IgnoreUriCase = nil, false
	return matchKey(rest)
}

func matchesAll(m *networking.HTTPMatchRequest) bool {
	if m.Scheme != nil || m.Method != nil || m.Authority != nil || m.Port != 0 || m.SourceNamespace != "" {
		return false
	}
	if len(m.Headers)+len(m.WithoutHeaders)+len(m.QueryParams)+len(m.SourceLabels)+len(m.Gateways) > 0 {
		return false
	}
	return m.Uri == nil || m.Uri.GetPrefix() == "/" || slices.Contains([]string{".*", "/.*"}, m.Uri.GetRegex())
}

// matchKey is equal for matches that accept the same requests.
func matchKey(m *networking.HTTPMatchRequest) string {
	var parts []string
	put := func(name string, s *networking.StringMatch) {
		if s == nil {
			return
		}
		parts = append(parts, fmt.Sprintf("%q %q %q %q", name, s.GetExact(), s.GetPrefix(), s.GetRegex()))
	}
	put("uri", m.Uri)
	put("scheme", m.Scheme)
	put("method", m.Method)
	put("authority", m.Authority)
	for _, group := range []struct {
		name    string
		matches map[string]*networking.StringMatch
	}{{"header ", m.Headers}, {"without ", m.WithoutHeaders}, {"query ", m.QueryParams}} {
		for _, k := range slices.Sorted(maps.Keys(group.matches)) {
			parts = append(parts, group.name+k)
			put(k, group.matches[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m.SourceLabels)) {
		parts = append(parts, fmt.Sprintf("label %q %q", k, m.SourceLabels[k]))
	}
	gateways := slices.Sorted(slices.Values(m.Gateways))
	return fmt.Sprintf("%q %v %d %q %q", parts, m.IgnoreUriCase, m.Port, m.SourceNamespace, gateways)
}
