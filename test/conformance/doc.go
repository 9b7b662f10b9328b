// Package conformance holds what others say of us on the wire: h2spec, grpc-go's interoperability cases, a corpus of
// request smuggling sent to us and to two other proxies, the bridge between HTTP/1 and HTTP/2, and attacks that must
// cost the attacker alone. Each test starts the proxy from an ordinary static Envoy bootstrap and speaks to its sockets.
//
// Who calls it: its own tests. Goroutines: those of the proxies and servers that a test starts, which end with it.
//
// May import: all rooms.
package conformance
