package store

// HashOf is for tests of what a crash leaves.
var HashOf = hashOf
