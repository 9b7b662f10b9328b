// Package plan is what the data plane knows: listeners, route configurations, clusters, endpoints, secrets and filters that come by themselves,
// compiled into immutable structs so that a connection or a request costs only pointer steps and comparisons.
//
// proxy/compile makes the pieces from Envoy's resources, proxy/state puts them together and publishes them, and
// everything below (listen, filter, route, upstream, admin) only reads. Names are Envoy's. Every default that Envoy
// documents is already filled in: a reader never asks "and if it is zero?". A zero time.Duration means "no limit".
//
// Resources refer to each other by Ref (ClusterRef, RouteConfigRef, SecretRef, ExtensionRef), never by pointer, so that replacing a
// cluster leaves the routes to it as they are. A Ref is resolved against the plan that is current at that moment:
//
//	p := current.Load()          // once per request
//	c := p.Cluster(action.Cluster) // nil when the cluster doesn't exist (any more)
//
// A connection may keep the Listener and FilterChain it was accepted on for as long as it lives, and resolves Refs
// held in them against newer plans; a Ref never comes to mean another resource.
//
// Unchanged means the same pointer: a resource that an update did not touch is the same *Listener, *Cluster,
// *Endpoints, *RouteConfig or *Secret in the next plan. The fields called Runtime are the engine's own: it sets them in
// Engine.Prepare, before a plan is published, only where they are nil, and they travel with the resource from plan
// to plan. A changed cluster is a new *Cluster with a nil Runtime; find its predecessor by name in the plan before.
//
// Goroutines: everything reachable from a published Plan is read-only and may be shared freely.
//
// May import: telemetry, wire, and the leaves proxy/upstream/lb and proxy/upstream/outlier.
package plan
