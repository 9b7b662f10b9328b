package world

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/derive"
	"lateen.dev/lateen/model"
)

// ruleKey is what DestinationRules that are merged have in common.
type ruleKey struct {
	namespace, host string
	// scope is exportTo and the workload selector, written out.
	scope string
}

// Compare orders by namespace, host and scope.
func (k ruleKey) Compare(o ruleKey) int {
	if c := strings.Compare(k.namespace, o.namespace); c != 0 {
		return c
	}
	if c := strings.Compare(k.host, o.host); c != 0 {
		return c
	}
	return strings.Compare(k.scope, o.scope)
}

// ruleOf reads a DestinationRule.
func ruleOf(o *config.Object, mesh *model.Mesh) (*model.DestinationRule, bool) {
	spec := config.As[*networking.DestinationRule](o)
	if spec == nil {
		return nil, false
	}
	return &model.DestinationRule{
		Config: o.Key, From: []config.Key{o.Key}, Origin: o.Origin, CreationTime: o.Created, Namespace: o.Namespace,
		Host:             string(host.Resolve(strings.ToLower(spec.GetHost()), o.Namespace, mesh.Domain)),
		ExportTo:         model.ParseExportTo(spec.GetExportTo(), o.Namespace, mesh.DefaultDestinationRuleExportTo),
		WorkloadSelector: matchLabels(spec.GetWorkloadSelector().GetMatchLabels()), Spec: spec,
	}, true
}

func ruleKeys(_ config.Key, d *model.DestinationRule) []ruleKey {
	var b strings.Builder
	if d.ExportTo.Public {
		b.WriteString("*")
	}
	b.WriteString(strings.Join(d.ExportTo.Namespaces, ","))
	for _, k := range slices.Sorted(maps.Keys(d.WorkloadSelector)) {
		b.WriteString(";" + k + "=" + d.WorkloadSelector[k])
	}
	return []ruleKey{{d.Namespace, d.Host, b.String()}}
}

// mergeRules makes one rule of several for the same host, exported alike, for the same workloads: the oldest one, with the
// subsets of the others whose names it lacks, and the first traffic policy that one of them has.
func mergeRules(group derive.Group[config.Key, *model.DestinationRule]) *model.DestinationRule {
	if len(group) == 1 {
		return group[0].Value
	}
	rules := make([]*model.DestinationRule, len(group))
	for i := range group {
		rules[i] = group[i].Value
	}
	slices.SortFunc(rules, (*model.DestinationRule).CompareAge)
	out := *rules[0]
	out.Spec = proto.Clone(out.Spec).(*networking.DestinationRule)
	out.From = nil
	for _, r := range rules {
		out.From = append(out.From, r.Config)
		if out.Spec.TrafficPolicy == nil {
			out.Spec.TrafficPolicy = r.Spec.GetTrafficPolicy()
		}
		for _, s := range r.Spec.GetSubsets() {
			if out.Subset(s.GetName()) == nil {
				out.Spec.Subsets = append(out.Spec.Subsets, s)
			}
		}
	}
	return &out
}
