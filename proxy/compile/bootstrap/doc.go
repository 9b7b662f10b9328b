// Package bootstrap reads an Envoy bootstrap file, YAML or JSON: who this proxy is, its static resources, where the
// admin side listens, and which control plane to ask.
//
// app reads one at start; proxy/state takes its resources. Mistakes are reported with file and line. Nothing here runs
// in goroutines, and values are plain.
//
// May import: proxy/plan.
package bootstrap
