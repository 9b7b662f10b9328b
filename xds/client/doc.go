// Package client subscribes to an xDS server's aggregated discovery service,
// delta or state-of-the-world, hands what changed to a Handler, and answers
// with an ACK, or a NACK that names the resource and the reason.
//
// The client survives its server: when the stream breaks it keeps what it has,
// reconnects with bounded, jittered delays, and tells the new stream what it
// already holds, so that only differences travel.
//
// Called by app for the proxy's configuration (the Handler is proxy/state), and
// by cli for looking at a control plane.
//
// Run occupies one goroutine and starts one more for reading; both have ended
// when Run returns. The Handler is called from Run's goroutine, one update at a
// time. Subscribe, Unsubscribe and Status may be called from any goroutine,
// from inside the Handler too.
//
// May import: xds, lib/backoff.
package client
