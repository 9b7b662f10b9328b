// Package consultest is an HTTP server that speaks the part of Consul's API that
// the mesh asks for and that people register services with: the catalog and
// health with blocking queries, their headers and indexes, ACL tokens and
// datacenters; registering, deregistering and check states at the agent. What
// it keeps is in memory.
//
// It is called by tests, those of the documentation included.
//
// Goroutines: none of its own; Server is safe for concurrent use.
//
// May import: nothing of ours.
package consultest
