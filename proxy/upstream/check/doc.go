// Package check makes active health checks: over HTTP, TCP and gRPC, as a cluster's health_checks say.
//
// State is the pure part: results in, health and the time of the next check out. A Checker makes one check at a time.
//
// Called by proxy/upstream, which has a goroutine for each host that is checked. Goroutines: those of the connection that
// a Checker keeps, which end with Close.
//
// May import: proxy/plan.
package check
