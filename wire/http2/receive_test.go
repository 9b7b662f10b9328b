package http2

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
)

// echoer sends back what it receives, as a Receiver.
type echoer struct {
	mu   sync.Mutex
	done bool
	fail func(error)
}

func (e *echoer) ReceiveHead(b *Batch, s *Stream, _ *Head, _ bool) bool {
	e.end(b, s)
	return true
}

func (e *echoer) end(b *Batch, s *Stream) {
	var h Head
	h.Reset()
	h.Add([]byte("x-trailer"), []byte("end"))
	if err := s.SendHead(b, &h, true); err != nil {
		e.fail(err)
	}
	e.mu.Lock()
	e.done = true
	e.mu.Unlock()
	e.leave(b, s)
}

// leave leaves the stream once everything has gone out.
func (e *echoer) leave(b *Batch, s *Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done && s.Kept() == 0 {
		e.done = false
		s.Leave(b, NoError)
	}
}

func (e *echoer) ReceiveData(b *Batch, s *Stream, p []byte, end bool) bool {
	kept, err := s.Send(b, p, false)
	if err != nil {
		e.fail(err)
	}
	s.Consumed(b, len(p)-kept)
	if end {
		e.end(b, s)
	}
	return true
}

func (e *echoer) ReceiveReset(_ *Batch, _ *Stream, err error) { e.fail(err) }

func (e *echoer) Sent(b *Batch, s *Stream, n int) {
	s.Consumed(b, n)
	e.leave(b, s)
}

// TestReceivers sends bodies of many windows through a server without a goroutine for each stream.
func TestReceivers(t *testing.T) {
	client, server := pipe(t)
	c := NewServer(server, Config{}, nil)
	c.OnStream(func(b *Batch, s *Stream) {
		var h Head
		h.Reset()
		h.Status = 200
		s.Attach(&echoer{fail: func(err error) { t.Error(err) }})
		if err := s.SendHead(b, &h, false); err != nil {
			t.Error(err)
		}
	})
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	cc := theirClient(t, client)
	body := make([]byte, 1<<20) // many windows
	rand.Read(body)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { echoed(t, cc, body) })
	}
	wg.Wait()
	waitUntil(t, func() bool { return c.Streams() == 0 })
	client.Close()
	<-done
}

// TestServeTakesOver: a handler that takes a stream from its receiver reads everything that the receiver has not.
func TestServeTakesOver(t *testing.T) {
	client, server := pipe(t)
	c := NewServer(server, Config{}, nil)
	got := make(chan string, 1)
	c.OnStream(func(_ *Batch, s *Stream) {
		s.Attach(&leaver{to: func(s *Stream) {
			body, err := io.ReadAll(s)
			if err != nil {
				t.Error(err)
			}
			got <- string(body)
			var h Head
			h.Reset()
			h.Status = 200
			if err := s.WriteHead(&h, true); err != nil {
				t.Error(err)
			}
		}})
	})
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	cc := theirClient(t, client)
	r, w := io.Pipe()
	req, err := http.NewRequest("POST", "http://reviews/", r)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, part := range []string{"one ", "two ", "three"} {
			io.WriteString(w, part) //nolint:errcheck // seen by the server
		}
		w.Close()
	}()
	if resp, err := cc.RoundTrip(req); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, %v", resp, err)
	}
	if body := <-got; body != "two three" && body != "three" && body != "" {
		t.Errorf("the handler read %q", body)
	}
	client.Close()
	<-done
}

// leaver takes one piece and leaves the stream to a handler.
type leaver struct{ to func(*Stream) }

func (l *leaver) ReceiveHead(*Batch, *Stream, *Head, bool) bool { return false }

func (l *leaver) ReceiveData(_ *Batch, s *Stream, _ []byte, _ bool) bool {
	s.Serve(l.to)
	return true
}

func (l *leaver) ReceiveReset(*Batch, *Stream, error) {}

func (l *leaver) Sent(*Batch, *Stream, int) {}

// TestReceiverHearsTheEnd: streams with receivers are told when their connection dies.
func TestReceiverHearsTheEnd(t *testing.T) {
	near, far := pipe(t)
	c := NewClient(near, Config{})
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	heard := make(chan error, 1)
	e := &echoer{fail: func(err error) { heard <- err }}
	var b Batch
	h := request("POST", "/")
	s, err := c.OpenReceived(&b, h, false, e)
	if err != nil {
		t.Fatal(err)
	}
	b.Flush()
	far.Close()
	if err := <-heard; err == nil {
		t.Error("no error")
	}
	s.Leave(&b, Cancel)
	if err := <-done; err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("Run: %v", err)
	}
	if n := c.Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

// TestWindowGrowsForThoseWhoRead opens a stream's window with nothing waiting, when it doubles, and with half of it
// waiting for a slow peer on the other side, when it doesn't.
func TestWindowGrowsForThoseWhoRead(t *testing.T) {
	near, _ := pipe(t)
	c := NewClient(near, Config{StreamWindow: 8 << 20})
	s := newStream(c, 1)
	half := firstWindow / 2
	if s.ackLocked(half); s.window != 2*firstWindow {
		t.Errorf("with nothing waiting the window becomes %d, want %d", s.window, 2*firstWindow)
	}
	s.held = firstWindow
	left := s.recvLeft
	if s.ackLocked(2 * half); s.window != 2*firstWindow || s.recvLeft != left+2*int64(half) {
		t.Errorf("with %d waiting the window becomes %d, want %d, and %d bytes more may come, want %d", s.held, s.window, 2*firstWindow,
			s.recvLeft-left, 2*half)
	}
}
