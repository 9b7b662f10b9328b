package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lateen.dev/lateen/wire/sock/socktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	a, b := socktest.Pair(t, "tcp")
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// kinds are the ways to have a Conn; each conformance test runs over all of them.
var kinds = map[string]func(t testing.TB) (*Conn, net.Conn){
	"raw tcp":      func(t testing.TB) (*Conn, net.Conn) { a, b := tcpPair(t); return New(a), b },
	"accepted":     func(t testing.TB) (*Conn, net.Conn) { a, b := acceptedPair(t); return New(a), b },
	"raw unix":     func(t testing.TB) (*Conn, net.Conn) { a, b := socktest.Pair(t, "unix"); return New(a), b },
	"portable tcp": func(t testing.TB) (*Conn, net.Conn) { a, b := tcpPair(t); return NewPortable(a), b },
	"pipe": func(t testing.TB) (*Conn, net.Conn) {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return New(a), b
	},
}

func forKinds(t *testing.T, f func(t *testing.T, c *Conn, peer net.Conn)) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			c, peer := kind(t)
			f(t, c, peer)
		})
	}
}

func reasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonOther
}

// lines is a session that answers each line with itself. A line "more:N" needs N further bytes, which it reads by
// itself.
type lines struct {
	c        *Conn
	buf      []byte
	n        int
	served   int
	detached int
	parked   int
	wakes    []error
	onWake   func(error) Next
	onLine   func(line []byte)
}

func (s *lines) Space() []byte {
	if s.buf == nil {
		s.buf = make([]byte, 256)
	}
	return s.buf[s.n:]
}

func (s *lines) Serve(n int) Next {
	s.n += n
	for {
		end := bytes.IndexByte(s.buf[:s.n], '\n') + 1
		if end == 0 {
			return Wait
		}
		if bytes.HasPrefix(s.buf[:s.n], []byte("more:")) {
			want := end + int(s.buf[5]-'0')
			if s.n < want && !s.c.CanRead() {
				s.detached++
				return Detach
			}
			for s.n < want {
				m, err := s.c.Read(s.buf[s.n:want])
				if err != nil {
					return Close
				}
				s.n += m
			}
			end = want
		}
		if s.onLine != nil {
			s.onLine(s.buf[:end])
		}
		if _, err := s.c.Answer(s.buf[:end]); err != nil || bytes.HasPrefix(s.buf[:end], []byte("quit")) {
			return Close
		}
		s.served++
		s.n = copy(s.buf, s.buf[end:s.n])
	}
}

func (s *lines) Park() {
	s.parked++
	if s.n == 0 {
		s.buf = nil
	}
}

func (s *lines) Wake(err error) Next {
	s.wakes = append(s.wakes, err)
	if s.onWake != nil {
		return s.onWake(err)
	}
	return Close
}

// serve runs c.Serve and returns a channel with its result.
func serve(c *Conn, s *lines) <-chan error {
	s.c = c
	done := make(chan error, 1)
	go func() {
		err := c.Serve(s)
		c.Close()
		done <- err
	}()
	return done
}

func say(t *testing.T, peer net.Conn, text, want string) {
	t.Helper()
	done := make(chan error, 1)
	go func() { // net.Pipe has no buffer
		_, err := peer.Write([]byte(text))
		done <- err
	}()
	buf := make([]byte, len(want))
	if n, err := io.ReadFull(peer, buf); err != nil || string(buf) != want {
		t.Fatalf("said %q, heard %q, %v; want %q", text, buf[:n], err, want)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestServe(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		s := &lines{}
		done := serve(c, s)
		say(t, peer, "a\n", "a\n")
		say(t, peer, "b\nc\n", "b\nc\n")
		say(t, peer, "d", "")
		say(t, peer, "e\n", "de\n")
		say(t, peer, "more:3\nxyz", "more:3\nxyz")
		say(t, peer, "more:3\nx", "")
		say(t, peer, "yz"+"f\n", "more:3\nxyzf\n")
		big := string(bytes.Repeat([]byte("0123456789abcde\n"), 200))
		say(t, peer, big, big)
		say(t, peer, "quit\n", "quit\n")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s.served != 207 {
			t.Errorf("served %d lines", s.served)
		}
	})
}

func TestServeEndsWithThePeer(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		s := &lines{}
		done := serve(c, s)
		say(t, peer, "a\n", "a\n")
		peer.Close()
		if err := <-done; err != io.EOF {
			t.Errorf("Serve gives %v", err)
		}
		if s.buf != nil && s.n == 0 {
			t.Error("the buffer wasn't given back")
		}
	})
}

func TestUnreadComesFirst(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		c.Unread([]byte("b\nmore:2\n1"))
		c.Unread([]byte("a\n"))
		done := serve(c, &lines{})
		say(t, peer, "2c\n", "a\nb\nmore:2\n12c\n")
		say(t, peer, "quit\n", "quit\n")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWriteRead(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		go func() {
			buf := make([]byte, 100)
			for {
				n, err := peer.Read(buf)
				if err != nil {
					return
				}
				peer.Write(buf[:n])
			}
		}()
		buf := make([]byte, 100)
		for range 100 {
			if n, err := c.WriteRead([]byte("hello"), socktest.Into(buf)); err != nil || string(buf[:n]) != "hello" {
				t.Fatalf("%q, %v", buf[:n], err)
			}
		}
		if c.Exchanges() != 100 || c.BytesRead() != 500 || c.BytesWritten() != 500 {
			t.Errorf("%d exchanges, %d bytes read, %d written", c.Exchanges(), c.BytesRead(), c.BytesWritten())
		}
		// The long way.
		if err := c.Fresh(); err != nil {
			t.Fatal(err)
		}
		written := make(chan error, 1)
		go func() { written <- c.Write2([]byte("wor"), []byte("ld")) }() // net.Pipe has no buffer
		for got := 0; got < 5; {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

func TestReadDeadline(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		buf := make([]byte, 10)
		c.SetReadDeadline(Now().Add(20 * time.Millisecond))
		start := time.Now()
		if _, err := c.Read(buf); reasonOf(err) != ReasonTimeout || !errors.Is(err, ErrTimeout) {
			t.Errorf("read gives %v", err)
		}
		if d := time.Since(start); d < 20*time.Millisecond {
			t.Errorf("timed out after %v", d)
		}
		// It is forgotten then, and a later one isn't disturbed by the timer of an earlier one.
		c.SetReadDeadline(Now().Add(10 * time.Millisecond))
		go peer.Write([]byte("x"))
		if n, err := c.Read(buf); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		c.SetReadDeadline(Now().Add(60 * time.Millisecond))
		start = time.Now()
		if _, err := c.Read(buf); reasonOf(err) != ReasonTimeout {
			t.Errorf("read gives %v", err)
		}
		if d := time.Since(start); d < 60*time.Millisecond {
			t.Errorf("timed out after %v, by the earlier timer", d)
		}
		// An earlier one counts at once.
		c.SetReadDeadline(Now().Add(time.Hour))
		go peer.Write([]byte("x"))
		if n, err := c.Read(buf); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		c.SetReadDeadline(Now().Add(time.Millisecond))
		if _, err := c.Read(buf); reasonOf(err) != ReasonTimeout {
			t.Errorf("read gives %v", err)
		}
		c.SetReadDeadline(0)
		go peer.Write([]byte("x"))
		if n, err := c.Read(buf); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	})
}

// TestDeadlinesAreExact holds the lazy timer to the fake clock's exact times.
func TestDeadlinesAreExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, peer := net.Pipe()
		defer near.Close()
		defer peer.Close()
		c := New(near)
		buf := make([]byte, 10)
		for i := range 20 { // each request has 15 s; answers take 3 s, so armed timers fire in between
			start := time.Now()
			go func() {
				io.ReadFull(peer, make([]byte, 1))
				time.Sleep(3 * time.Second)
				peer.Write([]byte("y"))
			}()
			c.SetReadDeadline(Now().Add(15 * time.Second))
			if n, err := c.WriteRead([]byte("x"), socktest.Into(buf)); n != 1 || err != nil {
				t.Fatal(i, n, err)
			}
			if d := time.Since(start); d != 3*time.Second {
				t.Fatalf("exchange %d took %v", i, d)
			}
		}
		start := time.Now()
		go io.ReadFull(peer, make([]byte, 1))
		c.SetReadDeadline(Now().Add(15 * time.Second))
		_, err := c.WriteRead([]byte("x"), socktest.Into(buf))
		var e *Error
		if !errors.As(err, &e) || e.Reason != ReasonTimeout || !e.Written || e.Seen || !e.Reused || e.Retryable() {
			t.Errorf("error is %+v", e)
		}
		if d := time.Since(start); d != 15*time.Second {
			t.Errorf("timed out after %v", d)
		}
	})
}

func TestIdleDeadlineOfServe(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		s := &lines{onLine: func([]byte) { c.SetReadDeadline(Now().Add(30 * time.Millisecond)) }}
		done := serve(c, s)
		start := time.Now()
		for range 5 {
			say(t, peer, "a\n", "a\n")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(s.wakes) != 1 || s.wakes[0] != ErrTimeout || time.Since(start) < 30*time.Millisecond {
			t.Errorf("woken by %v after %v", s.wakes, time.Since(start))
		}
	})
}

func TestInterrupt(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		woken := make(chan struct{}, 1)
		s := &lines{onWake: func(error) Next { woken <- struct{}{}; return Wait }}
		done := serve(c, s)
		say(t, peer, "a\n", "a\n")
		c.Interrupt()
		<-woken
		say(t, peer, "b\n", "b\n") // it goes on
		c.Interrupt()
		<-woken
		say(t, peer, "quit\n", "quit\n")
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, err := range s.wakes {
			if err != ErrInterrupted {
				t.Errorf("woken by %v", err)
			}
		}
	})
}

func TestInterruptBeforeTheWait(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		c.Interrupt()
		c.SetReadDeadline(Now().Add(time.Hour)) // arming must not undo it
		if _, err := c.Read(make([]byte, 1)); reasonOf(err) != ReasonInterrupted {
			t.Errorf("read gives %v", err)
		}
		go peer.Write([]byte("x"))
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("then %d, %v", n, err)
		}
	})
}

// An interruption that was meant for an exchange, and came too late for it, must not cut the lingering short: the peer
// would see a reset instead of the answer.
func TestLingerOutlastsAPendingInterrupt(t *testing.T) {
	for _, name := range []string{"raw tcp", "portable tcp"} {
		t.Run(name, func(t *testing.T) {
			c, peer := kinds[name](t)
			if _, err := c.Write([]byte("answer")); err != nil {
				t.Fatal(err)
			}
			c.Interrupt()
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.Linger(time.Minute, 1<<20)
			}()
			peer.SetDeadline(time.Now().Add(10 * time.Second))
			if got, err := io.ReadAll(peer); err != nil || string(got) != "answer" {
				t.Errorf("%q, %v", got, err)
			}
			for range 5 {
				if _, err := peer.Write([]byte("late")); err != nil {
					t.Fatalf("the connection is gone: %v", err)
				}
			}
			select {
			case <-done:
				t.Error("nobody lingers")
			default:
			}
			peer.Close()
			<-done
		})
	}
}

// TestLingerIsBounded ends it for a peer that never stops sending, and for one that never says anything.
func TestLingerIsBounded(t *testing.T) {
	c, peer := kinds["raw tcp"](t)
	go func() {
		for {
			if _, err := peer.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	}()
	c.Linger(time.Hour, 1<<16)
	c, _ = kinds["raw tcp"](t)
	c.Linger(10*time.Millisecond, 1<<16)
}

func TestAbortEndsReaderAndWriterForGood(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		read, written := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		go func() {
			_, err := c.Write(make([]byte, 64<<20)) // more than any buffer takes
			written <- err
		}()
		if _, err := io.ReadFull(peer, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		c.Abort()
		if err := <-read; reasonOf(err) != ReasonInterrupted {
			t.Errorf("read gives %v", err)
		}
		if err := <-written; err == nil {
			t.Error("write succeeded")
		}
		c.SetReadDeadline(Now().Add(time.Hour))
		if _, err := c.Read(make([]byte, 1)); reasonOf(err) != ReasonInterrupted {
			t.Errorf("a later read gives %v", err)
		}
	})
}

// TestLongAnswer answers with more than the socket takes, and aborts another such answer.
func TestLongAnswer(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		long := bytes.Repeat([]byte("0123456789abcdef"), 1<<22) // more than the largest buffers of both ends
		answered := make(chan error, 2)
		s := &lines{}
		s.onLine = func([]byte) {
			_, err := s.c.Answer(long)
			answered <- err
		}
		done := serve(c, s)
		say(t, peer, "a\n", string(long)+"a\n")
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if _, err := peer.Write([]byte("a\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		c.Abort()
		if err := <-answered; reasonOf(err) != ReasonInterrupted {
			t.Errorf("an answer that was aborted gives %v", err)
		}
		<-done
	})
}

func TestAbortEndsServe(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		s := &lines{onWake: func(error) Next { return Wait }} // a session that would go on
		done := serve(c, s)
		say(t, peer, "a\n", "a\n")
		c.Abort()
		if err := <-done; reasonOf(err) != ReasonInterrupted {
			t.Errorf("Serve gives %v", err)
		}
		if len(s.wakes) != 0 {
			t.Errorf("the session was woken by %v", s.wakes)
		}
	})
}

func TestCloseEndsWaits(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		s := &lines{}
		s.c = c
		done := make(chan error, 1)
		go func() { done <- c.Serve(s) }()
		say(t, peer, "a\n", "a\n")
		c.Close()
		if err := <-done; reasonOf(err) != ReasonClosed {
			t.Errorf("Serve gives %v", err)
		}
		if _, err := c.Write([]byte("x")); reasonOf(err) != ReasonClosed {
			t.Errorf("Write gives %v", err)
		}
		if _, err := c.WriteRead([]byte("x"), socktest.Into(make([]byte, 1))); err == nil {
			t.Error("WriteRead succeeds")
		}
	})
}

// TestCloseInsideTheCallback would hang if Close waited for the descriptor.
func TestCloseInsideTheCallback(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		s := &lines{onLine: func([]byte) { c.Close() }}
		done := serve(c, s)
		go peer.Write([]byte("a\n"))
		if _, err := io.ReadAll(peer); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// TestCloseDoesNotWaitForASession closes while the session is at work.
func TestCloseDoesNotWaitForASession(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		at, goOn := make(chan struct{}), make(chan struct{})
		s := &lines{onLine: func([]byte) { close(at); <-goOn }}
		done := serve(c, s)
		go peer.Write([]byte("a\n"))
		<-at
		c.Close()
		if _, err := io.ReadAll(peer); err != nil {
			t.Error(err)
		}
		close(goOn)
		<-done
		if _, err := c.NetConn().Write([]byte("x")); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the descriptor is still open: %v", err)
		}
	})
}

func TestWriteTimeout(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		c.SetWriteTimeout(20 * time.Millisecond)
		if _, err := c.Write(make([]byte, 64<<20)); reasonOf(err) != ReasonTimeout {
			t.Errorf("write gives %v", err)
		}
	})
}

func TestLargeWritesArriveWhole(t *testing.T) {
	forKinds(t, func(t *testing.T, c *Conn, peer net.Conn) {
		a, b := bytes.Repeat([]byte("0123456789"), 400_000), bytes.Repeat([]byte("abcdefg"), 300_001)
		done := make(chan error, 1)
		go func() {
			err := c.Write2(a, b)
			c.Close()
			done <- err
		}()
		got, err := io.ReadAll(peer)
		if err != nil || !bytes.Equal(got, append(a, b...)) {
			t.Errorf("%d bytes of %d, %v", len(got), len(a)+len(b), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestErrorKnowsWhatHappened(t *testing.T) {
	for _, tt := range []struct {
		e    Error
		want bool
	}{
		{Error{Reason: ReasonStale}, true},
		{Error{Reason: ReasonEOF, Written: true, Reused: true}, true},
		{Error{Reason: ReasonReset, Written: true, Reused: true}, true},
		{Error{Reason: ReasonEOF, Written: true}, false},
		{Error{Reason: ReasonTimeout, Written: true, Reused: true}, false},
		{Error{Reason: ReasonReset, Written: true, Reused: true, Seen: true}, false},
	} {
		if tt.e.Retryable() != tt.want {
			t.Errorf("%+v is retryable: %v", tt.e, !tt.want)
		}
	}
}
