// Package socktest makes connected sockets for the tests of the rooms under
// wire. It starts no goroutine.
//
// May import: the standard library.
package socktest

import (
	"net"
	"path/filepath"
	"testing"
)

// Pair returns both ends of a connection over real sockets, on loopback for
// "tcp" and in a temporary folder for "unix". They are closed when the test
// ends.
func Pair(t testing.TB, network string) (near, far net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err = net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

// Into takes the answer of an exchange into one piece of memory: a sock.Reply.
type Into []byte

// Sent implements sock.Reply.
func (Into) Sent() {}

// Space implements sock.Reply.
func (p Into) Space() []byte { return p }
