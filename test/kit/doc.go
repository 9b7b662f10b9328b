// Package kit is a mesh for tests: a control plane in memory, hosts with addresses, the programs that run on them, and a
// data plane of our own proxies, of stock Envoys, or of both.
//
// A Mesh has one Control, which turns YAML into what proxies are told by the rooms that do it in the product: config,
// world, translate, xds/server, ca. Hosts live in a Network. Namespaces makes each of them a network namespace of its own,
// joined by a bridge, with capture/redirect's rules in force, so that any program can be its proxy; Memory makes them
// entries of a table, joined by socket pairs, where only our own proxy runs, in the test's process.
//
// Programs are the kit's own: a Server echoes what it was asked as a Report, over HTTP/1, HTTP/2, gRPC, WebSocket and
// plain TCP; Host.Send asks and collects Reports.
//
// Called by tests only: test/script, and whoever needs a whole mesh.
//
// Goroutines: everything that a Mesh starts ends in its Close, which waits for it. Network namespaces belong to threads of
// the process and vanish with it, and so do child processes: a killed run leaves nothing behind.
//
// May import: every room.
package kit
