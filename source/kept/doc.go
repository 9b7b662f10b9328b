// Package kept keeps on disk what a source said last, so that a control plane that
// starts while the source is away begins with that instead of waiting.
//
// Who calls it: app, around sources that are on other machines.
//
// Goroutines: none; a Keeper's Run is its caller's, and ends with its context after
// what was not saved has been.
//
// May import: config, source, lib.
package kept
