// Package http1 is the HTTP/1.x codec: bytes in, heads and framing out, and the reverse. It does no I/O.
//
// A Head is parsed from the read buffer into views of that buffer; nothing is copied or allocated in steady state. A
// Body follows the framing of a message's content, either to pass the bytes on as they are, which is the fast path,
// or to take the payload out of them for HTTP/2 or for buffering. The Append functions build heads and chunks.
//
// Parsing is strict, so that no server behind us can read a message differently (RFC 9110, RFC 9112): exactly one
// way to frame a body, CRLF and nothing else ends a line, no folding, no white space where the grammar has none. Each
// rejection is a Reason with its status and its detail in Envoy's manner. What is accepted though another parser may
// frown on it is listed at ParseRequest.
//
// Called by the proxy's engine. Values belong to one goroutine; the package starts none.
//
// May import: wire/header.
package http1
