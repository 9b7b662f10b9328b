// Package identity is who a workload is and how it proves it: SPIFFE ids, the
// trust Bundle that others are checked against, the Holder of the current key,
// certificate and roots, the Rotator that renews them in time, and the Client
// of the certificate authority's signing service.
//
// Called by both planes: app starts a Holder and Rotator for each role, wire
// takes certificates and roots from the Holder for each handshake, ca and policy
// use ids and bundles.
//
// IDs, Bundles and Materials are immutable. A Holder may be used by any number
// of goroutines: readers never wait. Rotator.Run occupies its caller's
// goroutine and starts none.
//
// May import: telemetry, lib/backoff.
package identity
