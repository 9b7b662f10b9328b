package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	a, b := socktest.Pair(t, "tcp")
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// rig is client — relay — server.
type rig struct {
	client, server *net.TCPConn
	a, b           *sock.Conn
	counters       Counters
	cancel         context.CancelFunc
	done           chan error
}

func newRig(t testing.TB, o Options, wrap func(net.Conn) *sock.Conn) *rig {
	r := &rig{done: make(chan error, 1)}
	var an, bn *net.TCPConn
	r.client, an = tcpPair(t)
	bn, r.server = tcpPair(t)
	r.a, r.b = wrap(an), wrap(bn)
	o.Counters = &r.counters
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	t.Cleanup(r.cancel)
	go func() {
		err := Relay(ctx, r.a, r.b, o)
		r.a.Close()
		r.b.Close()
		r.done <- err
	}()
	return r
}

var wraps = map[string]func(net.Conn) *sock.Conn{"raw": sock.New, "portable": sock.NewPortable}

func TestBothWaysWithHalfClose(t *testing.T) {
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{IdleTimeout: time.Minute}, wrap)
			up, down := make([]byte, 3<<20+17), make([]byte, 5<<20+1)
			rand.Read(up)
			rand.Read(down)
			go func() {
				r.client.Write(up)
				r.client.CloseWrite()
			}()
			got, err := io.ReadAll(r.server) // ends by the half-close
			if err != nil || !bytes.Equal(got, up) {
				t.Fatalf("server got %d bytes, %v", len(got), err)
			}
			go func() {
				r.server.Write(down)
				r.server.Close()
			}()
			got, err = io.ReadAll(r.client)
			if err != nil || !bytes.Equal(got, down) {
				t.Fatalf("client got %d bytes, %v", len(got), err)
			}
			if err := <-r.done; err != nil {
				t.Error(err)
			}
			if a, b := r.counters.AToB.Load(), r.counters.BToA.Load(); a != int64(len(up)) || b != int64(len(down)) {
				t.Errorf("counted %d and %d", a, b)
			}
			if a, b := r.a.BytesRead(), r.b.BytesWritten(); a != int64(len(up)) || b != int64(len(up)) {
				t.Errorf("the connections counted %d and %d", a, b)
			}
			if s := r.counters.Spliced.Load(); runtime.GOOS == "linux" && s < 6<<20 {
				t.Errorf("only %d bytes of 8 MiB were spliced", s)
			}
		})
	}
}

func TestSmallMessagesAreLive(t *testing.T) {
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{}, wrap)
			buf := make([]byte, 16)
			for i := range 100 {
				msg := []byte{byte(i), 1, 2}
				r.client.Write(msg)
				if n, err := io.ReadFull(r.server, buf[:3]); err != nil || !bytes.Equal(buf[:n], msg) {
					t.Fatal(n, err)
				}
				r.server.Write(msg[:2])
				if n, err := io.ReadFull(r.client, buf[:2]); err != nil || !bytes.Equal(buf[:n], msg[:2]) {
					t.Fatal(n, err)
				}
			}
			r.client.Close()
			r.server.Close()
			if err := <-r.done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPrefixGoesFirst(t *testing.T) {
	client, an := tcpPair(t)
	bn, server := tcpPair(t)
	a, b := sock.New(an), sock.New(bn)
	defer a.Close()
	defer b.Close()
	a.Unread([]byte("hello "))
	client.Write([]byte("world"))
	client.CloseWrite()
	server.CloseWrite()
	if err := Relay(context.Background(), a, b, Options{}); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(server); string(got) != "hello world" {
		t.Errorf("server got %q", got)
	}
}

func TestIdleTimeout(t *testing.T) {
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{IdleTimeout: 30 * time.Millisecond}, wrap)
			if err := <-r.done; !errors.Is(err, ErrIdle) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestOneBusyDirectionKeepsTheRelayAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, an := net.Pipe()
		bn, server := net.Pipe()
		a, b := sock.New(an), sock.New(bn)
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- Relay(t.Context(), a, b, Options{IdleTimeout: time.Second}) }()
		for range 10 {
			time.Sleep(900 * time.Millisecond)
			client.Write([]byte("x"))
			if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; !errors.Is(err, ErrIdle) || time.Since(start) != 10*time.Second {
			t.Errorf("ended after %v with %v", time.Since(start), err)
		}
		for _, c := range []net.Conn{client, an, bn, server} {
			c.Close()
		}
	})
}

func TestCancel(t *testing.T) {
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{}, wrap)
			// Fill the way to the server, so that one direction waits to write and the other to read.
			go r.client.Write(make([]byte, 64<<20))
			for r.counters.AToB.Load() < 1<<20 {
				runtime.Gosched()
			}
			r.cancel()
			if err := <-r.done; !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
			r.client.Close()
		})
	}
}

func TestResetEndsBoth(t *testing.T) {
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{}, wrap)
			r.client.Write([]byte("x"))
			io.ReadFull(r.server, make([]byte, 1))
			r.client.SetLinger(0)
			r.client.Close()
			err := <-r.done
			var e *sock.Error
			if !errors.As(err, &e) || e.Reason != sock.ReasonReset {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func BenchmarkBulk(b *testing.B) {
	for name, wrap := range wraps {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, Options{}, wrap)
			chunk := make([]byte, 1<<20)
			go io.Copy(io.Discard, r.server)
			b.SetBytes(1 << 20)
			for b.Loop() {
				if _, err := r.client.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			r.client.Close()
			r.server.CloseWrite()
			<-r.done
		})
	}
}
