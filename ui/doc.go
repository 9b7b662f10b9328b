// Package ui will be the dashboard: its JSON view of the mesh, and the
// embedded web application.
//
// Who calls it: app's control plane role.
//
// Goroutines: none yet.
//
// May import: model, world, telemetry.
package ui
