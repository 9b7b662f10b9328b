package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"istio.io/api/annotation"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
)

// envoyFilters looks for patches that do nothing, or what they do depends on
// the order in which others are applied.
func envoyFilters(f *facts) {
	for _, o := range f.subjects(config.EnvoyFilter) {
		ef := config.As[*networking.EnvoyFilter](o)
		for i, p := range ef.ConfigPatches {
			f.patch(o, fmt.Sprintf("spec.configPatches[%d]", i), p, ef.Priority != 0)
		}
	}
}

func (f *facts) patch(o *config.Object, at string, p *networking.EnvoyFilter_EnvoyConfigObjectPatch, ordered bool) {
	routes := p.ApplyTo == networking.EnvoyFilter_ROUTE_CONFIGURATION || p.ApplyTo == networking.EnvoyFilter_HTTP_ROUTE
	filters := p.ApplyTo == networking.EnvoyFilter_HTTP_FILTER || p.ApplyTo == networking.EnvoyFilter_NETWORK_FILTER
	at += ".patch.operation"
	switch p.GetPatch().GetOperation() {
	case networking.EnvoyFilter_Patch_INSERT_BEFORE, networking.EnvoyFilter_Patch_INSERT_AFTER:
		if ordered {
			return
		}
		if p.GetMatch().GetProxy().GetProxyVersion() != "" {
			f.report(relativeWithVersion, o, at, "Set a priority", "the patch is placed relative to others for certain proxy versions only, and without a priority their order isn't defined")
			return
		}
		f.report(relativeOperation, o, at, "Set a priority, or use INSERT_FIRST or ADD", "the patch is placed relative to others, and without a priority their order isn't defined")
	case networking.EnvoyFilter_Patch_REPLACE:
		if !filters {
			f.report(replaceOperation, o, at, "Use MERGE", "REPLACE works on HTTP_FILTER and NETWORK_FILTER only, so this does nothing")
		}
	case networking.EnvoyFilter_Patch_ADD:
		if routes {
			f.report(addOperation, o, at, "Use INSERT_FIRST, or a VirtualService", "ADD doesn't work on %s, so this does nothing", p.ApplyTo)
		}
	case networking.EnvoyFilter_Patch_REMOVE:
		if routes {
			f.report(removeOperation, o, at, "Use MERGE, or a VirtualService", "REMOVE doesn't work on %s, so this does nothing", p.ApplyTo)
		}
	}
}

// annotations looks for annotations that nobody reads, or not here.
func annotations(f *facts) {
	known := map[string]*annotation.Instance{}
	for _, a := range annotation.AllResourceAnnotations() {
		known[a.Name] = a
	}
	for _, kind := range config.Kinds() {
		for _, o := range f.subjects(kind) {
			for _, name := range slices.Sorted(maps.Keys(o.Annotations)) {
				f.annotation(o, name, known[name])
			}
		}
	}
}

func (f *facts) annotation(o *config.Object, name string, a *annotation.Instance) {
	at := "metadata.annotations[" + name + "]"
	domain, _, _ := strings.Cut(name, "/")
	switch {
	case a == nil && (domain == "istio.io" || strings.HasSuffix(domain, ".istio.io")):
		f.report(unknownAnnotation, o, at, "Remove it, or mend the name", "no annotation of this name is read")
		return
	case a == nil:
		return
	case !fits(a, o.Kind):
		f.report(misplacedAnnotation, o, at, "It belongs on: "+places(a), "the annotation has no meaning on a %s", o.Kind)
		return
	}
	if a.Deprecated {
		f.report(deprecatedAnnotation, o, at, "Remove it", "the annotation is deprecated")
	} else if a.FeatureStatus == annotation.Alpha && name != suppress && !ofRegistration(name) {
		f.report(alphaAnnotation, o, at, "", "the annotation is experimental and may change")
	}
}

// ofRegistration tells whether the annotation is one that control planes write: nobody could leave it out.
func ofRegistration(name string) bool {
	switch name {
	case annotation.IoIstioAutoRegistrationGroup.Name, annotation.IoIstioConnectedAt.Name,
		annotation.IoIstioDisconnectedAt.Name, annotation.IoIstioWorkloadController.Name:
		return true
	}
	return false
}

func fits(a *annotation.Instance, kind config.Kind) bool {
	return slices.ContainsFunc(a.Resources, func(r annotation.ResourceTypes) bool {
		return r == annotation.Any || r.String() == kind.String() || r.String() == "Unknown"
	})
}

func places(a *annotation.Instance) string {
	var names []string
	for _, r := range a.Resources {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}
