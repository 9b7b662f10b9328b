// Package admin is the proxy's admin side: Envoy's paths and shapes (/config_dump, /clusters, /listeners, /stats,
// /server_info, /ready, /logging, /certs, /drain_listeners, /quitquitquit), so that istioctl, Kiali and the like work,
// /explain, which answers where one request would go and why, and Go's /debug/pprof/profile.
//
// app builds a Handler and serves it on a loopback address or a unix socket. It reads the plan in force, the store's
// snapshots and counters; it never takes a lock of the data path. A bounded number of requests run at a time, and
// Serve's goroutines end with its context.
//
// May import: xds, proxy/plan, proxy/route, proxy/state, wire.
package admin
