// Package derive keeps collections that are functions of other collections. A Source is changed from outside; Map, MapMany,
// Join and Groups declare what follows from it; a batch of changes recomputes exactly what read something that changed, in
// one pass, and tells subscribers the difference.
//
// It is called by world and by rooms that bring configuration in. It knows nothing of meshes.
//
// Transformations must be pure: stateless, idempotent, and reading other collections only through the Ctx that they are
// given (FetchKey, FetchIndex, FetchWhere, FetchAll), which is how the engine knows what depends on what. They must not keep
// the Ctx. Values are immutable once they are in a collection. Two equal values are one: an update that changes nothing is
// not passed on.
//
// Goroutines: the package starts none. A Graph and its collections belong to whoever holds the Graph's lock: Update takes it
// for the batch, View for reading. Transformations and subscribers are called inside Update, in its caller's goroutine.
//
// May import: nothing of ours.
package derive
