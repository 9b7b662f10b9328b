package world

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
)

// Labels and annotations of WorkloadEntries that have behaviour in them.
const (
	labelTLSMode           = "security.istio.io/tlsMode"
	labelLocality          = "istio-locality"
	labelWorkloadName      = "service.istio.io/workload-name"
	labelCanonicalName     = "service.istio.io/canonical-name"
	labelCanonicalRevision = "service.istio.io/canonical-revision"
	labelKubernetesName    = "app.kubernetes.io/name"
	labelKubernetesVersion = "app.kubernetes.io/version"
	annotationGroup        = "istio.io/autoRegistrationGroup"
	// annotationHealth is what the workload's own checks say: healthy (also when absent), unhealthy or draining.
	annotationHealth = "lateen.dev/health"
)

// fromWorkloadEntry reads a WorkloadEntry.
func fromWorkloadEntry(o *config.Object, mesh *model.Mesh) *model.Workload {
	we := config.As[*networking.WorkloadEntry](o)
	if we == nil {
		return nil
	}
	name := firstOf(o.Labels[labelWorkloadName], we.GetLabels()[labelWorkloadName], o.Annotations[annotationGroup], o.Name)
	w := workloadOf(o, we, name, mesh)
	w.Index = -1
	switch o.Annotations[annotationHealth] {
	case "unhealthy":
		w.Health = model.Unhealthy
	case "draining":
		w.Health = model.Draining
	}
	return w
}

// workloadOf reads what WorkloadEntries and the endpoints of ServiceEntries have in common; name is the workload's own, empty
// for the latter. Labels of a WorkloadEntry's metadata count before those in its spec.
func workloadOf(o *config.Object, we *networking.WorkloadEntry, name string, mesh *model.Mesh) *model.Workload {
	labels := we.GetLabels()
	if o.Kind == config.WorkloadEntry {
		labels = overlayLabels(labels, o.Labels)
	}
	locality := we.GetLocality()
	if locality == "" {
		locality = strings.ReplaceAll(labels[labelLocality], ".", "/")
	}
	return &model.Workload{
		Config: o.Key, Address: we.GetAddress(), Namespace: o.Namespace, Labels: labels, Ports: we.GetPorts(),
		ServiceAccount: we.GetServiceAccount(), TrustDomain: mesh.TrustDomain, Weight: max(1, we.GetWeight()),
		TLSMode:           tlsModeOf(we.GetServiceAccount(), labels),
		Network:           firstOf(we.GetNetwork(), labels[model.LabelNetwork], mesh.Network),
		Cluster:           firstOf(labels[model.LabelCluster], mesh.Cluster),
		Locality:          model.ParseLocality(locality),
		Name:              name,
		CanonicalName:     firstOf(labels[labelCanonicalName], labels[labelKubernetesName], labels["app"], name),
		CanonicalRevision: firstOf(labels[labelCanonicalRevision], labels[labelKubernetesVersion], labels["version"], "latest"),
	}
}

// tlsModeOf is the mode written in the labels; without that a workload that has an identity has a proxy.
func tlsModeOf(serviceAccount string, labels map[string]string) string {
	if mode, ok := labels[labelTLSMode]; ok {
		return mode
	}
	if serviceAccount != "" {
		return model.TLSModeIstio
	}
	return model.TLSModeDisabled
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// overlayLabels returns low with the entries of high put over it, without a copy where one of them is empty.
func overlayLabels(low, high map[string]string) map[string]string {
	if len(low) == 0 {
		return high
	}
	if len(high) == 0 {
		return low
	}
	out := make(map[string]string, len(low)+len(high))
	for k, v := range low {
		out[k] = v
	}
	for k, v := range high {
		out[k] = v
	}
	return out
}
