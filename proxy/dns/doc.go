// Package dns is the DNS proxy: it answers for the names of the mesh from an
// immutable table and passes every other question to the machine's resolvers.
//
// A name in the table is answered by the table alone: the types of address it
// has, and an empty answer for everything else (NODATA, so that a client that
// asks AAAA of an IPv4 service goes on to A instead of giving up). Zones that
// belong to the mesh are closed: what is not in the table doesn't exist. Short
// names work as in a pod, without a resolv.conf that says so: reviews,
// reviews.default, reviews.default.svc, and any of them followed by one of the
// machine's search domains, because a resolver library tries those first.
//
// Who calls it: app (lateen run, sidecars with DNS capture), which builds
// tables from what the control plane says and hands in the sockets.
//
// Goroutines: Serve runs until its context ends, and waits for every goroutine
// it started. SetTable and SetResolvers may be called at any time, by one
// writer each; queries under way keep the table they began with.
//
// May import: nothing of ours.
package dns
