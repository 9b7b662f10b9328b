// Package cli is the user's commands: apply, get, delete, analyze,
// proxy-status, proxy-config, explain and version. They talk to a control
// plane through its local API, and to a proxy through its admin address; the
// names and flags are istioctl's and kubectl's where those have them.
//
// Who calls it: cmd/lateen, which adds the roles (control, run, proxy, demo).
//
// Goroutines: none of its own. Every command ends when its context does.
//
// May import: config, model, world, policy, kube, xds, identity, source (for
// the local API's client).
package cli
