// Package workload is the source of configuration that running programs make:
// each program registered with the control plane is a WorkloadEntry while it
// is ready, and its service exists even if nobody wrote it down.
//
// Who calls it: app, for the local API and for the discovery server's coming
// and going of proxies.
//
// Goroutines: Registry.Run works in its caller's goroutine; every other method
// may be called from any. What is registered is on disk before a method
// returns, so that a control plane that was killed serves the same endpoints
// when it is back.
//
// May import: config, source, lib.
package workload
