// Package world turns configuration objects into what the mesh knows: services, endpoints, routes, policies and gateways,
// held in a *Snapshot that is immutable, indexed and shares with the one before it all that did not change.
//
// Sources feed a World through Apply. Package translate reads its Snapshots, and learns through a Subscription what changed
// between the one it had and the one it gets.
//
// Goroutines: the package starts none. Apply works in its caller's goroutine, one batch at a time; Snapshot and everything
// reachable from it may be read by any number of goroutines at any time.
//
// May import: config, derive, model, policy.
package world
