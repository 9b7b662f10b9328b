// Package source says where configuration comes from when there is no
// Kubernetes, and holds the contract that all such places keep: Source and
// Sink. Its sub-packages are the places: files (a watched directory tree),
// store (the control plane's own directory, with apply, delete and a change
// log), workload (registered programs), and api (the local HTTP API in front of
// them and its client).
//
// It is called by app, which builds the sources and connects them to world.
//
// Goroutines: a Source runs in the goroutine that calls Run and in none other
// that outlives Run. All other methods are safe for concurrent use.
//
// May import: config, derive (besides lib).
package source
