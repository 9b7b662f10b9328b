package model

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	proxyconfig "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"lateen.dev/lateen/config"
)

// TargetRef names the object that a policy is attached to.
type TargetRef struct {
	Group, Kind, Namespace, Name string
}

// Scoped is an object that applies to workloads chosen by its namespace and selector: to the whole mesh if it stands in the
// root namespace, else to its namespace; within that, to workloads with the selector's labels.
type Scoped[S proto.Message] struct {
	Config       config.Key
	Origin       config.Origin
	CreationTime time.Time
	Namespace    string
	// Selector is nil where none was written.
	Selector   map[string]string
	TargetRefs []TargetRef
	// Annotations are the object's own, for those policies that have behaviour in them (istio.io/dry-run).
	Annotations map[string]string
	Spec        S
}

// The kinds that are carried as they are.
type (
	AuthorizationPolicy   = Scoped[*security.AuthorizationPolicy]
	RequestAuthentication = Scoped[*security.RequestAuthentication]
	PeerAuthentication    = Scoped[*security.PeerAuthentication]
	Telemetry             = Scoped[*telemetry.Telemetry]
	EnvoyFilter           = Scoped[*networking.EnvoyFilter]
	ProxyConfig           = Scoped[*proxyconfig.ProxyConfig]
	WasmPlugin            = Scoped[*extensions.WasmPlugin]
)

// Selects reports whether the selector takes in a workload with these labels. Objects attached by targetRefs are not
// chosen by labels.
func (s *Scoped[S]) Selects(labels map[string]string) bool {
	return len(s.TargetRefs) == 0 && SubsetOf(s.Selector, labels)
}

// CompareAge orders objects by age, name and namespace.
func (s *Scoped[S]) CompareAge(o *Scoped[S]) int {
	return CompareAge(s.CreationTime, s.Config, o.CreationTime, o.Config)
}

// Equal reports whether both say the same.
func (s *Scoped[S]) Equal(o *Scoped[S]) bool {
	if s == o {
		return true
	}
	if s == nil || o == nil {
		return false
	}
	return s.Config == o.Config && samePlace(s.Origin, o.Origin) && s.CreationTime.Equal(o.CreationTime) &&
		(s.Selector == nil) == (o.Selector == nil) && maps.Equal(s.Selector, o.Selector) &&
		slices.Equal(s.TargetRefs, o.TargetRefs) && maps.Equal(s.Annotations, o.Annotations) && proto.Equal(s.Spec, o.Spec)
}
