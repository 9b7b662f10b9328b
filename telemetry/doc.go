// Package telemetry is what the mesh says about itself: metrics, access logs
// and log scopes.
//
// The data plane binds its label sets and compiles its log formats when
// configuration changes; per request it only adds to counters and appends to a
// byte slice. The control plane uses the same families for its own metrics.
//
// Who calls it: proxy (every request and connection), xds, ca and app (control
// plane metrics), and whoever serves /metrics or /stats/prometheus.
//
// Goroutines: counters, series and scopes are safe for concurrent use. A
// FileSink owns one goroutine, ended by Close. Nothing else starts one.
//
// May import: nothing of ours besides lib.
package telemetry
