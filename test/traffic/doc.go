// Package traffic sends requests through a proxy without pause and counts what becomes of each, for tests in which none
// may fail while the proxy is drained, restarted, reconfigured or overloaded.
//
// Who calls it: tests and programs below test/. Goroutines: one per worker, all ended when Stop returns.
//
// May import: nothing of ours.
package traffic
