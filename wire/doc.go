// Package wire is the room of bytes: header lists, the HTTP/1 codec, sockets of the data path, TLS, detection of
// protocols, TCP relaying and the PROXY protocol. It knows no clusters, routes or policies.
//
// The room `proxy` is its main user; `capture` and `adapter` use parts of it. Codecs (header, http1, sniff's parsers,
// proxyproto) are free of I/O and start no goroutine. The packages that touch sockets say in their own comments what
// they promise.
//
// May import: telemetry.
package wire
