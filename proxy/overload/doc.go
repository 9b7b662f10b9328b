// Package overload watches what the process may run out of, and says what to do about it before anything breaks:
// Envoy's overload manager, with file descriptors as one more resource.
//
// Called by app/dataplane, which runs a Manager; proxy/listen and proxy/hcm ask its State.
//
// Goroutines: Run reads the resources until its context ends; step, which decides, is pure. A State may be asked by
// anybody at any time, and costs an atomic load.
//
// May import: nothing of ours.
package overload
