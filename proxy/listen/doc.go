// Package listen accepts connections: it opens the plan's listeners, or takes sockets that it is given, finds out
// where each connection meant to go and what it speaks, chooses the filter chain, makes the TLS handshake, and hands
// the result, an Accepted, on.
//
// Called by proxy, which gives it plans (Activate) and a function that serves an Accepted.
//
// Goroutines: one per socket that accepts, one per connection, which serves it to its end. Shutdown waits for all of
// them. A panic in serving a connection ends that connection only, and is reported.
//
// May import: wire, telemetry, lib, proxy/plan, proxy/overload.
package listen
