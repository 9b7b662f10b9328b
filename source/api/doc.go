// Package api is the control plane's local HTTP API for the command line: its
// messages, the handler that serves them and the client that asks for them.
//
// The handler is served by app on a unix socket that only its owner may open;
// the client is called by cli. Errors travel as JSON with the list of problems.
//
// Goroutines: the package starts none of its own. Handler and Client are safe
// for concurrent use.
//
// May import: config, source (besides lib).
package api
