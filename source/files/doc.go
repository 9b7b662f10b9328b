// Package files is the Source that reads a directory tree of YAML and JSON and
// follows its changes on disk.
//
// Tree is the pure part: contents of files in, changes of objects out, with the
// last good version of an object kept while its document is broken. Source adds
// the disk: it watches the tree, re-reads what changed and emits batches.
// Package store builds on it.
//
// Goroutines: Source.Run works in its caller's goroutine; everything it starts
// ends before Run returns. Put and the reading methods may be called from any
// goroutine.
//
// May import: config, source (besides lib).
package files
