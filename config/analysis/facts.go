package analysis

import (
	"maps"
	"slices"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
)

// facts is the set under analysis, indexed. Every list is in the order of its
// objects' keys.
type facts struct {
	kinds    map[config.Kind][]*config.Object
	byKey    map[config.Key]*config.Object
	exact    map[host.Name][]service
	wild     []service                      // those whose host is a wildcard
	rules    map[host.Name][]*config.Object // DestinationRules by exact host
	wildRule []*config.Object               // DestinationRules whose host is a wildcard
	// labelled are the workloads of a namespace that have a label.
	labelled map[label][]workload
	// routed are the VirtualServices that route a host for sidecars.
	routed map[host.Name][]routeClaim
	// spoken is what ServiceEntries say about a port of a host.
	spoken map[hostPort][]portClaim
	mesh   *meshconfig.MeshConfig

	// about are the objects to be judged, by kind; nil stands for all.
	about    map[config.Kind][]*config.Object
	problems config.Problems
}

// subjects are the objects of a kind that are to be judged.
func (f *facts) subjects(kind config.Kind) []*config.Object {
	if f.about != nil {
		return f.about[kind]
	}
	return f.kinds[kind]
}

// workload is a WorkloadEntry with the labels it is chosen by.
type workload struct {
	object *config.Object
	labels map[string]string
}

// label is a label's name and value in a namespace; anyNamespace stands for all.
type label struct{ namespace, name, value string }

const anyNamespace = "*"

// chosen are the workloads of a namespace that a selector, which isn't empty,
// asks for. It starts from the rarest of the labels.
func (f *facts) chosen(namespace string, selector map[string]string) []workload {
	var rarest []workload
	first := true
	for name, value := range selector {
		if list := f.labelled[label{namespace, name, value}]; first || len(list) < len(rarest) {
			rarest, first = list, false
		}
	}
	var found []workload
	for _, w := range rarest {
		if matches(selector, w.labels) {
			found = append(found, w)
		}
	}
	return found
}

// service is one host that requests can be sent to: a Service, or one host of a
// ServiceEntry.
type service struct {
	object   *config.Object
	host     host.Name
	ports    int
	exportTo []string
}

// rulesFor are the DestinationRules whose host covers name and that viewer sees.
func (f *facts) rulesFor(name host.Name, viewer string) []*networking.DestinationRule {
	var found []*networking.DestinationRule
	for _, o := range append(f.rules[name][:len(f.rules[name]):len(f.rules[name])], f.wildRule...) {
		dr := config.As[*networking.DestinationRule](o)
		if visible(dr.ExportTo, o.Namespace, viewer) && name.SubsetOf(host.Resolve(strings.ToLower(dr.Host), o.Namespace, "")) {
			found = append(found, dr)
		}
	}
	return found
}

func annotationList(o *config.Object, name string) []string {
	var list []string
	for s := range strings.SplitSeq(o.Annotations[name], ",") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// services are those that a host, as written in a rule of namespace, means and
// that the namespace may see.
func (f *facts) services(written, namespace string) []service {
	name := host.Resolve(strings.ToLower(written), namespace, "")
	var found []service
	take := func(candidates []service, matches func(host.Name) bool) {
		for _, s := range candidates {
			if matches(s.host) && visible(s.exportTo, s.object.Namespace, namespace) {
				found = append(found, s)
			}
		}
	}
	if name.IsWildcard() {
		for _, h := range slices.Sorted(maps.Keys(f.exact)) {
			take(f.exact[h], name.Matches)
		}
	} else {
		take(f.exact[name], func(host.Name) bool { return true })
	}
	take(f.wild, name.Matches)
	return found
}

// known says whether a host means some service, seen or not.
func (f *facts) known(written, namespace string) bool {
	name := host.Resolve(strings.ToLower(written), namespace, "")
	return len(f.exact[name]) > 0 || slices.ContainsFunc(f.wild, func(s service) bool { return name.Matches(s.host) })
}

// visible says whether what lives in owner and is exported to exportTo can be
// seen from viewer. An empty list means everybody.
func visible(exportTo []string, owner, viewer string) bool {
	if len(exportTo) == 0 {
		return true
	}
	return slices.ContainsFunc(exportTo, func(s string) bool {
		return s == "*" || s == viewer || s == "." && owner == viewer
	})
}

// matches says whether labels have everything that a selector asks for.
func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// onMesh says whether a VirtualService is for sidecars.
func onMesh(vs *networking.VirtualService) bool {
	return len(vs.Gateways) == 0 && len(vs.Hosts) > 0 || slices.Contains(vs.Gateways, "mesh")
}

// gatewayKey is the Gateway that a VirtualService of namespace means.
func gatewayKey(written, namespace string) config.Key {
	if ns, name, ok := strings.Cut(written, "/"); ok {
		return config.Key{Kind: config.Gateway, Namespace: ns, Name: name}
	}
	return config.Key{Kind: config.Gateway, Namespace: namespace, Name: written}
}
