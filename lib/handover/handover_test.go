package handover

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func open(t *testing.T, o Options) *Post {
	t.Helper()
	p, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// keeper keeps a post for a process with the sockets.
type keeper struct {
	done     chan error
	released chan struct{}
	failed   chan error
}

func keep(ctx context.Context, p *Post, sockets ...Socket) *keeper {
	k := &keeper{done: make(chan error, 1), released: make(chan struct{}), failed: make(chan error, 10)}
	go func() {
		k.done <- p.Keep(ctx, Holder{
			Sockets: func() []Socket { return sockets },
			Release: func() {
				for _, s := range sockets {
					s.Listener.Close()
				}
				close(k.released)
			},
			Failed: func(err error) { k.failed <- err },
		})
	}()
	return k
}

// reaches says whether a client's connection is accepted by the listener.
func reaches(t *testing.T, ln net.Listener) {
	t.Helper()
	got := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, err = io.WriteString(c, "x")
			c.Close()
		}
		got <- err
	}()
	c, err := net.DialTimeout("tcp", ln.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestTakeOver(t *testing.T) {
	o := Options{Path: filepath.Join(t.TempDir(), "s")}
	first := open(t, o)
	if info, err := os.Stat(o.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket's mode is %v, %v", info.Mode(), err)
	}
	var sockets []Socket
	for range maxFiles + 5 { // more than fit into one message
		ln := listen(t)
		sockets = append(sockets, Socket{ln.Addr().String(), ln})
	}
	a := keep(t.Context(), first, sockets...)
	second := open(t, Options{Path: o.Path, Successor: true})
	if second.Epoch() != 1 || second.Take("another") != nil {
		t.Errorf("epoch %d", second.Epoch())
	}
	for _, s := range sockets[1:] {
		ln := second.Take(s.Key)
		if ln == nil {
			t.Fatalf("%s is missing", s.Key)
		}
		defer ln.Close()
		if s.Key == sockets[1].Key {
			select {
			case <-a.released:
				t.Error("released too early")
			default:
			}
			if err := second.Relieve(); err != nil {
				t.Fatal(err)
			}
			<-a.released
			reaches(t, ln)
			break
		}
	}
	if err := <-a.done; err != nil {
		t.Errorf("Keep gives %v", err)
	}
	first.Close()
	if _, err := net.Dial("tcp", sockets[0].Listener.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a socket that nobody took is still open: %v", err)
	}
	// The second has the post now: a third finds it.
	ctx, cancel := context.WithCancel(t.Context())
	b := keep(ctx, second)
	if third := open(t, o); third.Epoch() != 2 {
		t.Errorf("epoch %d", third.Epoch())
	} else {
		third.Close()
	}
	if err := <-b.failed; err == nil {
		t.Error("the third has gone, and nobody is told")
	}
	cancel()
	if err := <-b.done; !errors.Is(err, context.Canceled) {
		t.Errorf("Keep gives %v", err)
	}
}

func TestSuccessorThatFails(t *testing.T) {
	o := Options{Path: filepath.Join(t.TempDir(), "s")}
	first := open(t, o)
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	k := keep(ctx, first, Socket{"a", ln})
	open(t, o).Close()
	if err := <-k.failed; err == nil {
		t.Error("it isn't told")
	}
	reaches(t, ln)
	cancel()
	<-k.done
}

func TestOldProcessDies(t *testing.T) {
	o := Options{Path: filepath.Join(t.TempDir(), "s")}
	first := open(t, o)
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	k := keep(ctx, first, Socket{"a", ln})
	second := open(t, o)
	cancel() // it ends without having been relieved
	<-k.done
	first.control.SetUnlinkOnClose(false) // as a process leaves it that is killed
	first.Close()
	ln.Close()
	mine := second.Take("a")
	defer mine.Close()
	if err := second.Relieve(); err != nil {
		t.Errorf("Relieve gives %v", err)
	}
	reaches(t, mine)
	ctx, cancel = context.WithCancel(t.Context())
	k = keep(ctx, second, Socket{"a", mine})
	third := open(t, o)
	if third.Epoch() != 2 {
		t.Errorf("epoch %d", third.Epoch())
	}
	third.Close()
	cancel()
	<-k.done
}

func TestWhoIsExpected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := Open(t.Context(), Options{Path: path, Successor: true}); !errors.Is(err, ErrNobody) {
		t.Errorf("a successor of nobody: %v", err)
	}
	first := open(t, Options{Path: path, First: true})
	ctx, cancel := context.WithCancel(t.Context())
	k := keep(ctx, first)
	if _, err := Open(t.Context(), Options{Path: path, First: true}); !errors.Is(err, ErrTaken) {
		t.Errorf("a second first: %v", err)
	}
	cancel()
	<-k.done
	// A socket that a killed process left is in nobody's way.
	first.control.SetUnlinkOnClose(false)
	first.Close()
	open(t, Options{Path: path, First: true})
}

func TestSomethingElseListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unixpacket", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "who are you?") //nolint:errcheck // the other side tells
			c.Close()
		}
	}()
	if _, err := Open(t.Context(), Options{Path: path, Patience: time.Second}); err == nil {
		t.Error("it was taken for a process of ours")
	}
	ln.Close()
	<-done
}

func FuzzParse(f *testing.F) {
	good, err := json.Marshal(message{Version: version, Want: wantSockets, Keys: []string{"a"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, 1)
	f.Add([]byte(`{"version":1,"epoch":-1}`), 0)
	f.Add([]byte(`[]`), 0)
	f.Fuzz(func(t *testing.T, b []byte, files int) {
		m, err := parse(b, files)
		if err == nil && (m.Version != version || len(m.Keys) != files || m.Epoch < 0) {
			t.Errorf("%q with %d files was accepted: %+v", b, files, m)
		}
	})
}
