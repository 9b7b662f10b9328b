// Package state is the single writer of the plan. It takes resources (from the bootstrap, from xDS updates, and secrets
// from the identity's holder), compiles them, holds them back until what they refer to has arrived, and publishes one
// plan after another.
//
// A listener or cluster goes live when its route configurations, endpoints and secrets have arrived once, were said not
// to exist, or their initial_fetch_timeout has passed; until then the version before stays. A resource that can't be
// compiled is refused by name; its last good version stays, too. Virtual hosts that come by themselves (VHDS) are put into
// their route configuration's table one by one; the table is not made anew for them. What is no longer referred to is
// unsubscribed from.
//
// app makes one Store per proxy and gives it to the xDS client as its handler; the engine is told of each plan; admin
// reads Snapshot. Writers may come from any goroutine and are put in line by one lock, which is held while the engine
// prepares and activates; nothing on the data path takes it. Run is the only goroutine: it watches fetch timeouts.
//
// May import: xds, proxy/plan, proxy/compile.
package state
