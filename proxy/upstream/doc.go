// Package upstream keeps the clusters of a proxy alive: which hosts they have and how these fare, which connections
// are open to them, and what may be opened.
//
// A Cluster is the runtime of one plan.Cluster and hangs in its Runtime field; it outlives plans in which only
// endpoints change. Requests Pick a Host and get an exchange or a bare connection from it. Picking reads an immutable
// view; pools are kept per worker shard, so that a request takes one lock that hardly anybody else wants.
//
// Called by proxy (Set: Prepare, Activate, Run), hcm and tcp (Pick, Exchange, Connect) and admin (statistics).
//
// Goroutines: Set.Run starts one that keeps house (idle connections, ejections, slow start) and one per DNS cluster, HTTP/2
// connection and host with active health checks, and returns when all have ended. Everything else runs in its caller's goroutine.
//
// May import: wire, telemetry, proxy/plan, proxy/transport, proxy/exchange, proxy/h1, proxy/h2, and lb, outlier, check below it.
package upstream
