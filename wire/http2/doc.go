// Package http2 is Lateen's own HTTP/2 (RFC 9113) multiplexer, for both ends
// of a connection: it turns bytes into streams and streams into bytes, with
// flow control in both directions, and knows nothing of routes or clusters.
//
// Who calls it: the proxy's engine, downstream as a server and upstream as a
// client.
//
// Goroutines: Conn.Run reads, in the goroutine that calls it, until the
// connection ends. A server runs its handler in one goroutine per stream, and
// Run returns only after all of them; besides, a connection has one that writes
// what others could not. Whoever has something to send writes it, together with
// what others have ready: one write carries the frames of many streams.
//
// A stream may have a Receiver instead of a goroutine: it is called by the
// reader for what comes, must not block, and sends into the Batch that the
// reader writes out, connection by connection, after each burst of frames.
//
// All methods of Conn and Stream are safe for concurrent use, but at most one
// goroutine may read from a stream, and at most one may write to it, at a time.
//
// Ownership: header fields read from a stream are views that stay valid until
// Stream.Release. Fields given for sending are copied or encoded before the
// call returns.
//
// May import: nothing of ours besides wire/header, wire/http1 (the grammar that both share) and lib.
package http2
