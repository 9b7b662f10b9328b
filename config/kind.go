package config

import (
	"fmt"
	"slices"
	"strings"

	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
)

// Kind names one kind of configuration object that the mesh reads. It is a
// small comparable value, fit for map keys; its properties come from a table.
// The zero Kind is "unknown".
type Kind uint8

// The kinds the mesh reads. The comment gives the type of Object.Spec.
const (
	UnknownKind           Kind = iota
	VirtualService             // *networking.VirtualService
	DestinationRule            // *networking.DestinationRule
	Gateway                    // *networking.Gateway
	ServiceEntry               // *networking.ServiceEntry
	Sidecar                    // *networking.Sidecar
	WorkloadEntry              // *networking.WorkloadEntry
	WorkloadGroup              // *networking.WorkloadGroup
	EnvoyFilter                // *networking.EnvoyFilter
	ProxyConfig                // *networking/v1beta1.ProxyConfig
	PeerAuthentication         // *security.PeerAuthentication
	RequestAuthentication      // *security.RequestAuthentication
	AuthorizationPolicy        // *security.AuthorizationPolicy
	Telemetry                  // *telemetry.Telemetry
	WasmPlugin                 // *extensions.WasmPlugin
	TrafficExtension           // *extensions.TrafficExtension
	Service                    // *config.ServiceSpec
	Namespace                  // *config.NamespaceSpec
	MeshConfig                 // *config.MeshConfigSpec: what the user wrote; config/mesh puts it over the defaults
	kindCount
)

// schema is what the table knows about a kind. Version is the one we store and
// print; aliases are other versions that decode into the same type.
type schema struct {
	name, group, version string
	aliases              []string
	plural               string
	shortNames           []string
	clusterScoped        bool
	newSpec              func() any
}

// schemas is the table of kinds. It is written here once and only read.
var schemas = [kindCount]schema{
	VirtualService: {
		name: "VirtualService", group: "networking.istio.io", version: "v1", aliases: []string{"v1beta1", "v1alpha3"},
		plural: "virtualservices", shortNames: []string{"vs"}, newSpec: spec[networking.VirtualService],
	},
	DestinationRule: {
		name: "DestinationRule", group: "networking.istio.io", version: "v1", aliases: []string{"v1beta1", "v1alpha3"},
		plural: "destinationrules", shortNames: []string{"dr"}, newSpec: spec[networking.DestinationRule],
	},
	Gateway: {
		name: "Gateway", group: "networking.istio.io", version: "v1", aliases: []string{"v1beta1", "v1alpha3"},
		plural: "gateways", shortNames: []string{"gw"}, newSpec: spec[networking.Gateway],
	},
	ServiceEntry: {
		name: "ServiceEntry", group: "networking.istio.io", version: "v1", aliases: []string{"v1beta1", "v1alpha3"},
		plural: "serviceentries", shortNames: []string{"se"}, newSpec: spec[networking.ServiceEntry],
	},
	Sidecar: {
		name: "Sidecar", group: "networking.istio.io", version: "v1", aliases: []string{"v1beta1", "v1alpha3"},
		plural: "sidecars", newSpec: spec[networking.Sidecar],
	},
	WorkloadEntry: {
		name: "WorkloadEntry", group: "networking.istio.io", version: "v1", aliases: []string{"v1beta1", "v1alpha3"},
		plural: "workloadentries", shortNames: []string{"we"}, newSpec: spec[networking.WorkloadEntry],
	},
	WorkloadGroup: {
		name: "WorkloadGroup", group: "networking.istio.io", version: "v1", aliases: []string{"v1beta1", "v1alpha3"},
		plural: "workloadgroups", shortNames: []string{"wg"}, newSpec: spec[networking.WorkloadGroup],
	},
	EnvoyFilter: {
		name: "EnvoyFilter", group: "networking.istio.io", version: "v1alpha3",
		plural: "envoyfilters", newSpec: spec[networking.EnvoyFilter],
	},
	ProxyConfig: {
		name: "ProxyConfig", group: "networking.istio.io", version: "v1beta1",
		plural: "proxyconfigs", newSpec: spec[networkingv1beta1.ProxyConfig],
	},
	PeerAuthentication: {
		name: "PeerAuthentication", group: "security.istio.io", version: "v1", aliases: []string{"v1beta1"},
		plural: "peerauthentications", shortNames: []string{"pa"}, newSpec: spec[security.PeerAuthentication],
	},
	RequestAuthentication: {
		name: "RequestAuthentication", group: "security.istio.io", version: "v1", aliases: []string{"v1beta1"},
		plural: "requestauthentications", shortNames: []string{"ra"}, newSpec: spec[security.RequestAuthentication],
	},
	AuthorizationPolicy: {
		name: "AuthorizationPolicy", group: "security.istio.io", version: "v1", aliases: []string{"v1beta1"},
		plural: "authorizationpolicies", shortNames: []string{"ap"}, newSpec: spec[security.AuthorizationPolicy],
	},
	Telemetry: {
		name: "Telemetry", group: "telemetry.istio.io", version: "v1", aliases: []string{"v1alpha1"},
		plural: "telemetries", shortNames: []string{"telemetry"}, newSpec: spec[telemetry.Telemetry],
	},
	WasmPlugin: {
		name: "WasmPlugin", group: "extensions.istio.io", version: "v1alpha1",
		plural: "wasmplugins", newSpec: spec[extensions.WasmPlugin],
	},
	TrafficExtension: {
		name: "TrafficExtension", group: "extensions.istio.io", version: "v1alpha1",
		plural: "trafficextensions", newSpec: spec[extensions.TrafficExtension],
	},
	Service: {
		name: "Service", version: "v1",
		plural: "services", shortNames: []string{"svc"}, newSpec: spec[ServiceSpec],
	},
	Namespace: {
		name: "Namespace", version: "v1",
		plural: "namespaces", shortNames: []string{"ns"}, clusterScoped: true, newSpec: spec[NamespaceSpec],
	},
	MeshConfig: {
		name: "MeshConfig", group: "mesh.istio.io", version: "v1alpha1",
		plural: "meshconfigs", newSpec: spec[MeshConfigSpec],
	},
}

func spec[T any]() any { return new(T) }

func (k Kind) schema() *schema {
	if k >= kindCount {
		k = UnknownKind
	}
	return &schemas[k]
}

// String is the kind's name as written after "kind:".
func (k Kind) String() string {
	if k == UnknownKind || k >= kindCount {
		return "Unknown"
	}
	return schemas[k].name
}

// Group is the API group, "" for Kubernetes' core group.
func (k Kind) Group() string { return k.schema().group }

// Version is the version in which objects of the kind are stored and printed.
func (k Kind) Version() string { return k.schema().version }

// APIVersion is the value of the apiVersion field in the stored version.
func (k Kind) APIVersion() string {
	s := k.schema()
	if s.group == "" {
		return s.version
	}
	return s.group + "/" + s.version
}

// Plural is the lower-case plural name, as in URLs and on command lines.
func (k Kind) Plural() string { return k.schema().plural }

// ShortNames are further names accepted on command lines.
func (k Kind) ShortNames() []string { return slices.Clone(k.schema().shortNames) }

// ClusterScoped says that objects of the kind have no namespace.
func (k Kind) ClusterScoped() bool { return k.schema().clusterScoped }

// NewSpec returns a new empty spec of the kind's type, nil for UnknownKind.
func (k Kind) NewSpec() any {
	if f := k.schema().newSpec; f != nil {
		return f()
	}
	return nil
}

// Serves says whether version is the kind's version or one of its aliases.
func (k Kind) Serves(version string) bool {
	s := k.schema()
	return s.version == version || slices.Contains(s.aliases, version)
}

// Versions are the kind's version and its aliases.
func (k Kind) Versions() []string {
	s := k.schema()
	return append([]string{s.version}, s.aliases...)
}

// MarshalText gives "VirtualService.networking.istio.io", or "Service" for core kinds.
func (k Kind) MarshalText() ([]byte, error) {
	s := k.schema()
	if s.group == "" {
		return []byte(k.String()), nil
	}
	return []byte(s.name + "." + s.group), nil
}

// UnmarshalText reads what MarshalText wrote, and any name ParseKind accepts.
func (k *Kind) UnmarshalText(text []byte) error {
	kind, ok := ParseKind(string(text))
	if !ok {
		return fmt.Errorf("unknown kind %q", text)
	}
	*k = kind
	return nil
}

// Kinds lists every kind, in the table's order.
func Kinds() []Kind {
	kinds := make([]Kind, 0, kindCount-1)
	for k := UnknownKind + 1; k < kindCount; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// LookupKind finds the kind of an apiVersion's group and a kind name as they
// stand in a document, whatever the version.
func LookupKind(group, name string) (Kind, bool) {
	for k := UnknownKind + 1; k < kindCount; k++ {
		if schemas[k].name == name && schemas[k].group == group {
			return k, true
		}
	}
	return UnknownKind, false
}

// ParseKind finds a kind by any name a user may type: kind, plural, singular or
// short name in any case, each optionally followed by ".group".
func ParseKind(name string) (Kind, bool) {
	name = strings.ToLower(name)
	name, group, qualified := strings.Cut(name, ".")
	for k := UnknownKind + 1; k < kindCount; k++ {
		s := &schemas[k]
		if qualified && s.group != group {
			continue
		}
		if name == strings.ToLower(s.name) || name == s.plural || slices.Contains(s.shortNames, name) {
			return k, true
		}
	}
	return UnknownKind, false
}

// IgnoredKind says whether a document of this group and kind is well known but
// has no meaning for the mesh without Kubernetes (a Deployment, say): it is
// accepted with an information line, so that public samples apply unchanged.
func IgnoredKind(group, name string) bool {
	switch group {
	case "":
		switch name {
		case "ServiceAccount", "ConfigMap", "Secret", "Pod", "Endpoints", "PersistentVolumeClaim", "PersistentVolume",
			"ResourceQuota", "LimitRange", "ReplicationController", "Node", "Event":
			return true
		}
	case "apps", "batch", "autoscaling", "policy", "rbac.authorization.k8s.io", "networking.k8s.io",
		"discovery.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io", "install.istio.io",
		"gateway.networking.k8s.io", "storage.k8s.io", "coordination.k8s.io", "scheduling.k8s.io":
		return true
	}
	return false
}
