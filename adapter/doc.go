// Package adapter will be behaviour from outside the mesh: adapters in the
// tradition of Mixer, WebAssembly, ext_authz, ext_proc and Lua. It is the only
// room that may import a WebAssembly or Lua runtime.
//
// Who calls it: proxy's filters.
//
// Goroutines: none yet.
//
// May import: wire, policy, identity, telemetry.
package adapter
