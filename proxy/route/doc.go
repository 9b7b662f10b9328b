// Package route decides what happens to a request: which virtual host and route take it, which cluster it goes to, and
// what path and authority it goes there with. It is pure: request head, connection facts, route configuration and
// random bits in, Decision out. proxy/hcm executes the Decision; admin's explain asks the same function with a Trace.
//
// Decide allocates nothing on the forward path without regex rewrites, and takes no lock. Functions may be called by any
// goroutine; a Decision belongs to its caller, who reuses it.
//
// May import: proxy/plan, wire.
package route
