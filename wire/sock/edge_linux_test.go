package sock

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"lateen.dev/lateen/wire/sock/socktest"
)

// These tests are for what rawTransport leans on in this release of Go: see its comment.

// TestNoEdgeIsLost sends messages at random moments around the end of the callback, where a lost edge would leave the
// server waiting for ever.
func TestNoEdgeIsLost(t *testing.T) {
	near, peer := tcpPair(t)
	c := New(near)
	s := &lines{onLine: func([]byte) { spin(rand.IntN(200)) }}
	done := serve(c, s)
	peer.SetDeadline(time.Now().Add(30 * time.Second))
	// The answers are read by another goroutine, so the next line may come at any moment.
	const lineCount = 20000
	go func() {
		for range lineCount {
			if _, err := peer.Write([]byte("x\n")); err != nil {
				return
			}
			spin(rand.IntN(2000))
		}
	}()
	if _, err := io.ReadFull(peer, make([]byte, 2*lineCount)); err != nil {
		t.Fatalf("after %d lines: %v", s.served, err)
	}
	peer.Close()
	if err := <-done; err != io.EOF {
		t.Error(err)
	}
}

func spin(n int) {
	for range n {
		runtime.KeepAlive(n)
	}
}

// TestEdgesAcrossDetach does the same while the session reads by itself now and then.
func TestEdgesAcrossDetach(t *testing.T) {
	near, peer := tcpPair(t)
	c := New(near)
	s := &lines{}
	done := serve(c, s)
	peer.SetDeadline(time.Now().Add(30 * time.Second))
	want := 0
	go func() {
		for range 2000 {
			peer.Write([]byte("more:4\nab"))
			spin(rand.IntN(5000))
			peer.Write([]byte("cdy\n"))
			spin(rand.IntN(5000))
		}
	}()
	want = 2000 * len("more:4\nabcdy\n")
	if _, err := io.ReadFull(peer, make([]byte, want)); err != nil {
		t.Fatalf("after %d lines, %d detached: %v", s.served, s.detached, err)
	}
	peer.Close()
	if err := <-done; err != io.EOF {
		t.Error(err)
	}
	if s.detached == 0 {
		t.Error("the session was never detached")
	}
}

// TestAnswerBeforeTheWait has the answer arrive while the request is still being written.
func TestAnswerBeforeTheWait(t *testing.T) {
	near, peer := tcpPair(t)
	c := New(near)
	peer.SetDeadline(time.Now().Add(30 * time.Second))
	go func() {
		buf := make([]byte, 1)
		for {
			if _, err := peer.Read(buf); err != nil {
				return
			}
			peer.Write(buf)
		}
	}()
	c.SetReadDeadline(Now().Add(30 * time.Second))
	buf := make([]byte, 10)
	for i := range 20000 {
		if n, err := c.WriteRead([]byte("x"), socktest.Into(buf)); n != 1 || err != nil {
			t.Fatalf("exchange %d: %d, %v", i, n, err)
		}
	}
	peer.Close()
}

// TestFINWithTheLastBytes has the FIN come together with a request, where the poller reports one event for both. With
// the first request it is noticed at once, with a later one after doubtInterval.
func TestFINWithTheLastBytes(t *testing.T) {
	for earlier, rounds := range map[int]int{0: 50, 3: 2} {
		for range rounds {
			near, peer := tcpPair(t)
			c := New(near)
			done := serve(c, &lines{})
			for range earlier {
				say(t, peer, "a\n", "a\n")
			}
			peer.Write([]byte("last\n"))
			peer.CloseWrite()
			if got, err := io.ReadAll(peer); err != nil || string(got) != "last\n" {
				t.Fatalf("%q, %v", got, err)
			}
			if err := <-done; err != io.EOF {
				t.Fatal(err)
			}
			peer.Close()
		}
	}
}

func TestStaleConnections(t *testing.T) {
	for name, spoil := range map[string]func(peer *net.TCPConn){
		"closed":           func(peer *net.TCPConn) { peer.Close() },
		"half-closed":      func(peer *net.TCPConn) { peer.CloseWrite() },
		"reset":            func(peer *net.TCPConn) { peer.SetLinger(0); peer.Close() },
		"unsolicited data": func(peer *net.TCPConn) { peer.Write([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, long := range []bool{false, true} {
				near, peer := tcpPair(t)
				c := New(near)
				buf := make([]byte, 10)
				go func() {
					io.ReadFull(peer, make([]byte, 1))
					peer.Write([]byte("y"))
				}()
				if _, err := c.WriteRead([]byte("x"), socktest.Into(buf)); err != nil {
					t.Fatal(err)
				}
				spoil(peer)
				waitReadable(t, near)
				var err error
				if long {
					err = c.Fresh()
				} else {
					c.SetReadDeadline(Now().Add(10 * time.Second))
					_, err = c.WriteRead([]byte("x"), socktest.Into(buf))
				}
				var e *Error
				if !errors.As(err, &e) || e.Reason != ReasonStale || e.Written || e.Seen || !e.Reused || !e.Retryable() {
					t.Errorf("long %v: error is %+v (%v)", long, e, err)
				}
			}
		})
	}
}

// waitReadable waits until the kernel has something to tell about the socket.
func waitReadable(t *testing.T, nc *net.TCPConn) {
	t.Helper()
	rc, err := nc.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var p [1]byte
	if err := rc.Read(func(fd uintptr) bool {
		_, errno := rawPeek(fd, p[:])
		return errno != 11 // EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
}

// TestServerClosesDuringTheExchange is the race that no check can see.
func TestServerClosesDuringTheExchange(t *testing.T) {
	near, peer := tcpPair(t)
	c := New(near)
	buf := make([]byte, 10)
	go func() {
		io.ReadFull(peer, make([]byte, 1))
		peer.Write([]byte("y"))
		io.ReadFull(peer, make([]byte, 1))
		peer.Close()
	}()
	if _, err := c.WriteRead([]byte("x"), socktest.Into(buf)); err != nil {
		t.Fatal(err)
	}
	_, err := c.WriteRead([]byte("x"), socktest.Into(buf))
	var e *Error
	if !errors.As(err, &e) || e.Reason != ReasonEOF || !e.Written || e.Seen || !e.Retryable() {
		t.Errorf("error is %+v (%v)", e, err)
	}
}

func TestWatchNoticesThePeer(t *testing.T) {
	down, client := tcpPair(t)
	up, server := tcpPair(t)
	d, u := New(down), New(up)
	u.Watch(d)
	u.SetReadDeadline(Now().Add(20 * time.Second))
	go func() {
		io.ReadFull(server, make([]byte, 1))
		client.Close()
	}()
	start := time.Now()
	if _, err := u.WriteRead([]byte("x"), socktest.Into(make([]byte, 1))); reasonOf(err) != ReasonPeerGone {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("noticed after %v", took)
	}
	if !d.Gone() || u.Gone() {
		t.Errorf("gone: %v, %v", d.Gone(), u.Gone())
	}
}

// TestCloseWhileServing closes connections under the callback's feet while new ones take their descriptors' numbers.
func TestCloseWhileServing(t *testing.T) {
	for range 200 {
		near, peer := tcpPair(t)
		c := New(near)
		done := serve(c, &lines{})
		go func() {
			for {
				if _, err := peer.Write([]byte("x\n")); err != nil {
					return
				}
			}
		}()
		io.ReadFull(peer, make([]byte, 4))
		c.Close()
		<-done // with or without an error: the session ends it if its write fails first
		peer.Close()
	}
}

// TestExchangeAllocations holds a served exchange with one upstream to zero allocations.
func TestExchangeAllocations(t *testing.T) {
	near, peer := tcpPair(t)
	c := New(near)
	s := &lines{}
	s.buf = make([]byte, 256)
	s.c = c
	done := make(chan error, 1)
	go func() { done <- c.Serve(&pinned{s}) }()
	p := New(peer)
	reply, msg := Reply(socktest.Into(make([]byte, 10))), []byte("x\n")
	exchange := func() {
		p.SetReadDeadline(Now().Add(time.Minute))
		if n, err := p.WriteRead(msg, reply); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}
	for range 100 {
		exchange()
	}
	if n := testing.AllocsPerRun(1000, exchange); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
	p.Close()
	<-done
}

// pinned is lines without giving its buffer back, which would make it allocate.
type pinned struct{ *lines }

func (p *pinned) Park() {}
