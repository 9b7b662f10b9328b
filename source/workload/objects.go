package workload

import (
	"cmp"
	"maps"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
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
// that names resolve while a program starts. What serves no port is no service.
func objectsOf(all []Registration, seen *observed) map[config.Key]*config.Object {
	objects := map[config.Key]*config.Object{}
	for i := range all {
		reg := &all[i]
		if reg.Gateway {
			continue
		}
		if reg.Ready {
			o := entryObject(reg, seen.group(reg))
			objects[o.Key] = o
		}
		if len(reg.Ports) == 0 || seen.claimed(reg) {
			continue
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
	labels := map[string]string{}
	if reg.Service != "" {
		labels["app"] = reg.Service
	}
	if reg.Version != "" {
		labels["version"] = reg.Version
	}
	maps.Copy(labels, reg.Labels)
	return labels
}

// entryObject is the entry of a registration. What a WorkloadGroup's template
// says holds where the registration says nothing; labels of both count.
func entryObject(reg *Registration, group *config.Object) *config.Object {
	spec := &networking.WorkloadEntry{}
	labels, annotations := map[string]string{}, map[string]string{}
	if wg := config.As[*networking.WorkloadGroup](groupOf(group)); wg != nil {
		if wg.Template != nil {
			spec = proto.Clone(wg.Template).(*networking.WorkloadEntry)
		}
		maps.Copy(labels, wg.GetMetadata().GetLabels())
		maps.Copy(labels, spec.Labels)
		maps.Copy(annotations, wg.GetMetadata().GetAnnotations())
	}
	maps.Copy(labels, labelsOf(reg))
	labels[labelTLSMode] = "istio"
	annotations[annotationGroup], annotations[annotationOwner] = reg.group(), workloadController
	if !reg.Connected.IsZero() {
		annotations[annotationSince] = reg.Connected.UTC().Format(time.RFC3339Nano)
	}
	if spec.Ports == nil {
		spec.Ports = map[string]uint32{}
	}
	for _, p := range namedPorts(reg.Ports) {
		if p.Bound != 0 && p.Bound != p.Number {
			// A user's Service may call the port as it likes: it is found by number too.
			spec.Ports[p.Name] = uint32(p.Bound)
			spec.Ports[strconv.Itoa(int(p.Number))] = uint32(p.Bound)
		}
	}
	spec.Address, spec.Labels = reg.Address.String(), labels
	spec.ServiceAccount = cmp.Or(reg.ServiceAccount, spec.ServiceAccount)
	spec.Locality, spec.Network = cmp.Or(reg.Locality, spec.Locality), cmp.Or(reg.Network, spec.Network)
	return versioned(&config.Object{
		Key:    config.Key{Kind: config.WorkloadEntry, Namespace: reg.Namespace, Name: reg.Name},
		Labels: labels, Annotations: annotations, Created: reg.Created, Spec: spec, Origin: config.Origin{Source: Name},
	})
}

// groupOf lets an absent group be asked for its spec.
func groupOf(o *config.Object) *config.Object {
	if o == nil {
		return &config.Object{}
	}
	return o
}

// versioned completes an object that is new each time it changes.
func versioned(o *config.Object) *config.Object {
	o.Generation, o.ResourceVersion = 1, o.ContentHash()
	return o
}

// serviceObject is the Service that a program gets if nobody wrote one: a
// written one has precedence.
func serviceObject(reg *Registration) *config.Object {
	spec := &config.ServiceSpec{Selector: map[string]string{"app": reg.Service}}
	for _, p := range namedPorts(reg.Ports) {
		spec.Ports = append(spec.Ports, config.ServicePort{Name: p.Name, Port: int32(p.Number)})
	}
	return versioned(&config.Object{
		Key:    config.Key{Kind: config.Service, Namespace: reg.Namespace, Name: reg.Service},
		Labels: map[string]string{"app": reg.Service}, Created: reg.Created, Spec: spec, Origin: config.Origin{Source: Name},
	})
}

// namedPorts gives every port a name of its own, as a Service needs: one
// without is HTTP, as nearly all are, and one whose name is taken gets its
// number, which leaves the protocol as it is.
func namedPorts(ports []Port) []Port {
	named := make([]Port, 0, len(ports))
	taken := map[string]bool{}
	for _, p := range ports {
		p.Name = cmp.Or(p.Name, "http")
		if taken[p.Name] {
			protocol, _, _ := strings.Cut(p.Name, "-")
			p.Name = protocol + "-" + strconv.Itoa(int(p.Number))
		}
		taken[p.Name] = true
		named = append(named, p)
	}
	return named
}
