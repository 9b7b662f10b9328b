package http2

import (
	"io"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// sender is a server that sends bodies as the windows of our client let it.
type sender struct {
	t  *testing.T
	fr *http2.Framer

	mu   sync.Mutex // guards what follows
	more *sync.Cond
	left map[uint32]int // the windows, 0 for the connection
	over bool
}

// newSender runs our client, with windows of the smallest size, against it.
func newSender(t *testing.T) (*sender, *Conn) {
	client, server := pipe(t)
	c := NewClient(client, Config{StreamWindow: initialWindow, ConnWindow: initialWindow})
	a := &sender{t: t, fr: http2.NewFramer(server, server), left: map[uint32]int{0: initialWindow}}
	a.more = sync.NewCond(&a.mu)
	var wg sync.WaitGroup
	wg.Go(func() { c.Run() }) //nolint:errcheck // it ends as its peer does
	wg.Go(func() { a.watch(server) })
	t.Cleanup(func() { server.Close(); wg.Wait() })
	server.SetDeadline(time.Now().Add(20 * time.Second))
	if err := a.fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return a, c
}

// watch notes how the windows grow.
func (a *sender) watch(in io.Reader) {
	_, err := io.CopyN(io.Discard, in, int64(len(preface)))
	for err == nil {
		var f http2.Frame
		if f, err = a.fr.ReadFrame(); err != nil {
			break
		}
		if u, ok := f.(*http2.WindowUpdateFrame); ok {
			a.mu.Lock()
			a.left[u.StreamID] += int(u.Increment)
			a.more.Broadcast()
			a.mu.Unlock()
		}
	}
	a.mu.Lock()
	a.over = true
	a.more.Broadcast()
	a.mu.Unlock()
}

// answer has the client open a stream, and sends a head and n bytes with as much padding each as asked for.
func (a *sender) answer(c *Conn, n int, padding int) *Stream {
	a.t.Helper()
	s, err := c.Open(request("GET", "/"), true)
	if err == nil {
		err = a.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: s.ID(), BlockFragment: []byte{0x88}, EndHeaders: true})
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	a.left[s.ID()] = initialWindow
	a.mu.Unlock()
	if !a.send(s.ID(), n, padding) {
		a.t.Errorf("stream %d stalls", s.ID())
	}
	return s
}

func (a *sender) send(id uint32, n, padding int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n > 0 {
		k := min(n, minMaxFrameSize-256, a.left[0], a.left[id])
		if padding > 0 {
			k = min(1, a.left[0]/(padding+2), a.left[id]/(padding+2))
		}
		if a.over {
			return false
		}
		if k <= 0 {
			a.more.Wait()
			continue
		}
		size := k
		var err error
		if padding > 0 {
			size += 1 + padding
			err = a.fr.WriteDataPadded(id, false, make([]byte, k), make([]byte, padding))
		} else {
			err = a.fr.WriteData(id, false, make([]byte, k))
		}
		if err != nil {
			return false
		}
		a.left[0] -= size
		a.left[id] -= size
		n -= k
	}
	return true
}

// TestUnreadStreamsHoldUpTheirOwn has streams that nobody reads fill all that a connection may hold, and most of its window
// besides. One that is read goes on with what is left of the window, however little that is; and when it is clear that
// there is little, the connection says so.
func TestUnreadStreamsHoldUpTheirOwn(t *testing.T) {
	for name, sizes := range map[string][]int{
		"nearly all at the end": {initialWindow, initialWindow, initialWindow, initialWindow, 60_000},
		"after some credit":     {initialWindow, initialWindow, initialWindow, initialWindow - 20_000, 65_000},
	} {
		t.Run(name, func(t *testing.T) {
			a, c := newSender(t)
			var unread []*Stream
			for _, n := range sizes {
				unread = append(unread, a.answer(c, n, 0))
			}
			waitUntil(t, c.Congested)
			if c.Available() == 0 {
				t.Error("the connection has no room any more")
			}
			s := a.answer(c, 0, 0)
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := io.CopyN(io.Discard, s, 3*initialWindow); err != nil {
					t.Error(err)
				}
			})
			if !a.send(s.ID(), 3*initialWindow, 0) {
				t.Error("the stream that is read stalls")
				c.Close()
			}
			wg.Wait()
			for _, s := range unread {
				s.Release()
			}
			if c.Congested() {
				t.Error("congested, and nothing waits any more")
			}
			s.Release()
		})
	}
}

// TestPaddingGoesBackToTheStream: of frames that are nearly all padding it doesn't matter whether the rest is read.
func TestPaddingGoesBackToTheStream(t *testing.T) {
	a, c := newSender(t)
	s := a.answer(c, 1000, 255)
	s.Release()
}
