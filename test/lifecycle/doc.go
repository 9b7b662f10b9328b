// Package lifecycle tests how lateen-proxy begins, ends, is replaced and behaves when it has too much to do: as
// processes, under load, counting the requests that fail.
//
// Who calls it: its tests. Goroutines: none outlive a test.
//
// May import: test/traffic.
package lifecycle
