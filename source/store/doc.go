// Package store is the control plane's own configuration on one machine: a
// directory of YAML that people may edit, with apply and delete, a log of every
// change, and a lock that keeps a second control plane out.
//
// It is called by app; api serves it to the command line.
//
// Goroutines: Run works in its caller's goroutine, has another one that writes
// the log, and ends what it starts. All
// other methods may be called from any goroutine; writing is serialised.
//
// May import: config, source (besides lib).
package store
