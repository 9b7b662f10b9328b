// Package h1 is HTTP/1 on either side of an exchange: the codec of wire/http1 driven over a socket.
//
// proxy/hcm serves downstream connections with Conn, and proxy/upstream keeps its pools of Upstream. A request whose
// head and body fit a buffer costs one read, one fused write and read, and one write. Buffers are taken from pools
// when bytes arrive and given back when a connection idles.
//
// A value belongs to the goroutine that drives the exchange; only Cancel may be called from others. The package
// starts no goroutine.
//
// May import: wire, proxy/exchange.
package h1
