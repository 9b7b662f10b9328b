// Package mcp carries configuration between control planes as Istio does, the
// mesh configuration protocol over xDS: each kind is a resource type such as
// networking.istio.io/v1/VirtualService, each object an
// istio.mcp.v1alpha1.Resource named NAMESPACE/NAME, over the aggregated
// discovery service, delta or state-of-the-world.
//
// Client is the Source that reads from another control plane, istiod's or ours.
// Server is the other end: it tells clients what this control plane's own
// sources hold.
//
// It is called by app, for MeshConfig.configSources and for the discovery
// server's clients that ask for configuration.
//
// Goroutines: Client.Run works in its caller's goroutine and waits for the end
// of the one that it starts. Server starts none; all other methods of both may
// be called from any goroutine.
//
// May import: config, source, xds (besides lib).
package mcp
