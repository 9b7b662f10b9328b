package sock

import (
	"net"
	"syscall"
	"time"
)

// The methods of this file let the relay move bytes between two descriptors without reading them, under the same
// deadlines and interruptions as the Conn's own waits.

// RawConn returns access to the descriptor if the connection is a TCP or Unix stream socket, else nil. The relay uses
// it to splice; a connection that belongs to a portable Conn has it too.
func (c *Conn) RawConn() syscall.RawConn {
	var sc syscall.Conn
	switch nc := c.nc.(type) {
	case *accepted:
		return nc.rc
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		if nc.LocalAddr().Network() != "unix" {
			return nil
		}
		sc = nc
	default:
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return rc
}

// Arm sees to it that a wait to read that is about to begin on RawConn ends in time. It may be called inside the
// callback.
func (c *Conn) Arm() { c.arm() }

// Lapsed decides what an error of such a wait means: nil if the timer only fired early and the wait is to go on.
func (c *Conn) Lapsed(err error) error { return c.lapsed(err) }

// ArmWrite bounds a wait to write that is about to begin on RawConn. DisarmWrite must follow it.
func (c *Conn) ArmWrite() { c.startWriteTimer() }

// DisarmWrite ends the bound of ArmWrite.
func (c *Conn) DisarmWrite() { _ = c.nc.SetWriteDeadline(time.Time{}) }

// Moved counts bytes that were read from this connection and written to dst past both.
func (c *Conn) Moved(dst *Conn, n int64) {
	c.rx.Add(n)
	dst.tx.Add(n)
}
