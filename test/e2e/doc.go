// Package e2e holds the tests that use the binary as people do: they start
// control planes, workloads and the demo as processes, as root and as an
// ordinary user, and look at what comes out.
//
// Who calls it: its own tests. Each test starts a mesh of its own, on free
// ports and in a directory of its own, and ends every process that it started.
// The programs in the mesh are test/e2e/peer.
//
// Goroutines: none besides the tests' own.
//
// May import: test/e2e/line; it knows the commands and what they print.
package e2e
