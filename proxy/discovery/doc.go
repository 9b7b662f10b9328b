// Package discovery asks for the resources that a bootstrap says are to come: the aggregated service of a static
// cluster's, services of one type each, and files.
//
// Called by app/dataplane for a proxy with a bootstrap file. What arrives goes to a Handler, which is proxy/state, and
// proxy/state says by Subscriber which resources it needs from where.
//
// A server that is away, and a file that is broken, change nothing: what has come before stays in use, and each is tried
// again.
//
// Goroutines: Run starts one for each service and one for the files, and returns when they have ended. The Handler is
// called from all of them. Subscribers may be used from any goroutine, before Run, too.
//
// May import: xds, proxy/bootstrap, proxy/plan, lib.
package discovery
