// Package compile turns Envoy's resources into the plan's structs. Protos stop here. There is one file per kind:
// listener, chain, hcm, the filters, route, cluster, endpoints, tls, secret.
//
// A resource is compiled as a whole or refused with an error that names the field. What this proxy doesn't know and
// what would change behaviour if it were left out is an error, not a silence: every message is checked against the list
// of fields that are handled, or known to make no difference here. Filters that say is_optional are left out instead.
//
// proxy/state calls it, from the one goroutine that writes the state. A Compiler is not safe for concurrent use,
// because of the names it hands out; everything it returns is.
//
// May import: proxy/plan, telemetry, wire.
package compile
