package endpoint

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
)

// Setting chooses the locality settings in force: the rule's, else the mesh's; nil where they are switched off.
func Setting(mesh *model.Mesh, policy *networking.TrafficPolicy) *networking.LocalityLoadBalancerSetting {
	s := policy.GetLoadBalancer().GetLocalityLbSetting()
	if s == nil {
		s = mesh.Config.GetLocalityLbSetting()
	}
	if s == nil || !model.Bool(s.GetEnabled(), true) {
		return nil
	}
	return s
}

// Weighted reports whether the settings give localities weights or priorities of their own, so that the client must
// balance between localities before it balances within one.
func Weighted(s *networking.LocalityLoadBalancerSetting, failover bool) bool {
	return len(s.GetDistribute()) > 0 || failover && (len(s.GetFailover()) > 0 || len(s.GetFailoverPriority()) > 0)
}

// prefer applies the client's preference: weights by distribute, or priorities by failover.
func prefer(groups []*group, l Locality) []*group {
	switch {
	case l.Setting == nil:
		return groups
	case len(l.Setting.GetDistribute()) > 0:
		return distribute(groups, l)
	case !l.Failover:
		return groups
	case len(l.Setting.GetFailoverPriority()) > 0:
		groups = byLabels(groups, l)
		if len(l.Setting.GetFailover()) > 0 {
			byDistance(groups, l)
		}
	case l.Client.Region != "":
		byDistance(groups, l)
	}
	renumber(groups)
	return groups
}

// distribute gives each locality the share that the first setting for the client's locality names; localities without a
// share get nothing.
func distribute(groups []*group, l Locality) []*group {
	for _, d := range l.Setting.GetDistribute() {
		if !covers(d.GetFrom(), l.Client) {
			continue
		}
		left := slices.Clone(groups)
		var out []*group
		// The most specific name first, so that a zone's share isn't eaten by its region's.
		names := slices.SortedFunc(maps.Keys(d.GetTo()), func(a, b string) int {
			return cmp.Or(strings.Count(b, "/")-strings.Count(a, "/"), cmp.Compare(b, a))
		})
		for _, name := range names {
			var matched []*group
			left = slices.DeleteFunc(left, func(g *group) bool {
				if covers(name, g.at()) {
					matched = append(matched, g)
					return true
				}
				return false
			})
			share(matched, d.GetTo()[name])
			out = append(out, matched...)
		}
		slices.SortFunc(out, func(a, b *group) int { return a.at().Compare(b.at()) })
		return out
	}
	return groups
}

// share divides a weight among localities in proportion to what they weigh.
func share(groups []*group, weight uint32) {
	total := 0.0
	for _, g := range groups {
		total += float64(g.weight)
	}
	for _, g := range groups {
		w := float64(g.weight) * float64(weight) / total
		g.weight = uint32(math.Ceil(w))
	}
}

// covers reports whether a locality is one that the pattern region/zone/subzone names; parts may be "*" or left out.
func covers(pattern string, l model.Locality) bool {
	parts := strings.Split(pattern, "/")
	for i, have := range []string{l.Region, l.Zone, l.SubZone} {
		if i < len(parts) && parts[i] != "*" && parts[i] != have {
			return false
		}
	}
	return true
}

// byDistance lowers the priority of what is further away: the same subzone, zone, region, elsewhere; and of elsewhere,
// where a failover names a region, all other regions.
func byDistance(groups []*group, l Locality) {
	for _, g := range groups {
		at := g.at()
		priority := uint32(3)
		switch {
		case at == l.Client:
			priority = 0
		case at.Region == l.Client.Region && at.Zone == l.Client.Zone:
			priority = 1
		case at.Region == l.Client.Region:
			priority = 2
		}
		if priority == 3 {
			for _, f := range l.Setting.GetFailover() {
				if f.GetFrom() == l.Client.Region {
					if f.GetTo() != at.Region {
						priority = 4
					}
					break
				}
			}
		}
		// There are five distances, and what labels decided before counts more.
		g.priority = g.priority*5 + priority
	}
}

// byLabels gives the highest priority to endpoints that agree with the client in all the labels, lower ones the earlier
// they differ. A label may be written name=value, which takes the place of the client's own.
func byLabels(groups []*group, l Locality) []*group {
	labels := l.Setting.GetFailoverPriority()
	var out []*group
	for _, g := range groups {
		split := map[uint32]*group{}
		for _, m := range g.members {
			p := agreement(labels, l, m.Workload)
			s := split[p]
			if s == nil {
				s = &group{priority: p}
				split[p] = s
			}
			s.members = append(s.members, m)
		}
		for _, p := range slices.Sorted(maps.Keys(split)) {
			split[p].weigh()
			out = append(out, split[p])
		}
	}
	return out
}

func agreement(labels []string, l Locality, w *model.Workload) uint32 {
	for i, label := range labels {
		name, want, given := strings.Cut(label, "=")
		if !given {
			want = topology(name, l.Labels, l.Client, l.Network, l.Cluster)
		}
		if want != topology(name, w.Labels, w.Locality, w.Network, w.Cluster) {
			return uint32(len(labels) - i)
		}
	}
	return 0
}

// topology reads a label; those of the place are also known without being written on the workload.
func topology(name string, labels map[string]string, l model.Locality, network, cluster string) string {
	if v, ok := labels[name]; ok {
		return v
	}
	switch name {
	case "topology.kubernetes.io/region":
		return l.Region
	case "topology.kubernetes.io/zone":
		return l.Zone
	case "topology.istio.io/subzone":
		return l.SubZone
	case "topology.istio.io/network":
		return network
	case "topology.istio.io/cluster":
		return cluster
	}
	return ""
}

// renumber makes priorities start at 0 without gaps, as Envoy wants them.
func renumber(groups []*group) {
	seen := map[uint32]bool{}
	for _, g := range groups {
		seen[g.priority] = true
	}
	rank := map[uint32]uint32{}
	for i, p := range slices.Sorted(maps.Keys(seen)) {
		rank[p] = uint32(i)
	}
	for _, g := range groups {
		g.priority = rank[g.priority]
	}
}
