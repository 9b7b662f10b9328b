// Package persist has an immutable map: changing it makes a new map that shares all but a path of a few nodes with the old
// one, so that a snapshot of ten thousand entries costs what changed in it.
//
// It is called by world, whose Snapshots are made of such maps.
//
// Goroutines: a Map may be read by any number of goroutines. An Editor belongs to one goroutine and must not be used after
// Map was called.
//
// May import: nothing.
package persist
