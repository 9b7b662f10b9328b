package world

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// ClientLabels returns the label keys by which destination rules and telemetry tell clients of the namespace apart: those of
// workload selectors and of locality failover priorities, sorted.
func (s *Snapshot) ClientLabels(namespace string) []string {
	keys := map[string]struct{}{}
	add := func(l *networking.LocalityLoadBalancerSetting) {
		for _, p := range l.GetFailoverPriority() {
			name, _, _ := strings.Cut(p, "=")
			keys[name] = struct{}{}
		}
	}
	add(s.mesh.Config.GetLocalityLbSetting())
	for _, t := range s.policies.telemetry.At(namespace) {
		for k := range t.Selector {
			keys[k] = struct{}{}
		}
	}
	for key, rules := range s.rules.All() {
		for _, d := range rules {
			if key.namespace == namespace {
				for k := range d.WorkloadSelector {
					keys[k] = struct{}{}
				}
			}
			add(d.Spec.GetTrafficPolicy().GetLoadBalancer().GetLocalityLbSetting())
			for _, p := range d.Spec.GetTrafficPolicy().GetPortLevelSettings() {
				add(p.GetLoadBalancer().GetLocalityLbSetting())
			}
			for _, sub := range d.Spec.GetSubsets() {
				add(sub.GetTrafficPolicy().GetLoadBalancer().GetLocalityLbSetting())
			}
		}
	}
	return slices.Sorted(maps.Keys(keys))
}
