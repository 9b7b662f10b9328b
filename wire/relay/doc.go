// Package relay copies bytes both ways between two connections until both directions have ended: plain TCP, TLS on
// either side, upgraded HTTP/1 connections and CONNECT tunnels.
//
// Small messages go through a pooled buffer that an idle connection doesn't hold. When a read fills the buffer and
// both sides are plain sockets on Linux, the bytes are spliced in the kernel until the flow pauses.
//
// Relay runs one direction in its caller's goroutine and one in a goroutine of its own, which has ended when it
// returns.
//
// May import: wire/sock.
package relay
