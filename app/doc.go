// Package app has one file per role: it builds the parts of the control
// plane, a sidecar, a gateway, a workload or the whole demo, and orders their
// start and stop. It decides nothing that a room could decide.
//
// Who calls it: cmd/lateen and cmd/lateen-proxy, after they have parsed the
// command line. It is the only place that reads the environment.
//
// Goroutines: every role's Run function returns only when all that it started
// has ended. Cancelling its context is how a role is asked to stop.
//
// May import: all rooms.
package app
