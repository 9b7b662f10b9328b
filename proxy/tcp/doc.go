// Package tcp serves connections that are forwarded as bytes: it asks the
// network filters whether a connection may pass, chooses a cluster and a host,
// and relays both ways until both sides are done.
//
// Who calls it: proxy, for every Accepted whose chain ends in a TCP proxy; and
// Admit for every chain.
//
// Goroutines: Serve runs in its caller's goroutine, plus one for the relay's
// other direction that has ended when it returns. Engine.Run reports the bytes
// of open connections and returns when its context ends.
//
// May import: wire, telemetry, lib, proxy/plan, proxy/listen, proxy/upstream,
// proxy/peer, proxy/filter.
package tcp
