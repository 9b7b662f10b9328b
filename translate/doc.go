// Package translate turns what the mesh knows (a world.Snapshot) into the Envoy resources that each proxy is sent.
//
// A View is the restriction of a Snapshot to what one proxy may see: the services and routes that its namespace and
// Sidecar let it call, the ports on which it is called, the policies that select it. Translation reads only the View, and
// equal Views are one value, so a thousand replicas share one xds.State and one copy of the bytes.
//
// A Translator remembers what it made. Every resource is kept under exactly the inputs that it was made of; a new Snapshot
// shares with the old one all values that did not change, so what did not change is found again instead of made again, and
// is the same *xds.Resource. A change of endpoints alone touches nothing but the load assignments of those services.
//
// Called by app, which feeds Snapshots to Advance and asks for the State of each connected proxy.
//
// Goroutines: a first translation of many services is done by several, which have ended when the call returns. All methods of Translator may be called by any number of goroutines; translations
// of different Views run in parallel.
//
// Inside, internal/route, internal/cluster, internal/endpoint, internal/listener, internal/tlsctx and internal/rbac are
// pure functions from values of model to Envoy's protos, one file per feature.
//
// May import: model, world, policy, identity, xds.
package translate
