// Package model holds the nouns of the mesh: services, endpoints, workloads, routes, policies, gateways, proxies. They are
// what package world derives from configuration, and what package translate turns into Envoy resources.
//
// Everything here is a plain value. A value reachable from a *world.Snapshot is immutable: nobody writes to it, its maps,
// its slices or the messages it points to after it was published, so any number of goroutines may read it without locks.
// Functions of this package are pure and start no goroutines.
//
// May import: config, identity.
package model
