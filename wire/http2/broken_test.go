package http2

import (
	"bytes"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// halfBroken is a transport that can't write any more.
type halfBroken struct {
	net.Conn
	broken atomic.Bool
}

var errHalfBroken = errors.New("half broken")

func (h *halfBroken) Write(p []byte) (int, error) {
	if h.broken.Load() {
		return 0, errHalfBroken
	}
	return h.Conn.Write(p)
}

// TestAnswerAfterWritingFailed: a server that answers and closes without having read all of a request is heard.
func TestAnswerAfterWritingFailed(t *testing.T) {
	near, far := pipe(t)
	tr := &halfBroken{Conn: near}
	c := NewClient(tr, Config{})
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	var h Head
	h.Reset()
	h.Method, h.Scheme, h.Authority, h.Path = []byte("POST"), []byte("http"), []byte("a"), []byte("/")
	s, err := c.Open(&h, false)
	if err != nil {
		t.Fatal(err)
	}
	tr.broken.Store(true)
	for err == nil { // the connection's own goroutine may be the one to find out
		_, err = s.Write([]byte("body"))
	}
	if !errors.Is(err, errHalfBroken) {
		t.Errorf("Write: %v", err)
	}
	if _, err := c.Open(&h, true); !errors.Is(err, ErrRefused) {
		t.Errorf("Open: %v", err)
	}
	var block bytes.Buffer
	if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "413"}); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(far, far)
	if err := errors.Join(fr.WriteSettings(), fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: s.ID(), BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})); err != nil {
		t.Fatal(err)
	}
	if _, head, err := s.ReadHead(); err != nil || head.Status != 413 {
		t.Errorf("ReadHead: %v", err)
	}
	s.Release()
	<-done
}
