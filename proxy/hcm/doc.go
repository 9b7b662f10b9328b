// Package hcm is the HTTP connection manager and its router: it serves the HTTP connections that listen has accepted.
// For each request it decides (proxy/route, the filters), then does: sends it to a host of proxy/upstream, tries again
// where that is allowed, and copies the answer back.
//
// One path serves HTTP/1 and HTTP/2 on either side, through proxy/exchange. For plain requests it is a straight line
// without allocation, lock or map on the way; what isn't configured isn't touched.
//
// Called by proxy: New when a plan is prepared, Serve for each connection.
//
// Goroutines: Serve runs in its caller's. Where both sides speak HTTP/2 and nothing has to be waited for, the readers of
// the two connections pass frames on as they come (see relay). Other HTTP/2 streams have a goroutine each, a request body
// that must be read while its response is awaited has one, mirrored requests have one each, bounded; all of them have
// ended when Serve returns, except mirrored requests, which Engine.Wait waits for.
//
// May import: wire, telemetry, lib, proxy/plan, proxy/route, proxy/listen, proxy/exchange, proxy/h1, proxy/h2,
// proxy/upstream, proxy/peer, proxy/filter, proxy/overload.
package hcm
