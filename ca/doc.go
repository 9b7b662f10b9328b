// Package ca is the certificate authority: it issues workload certificates for
// identities that have been proven by a token or by the certificate in force,
// serves Istio's certificate service, and makes the control plane's own serving
// certificate. Its Authenticator also tells the discovery server who stands at
// the other end of a stream.
//
// Called by app, in the control plane only.
//
// All types are safe for concurrent use. The package starts no goroutines.
//
// May import: identity, telemetry, lib/atomicfile.
package ca
