package sock

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

func accepting(t testing.TB, network, address string, k net.KeepAliveConfig) net.Listener {
	t.Helper()
	return acceptingBy(t, network, address, k, false)
}

func acceptingBy(t testing.TB, network, address string, k net.KeepAliveConfig, multipath bool) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(multipath)
	tl, err := lc.Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Accepting(tl.(*net.TCPListener), k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// acceptedPair returns a connection that was accepted by a listener of Accepting, and its peer.
func acceptedPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	return connectTo(t, accepting(t, "tcp", "127.0.0.1:0", net.KeepAliveConfig{}))
}

func connectTo(t testing.TB, ln net.Listener) (near, far net.Conn) {
	t.Helper()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	if near, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	return near, far
}

func TestAcceptedAddresses(t *testing.T) {
	for _, where := range []struct{ network, address string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", ":0"}} {
		near, far := connectTo(t, accepting(t, where.network, where.address, net.KeepAliveConfig{}))
		if near.LocalAddr().String() != far.RemoteAddr().String() || near.RemoteAddr().String() != far.LocalAddr().String() {
			t.Errorf("%s: %v to %v, the client has %v to %v", where.address, near.RemoteAddr(), near.LocalAddr(), far.LocalAddr(), far.RemoteAddr())
		}
		known, ok := near.(interface {
			AddrPorts() (local, remote netip.AddrPort)
		})
		if !ok {
			continue // not on this platform
		}
		if local, remote := known.AddrPorts(); local.String() != far.RemoteAddr().String() || remote.String() != far.LocalAddr().String() {
			t.Errorf("%s: %v to %v", where.address, remote, local)
		}
	}
}

func TestAcceptEnds(t *testing.T) {
	ln := accepting(t, "tcp", "127.0.0.1:0", net.KeepAliveConfig{})
	if err := ln.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	ln = accepting(t, "tcp", "127.0.0.1:0", net.KeepAliveConfig{})
	failed := make(chan error)
	go func() {
		_, err := ln.Accept()
		failed <- err
	}()
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while waiting: %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

// TestAcceptedNetConn uses a connection as any net.Conn.
func TestAcceptedNetConn(t *testing.T) {
	near, far := acceptedPair(t)
	if _, err := near.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(far, b); err != nil || string(b) != "abc" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := near.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(b); err != io.EOF {
		t.Errorf("after CloseWrite: %v", err)
	}
	if err := near.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	near.SetReadDeadline(time.Time{})
	failed := make(chan error)
	go func() {
		_, err := near.Read(make([]byte, 1))
		failed <- err
	}()
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) && err != io.EOF {
		t.Errorf("a read that waits while it is closed: %v", err)
	}
	if _, err := near.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after it is closed: %v", err)
	}
	if _, err := near.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after it is closed: %v", err)
	}
	if err := near.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a deadline after it is closed: %v", err)
	}
}

// TestManyAccepted opens and closes more connections than wait for their descriptors' end, in parallel, each of which
// must get its own answer and its end at once.
func TestManyAccepted(t *testing.T) {
	ln := accepting(t, "tcp", "127.0.0.1:0", net.KeepAliveConfig{})
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				c := New(nc)
				s := &lines{c: c}
				c.Serve(s)
				c.Close()
			})
		}
	})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for range 100 {
				if err := once(ln.Addr().String(), byte('a'+i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	ln.Close()
	served.Wait()
}

// once has a line echoed and the connection closed by the server.
func once(address string, letter byte) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	line := "quit" + string(letter) + "\n"
	if _, err := io.WriteString(c, line); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != line {
		err = errors.New("got " + string(got))
	}
	return err
}
