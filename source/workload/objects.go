package workload

import (
	"maps"
	"strconv"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
)

// Labels and annotations of Istio's that entries carry.
const (
	labelTLSMode       = "security.istio.io/tlsMode"
	annotationGroup    = "istio.io/autoRegistrationGroup"
	annotationSince    = "istio.io/connectedAt"
	annotationOwner    = "istio.io/workloadController"
	workloadController = "lateen"
)

// objectsOf returns the configuration that registrations stand for: an entry
// for each that is ready, and a Service for every service, ready or not, so
// that names resolve while a program starts.
func objectsOf(all []Registration) map[config.Key]*config.Object {
	objects := map[config.Key]*config.Object{}
	for i := range all {
		reg := &all[i]
		if reg.Gateway {
			continue
		}
		if reg.Ready {
			o := entryObject(reg)
			objects[o.Key] = o
		}
		o := serviceObject(reg)
		if first := objects[o.Key]; first == nil || o.Created.Before(first.Created) {
			objects[o.Key] = o
		}
	}
	return objects
}

// labelsOf are the labels by which services and subsets choose the workload.
func labelsOf(reg *Registration) map[string]string {
	labels := map[string]string{"app": reg.Service}
	if reg.Version != "" {
		labels["version"] = reg.Version
	}
	maps.Copy(labels, reg.Labels)
	return labels
}

func entryObject(reg *Registration) *config.Object {
	labels := labelsOf(reg)
	labels[labelTLSMode] = "istio"
	ports := map[string]uint32{}
	for _, p := range reg.Ports {
		if p.Bound != 0 && p.Bound != p.Number {
			// A user's Service may call the port as it likes: it is found by number too.
			ports[portName(p)] = uint32(p.Bound)
			ports[strconv.Itoa(int(p.Number))] = uint32(p.Bound)
		}
	}
	annotations := map[string]string{annotationGroup: reg.group(), annotationOwner: workloadController}
	if !reg.Connected.IsZero() {
		annotations[annotationSince] = reg.Connected.UTC().Format(time.RFC3339Nano)
	}
	return &config.Object{
		Key:    config.Key{Kind: config.WorkloadEntry, Namespace: reg.Namespace, Name: reg.Name},
		Labels: labels, Annotations: annotations, Created: reg.Created, Generation: 1,
		Spec: &networking.WorkloadEntry{
			Address: reg.Address.String(), Labels: labels, Ports: ports, ServiceAccount: reg.ServiceAccount, Locality: reg.Locality,
		},
		Origin: config.Origin{Source: Name},
	}
}

// serviceObject is the Service that a program gets if nobody wrote one: a
// written one has precedence.
func serviceObject(reg *Registration) *config.Object {
	spec := &config.ServiceSpec{Selector: map[string]string{"app": reg.Service}}
	for _, p := range reg.Ports {
		spec.Ports = append(spec.Ports, config.ServicePort{Name: portName(p), Port: int32(p.Number)})
	}
	return &config.Object{
		Key:    config.Key{Kind: config.Service, Namespace: reg.Namespace, Name: reg.Service},
		Labels: map[string]string{"app": reg.Service}, Created: reg.Created, Generation: 1, Spec: spec,
		Origin: config.Origin{Source: Name},
	}
}

// portName is the port's name; one without is HTTP, as nearly all are.
func portName(p Port) string {
	if p.Name == "" {
		return "http"
	}
	return p.Name
}
