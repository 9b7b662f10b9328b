// Package validation judges single objects: the rules that a kind's schema
// can't express. What needs other objects to judge is in package analysis.
//
// It is called by source (before anything becomes live or is written), by kube
// (as a webhook) and by cli (analyze). All functions are pure; the package
// starts no goroutines.
//
// May import: config (besides lib).
package validation

import (
	extensions "istio.io/api/extensions/v1alpha1"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"lateen.dev/lateen/config"
)

// Validate returns every complaint about an object. The object is unusable if
// one of them is an Error.
func Validate(o *config.Object) config.Problems {
	c := &checker{object: o}
	c.metadata()
	switch s := o.Spec.(type) {
	case *networking.VirtualService:
		c.virtualService(s)
	case *networking.DestinationRule:
		c.destinationRule(s)
	case *networking.Gateway:
		c.gateway(s)
	case *networking.ServiceEntry:
		c.serviceEntry(s)
	case *networking.Sidecar:
		c.sidecar(s)
	case *networking.WorkloadEntry:
		c.workloadEntry(field("spec"), s, true)
	case *networking.WorkloadGroup:
		c.workloadGroup(s)
	case *networking.EnvoyFilter:
		c.envoyFilter(s)
	case *networkingv1beta1.ProxyConfig:
		c.proxyConfig(s)
	case *security.PeerAuthentication:
		c.peerAuthentication(s)
	case *security.RequestAuthentication:
		c.requestAuthentication(s)
	case *security.AuthorizationPolicy:
		c.authorizationPolicy(s)
	case *telemetry.Telemetry:
		c.telemetry(s)
	case *extensions.WasmPlugin:
		c.wasmPlugin(s)
	case *extensions.TrafficExtension:
		c.trafficExtension(s)
	case *config.ServiceSpec:
		c.service(s)
	case *config.MeshConfigSpec:
		c.meshConfigSpec(s)
	}
	return c.problems.Sorted()
}

// Mesh returns every complaint about a complete MeshConfig, as given by flags
// or as the result of merging.
func Mesh(m *meshconfig.MeshConfig) config.Problems {
	c := &checker{object: &config.Object{Key: config.Key{
		Kind: config.MeshConfig, Namespace: config.MeshConfigNamespace, Name: config.MeshConfigName,
	}}}
	c.meshConfig(field("spec"), m)
	return c.problems.Sorted()
}
