// Package config holds what the user said: Istio API objects as Go values, the
// table of kinds, keys, decoding of YAML and JSON with positions, and the
// Problem value in which every complaint about configuration travels.
//
// It is called by source and kube (which make Objects), by world (which reads
// them), by cli (apply, get, analyze) and by its own sub-packages validation,
// analysis and mesh.
//
// Goroutines: the package starts none. Objects, Kinds, Keys and Problems are
// immutable values once published and may be shared freely; nobody may change
// a Spec, Labels or Annotations of an Object that has been handed on. Functions
// are safe for concurrent use.
//
// May import: lib.
package config
