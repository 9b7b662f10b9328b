package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"lateen.dev/lateen/config"
)

// chooser is an object that applies to workloads of its namespace.
type chooser struct {
	object   *config.Object
	selector map[string]string
	path     string
}

// rivals complains about choosers of one kind that choose the same workloads:
// several without a selector in a namespace, several with the same selector,
// and several that share a workload.
func (f *facts) rivals(all []chooser, conflicting, multiple code) {
	groups := map[string][]int{}
	for i, c := range all {
		key := fmt.Sprintf("%s %v", c.object.Namespace, c.selector) // fmt sorts maps
		groups[key] = append(groups[key], i)
	}
	for i, c := range all {
		for _, w := range f.chosen(c.object.Namespace, c.selector) {
			key := "workload " + w.object.Key.String()
			groups[key] = append(groups[key], i)
		}
	}
	same := make([]map[string]bool, len(all))
	for _, group := range groups {
		for _, i := range group {
			for _, j := range group[:min(len(group), maxRivals)] {
				if i == j {
					continue
				}
				if same[i] == nil {
					same[i] = map[string]bool{}
				}
				same[i][all[j].object.Name] = true
			}
		}
	}
	for i, c := range all {
		names := strings.Join(slices.Sorted(maps.Keys(same[i])), ", ")
		switch {
		case len(same[i]) == 0, !f.judged(c.object):
		case len(c.selector) == 0:
			f.report(multiple, c.object, "", "Keep one, or give the others a selector",
				"namespace %q has more %s objects without a selector (%s), and which one applies isn't defined", c.object.Namespace, c.object.Kind, names)
		default:
			f.report(conflicting, c.object, c.path, "Make the selectors exclude each other",
				"the same workloads are chosen by other %s objects (%s), and which one applies isn't defined", c.object.Kind, names)
		}
	}
}

// neighbours are the objects of a kind in the namespaces of those to be judged.
func (f *facts) neighbours(kind config.Kind) []*config.Object {
	if f.about == nil {
		return f.kinds[kind]
	}
	namespaces := map[string]bool{}
	for _, o := range f.about[kind] {
		namespaces[o.Namespace] = true
	}
	var found []*config.Object
	for _, o := range f.kinds[kind] {
		if namespaces[o.Namespace] {
			found = append(found, o)
		}
	}
	return found
}

func (f *facts) judged(o *config.Object) bool {
	return f.about == nil || slices.Contains(f.about[o.Kind], o)
}

// maxRivals bounds how many others a complaint names.
const maxRivals = 10

func sidecars(f *facts) {
	var all []chooser
	for _, o := range f.neighbours(config.Sidecar) {
		all = append(all, chooser{o, config.As[*networking.Sidecar](o).GetWorkloadSelector().GetLabels(), "spec.workloadSelector"})
	}
	f.rivals(all, conflictingSidecars, multipleSidecars)
}

func telemetries(f *facts) {
	var all []chooser
	for _, o := range f.neighbours(config.Telemetry) {
		t := config.As[*telemetry.Telemetry](o)
		if t.TargetRef != nil || len(t.TargetRefs) > 0 {
			continue
		}
		all = append(all, chooser{o, t.GetSelector().GetMatchLabels(), "spec.selector"})
	}
	f.rivals(all, conflictingTelemetries, multipleTelemetries)
}

// selectors looks for policies that choose no workload. When no workload at all
// is known there is nothing to compare with.
func selectors(f *facts) {
	if len(f.kinds[config.WorkloadEntry]) == 0 {
		return
	}
	for _, kind := range []config.Kind{config.AuthorizationPolicy, config.PeerAuthentication, config.RequestAuthentication, config.Telemetry} {
		for _, o := range f.subjects(kind) {
			var selector map[string]string
			switch s := o.Spec.(type) {
			case *security.AuthorizationPolicy:
				selector = s.GetSelector().GetMatchLabels()
			case *security.PeerAuthentication:
				selector = s.GetSelector().GetMatchLabels()
			case *security.RequestAuthentication:
				selector = s.GetSelector().GetMatchLabels()
			case *telemetry.Telemetry:
				selector = s.GetSelector().GetMatchLabels()
			}
			namespace := o.Namespace
			if namespace == f.mesh.GetRootNamespace() {
				namespace = anyNamespace
			}
			if len(selector) > 0 && len(f.chosen(namespace, selector)) == 0 {
				f.report(noMatchingWorkloads, o, "spec.selector", "Start such a workload, or mend the labels", "no workload has the labels of the selector")
			}
		}
	}
}

// telemetryRefs looks for providers that MeshConfig doesn't have.
func telemetryRefs(f *facts) {
	known := map[string]bool{}
	for _, p := range f.mesh.GetExtensionProviders() {
		known[p.GetName()] = true
	}
	defaults := f.mesh.GetDefaultProviders()
	for _, o := range f.subjects(config.Telemetry) {
		t := config.As[*telemetry.Telemetry](o)
		for i, a := range t.AccessLogging {
			f.providers(o, fmt.Sprintf("spec.accessLogging[%d]", i), a.Providers, known, len(defaults.GetAccessLogging()) > 0 || f.mesh.GetAccessLogFile() != "")
		}
		for i, m := range t.Metrics {
			// Prometheus is always on, so metrics without a provider have one.
			f.providers(o, fmt.Sprintf("spec.metrics[%d]", i), m.Providers, known, true)
		}
		for i, tr := range t.Tracing {
			f.providers(o, fmt.Sprintf("spec.tracing[%d]", i), tr.Providers, known, hasTracing(defaults, f.mesh))
		}
	}
}

func hasTracing(defaults *meshconfig.MeshConfig_DefaultProviders, m *meshconfig.MeshConfig) bool {
	return len(defaults.GetTracing()) > 0 || m.GetDefaultConfig().GetTracing() != nil
}

func (f *facts) providers(o *config.Object, at string, refs []*telemetry.ProviderRef, known map[string]bool, hasDefault bool) {
	if len(refs) == 0 && !hasDefault {
		f.report(invalidTelemetryProvider, o, at, "Name a provider here, or set defaultProviders in MeshConfig",
			"no provider is named and MeshConfig has no default one, so this has no effect")
	}
	for i, r := range refs {
		if !known[r.GetName()] {
			f.report(invalidTelemetryProvider, o, fmt.Sprintf("%s.providers[%d]", at, i), "Add it to MeshConfig's extensionProviders, or mend the name",
				"MeshConfig has no provider %q", r.GetName())
		}
	}
}
