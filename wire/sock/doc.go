// Package sock holds the sockets of the data path: one Conn for downstream and upstream connections, plain or
// encrypted, over real sockets or in memory.
//
// The engine's code is straight-line: read, write, WriteRead. How a Conn waits is hidden behind it. On Linux a TCP or
// Unix stream socket is served inside one callback of syscall.RawConn (see raw_linux.go), so that no read finds
// nothing, no idle connection holds a buffer and no request costs a poller call more than needed. Everything else,
// net.Pipe in tests for instance, uses net.Conn's own methods.
//
// # How to serve a downstream connection
//
// Implement Session and call Conn.Serve, which returns when the connection is to be closed. Serve asks the session for
// Space, fills it, and calls Session.Serve. In there the session handles as many requests as it has, writing with
// Conn.Write. It must not call Conn.Read while Conn.CanRead is false: if it finds that it needs more bytes than it was
// given in the middle of a request (a body that isn't complete, an upgrade) it returns Detach before it has done
// anything that can't be done twice, and is called again with the same bytes, CanRead now being true. So one function
// serves both ways: check CanRead where the body turns out to be incomplete, and read freely after that. A head that
// isn't complete needs no Detach: keep the bytes and return Wait.
//
// # Goroutines
//
// A Conn has one reader and one writer at a time, which may be the same or two goroutines. Serve, Read, WriteRead,
// Unread, SetReadDeadline and Watch belong to the reader; Write, Write2 and CloseWrite to the writer. Answer is for
// a session that is both. Close, Interrupt, Nudge, Gone and the addresses may be used by anybody at any time. The package
// starts no goroutine, but that a listener of Accepting closes the descriptors of connections that have ended in one that
// ends with them.
//
// # Deadlines
//
// SetReadDeadline is a store to a field; the runtime's timer is only touched when the deadline becomes earlier than
// the one it has, or when that has fired too early. A deadline that has passed is reported once and then forgotten.
// Writes that block are bounded by SetWriteTimeout.
//
// May import: nothing of ours.
package sock
