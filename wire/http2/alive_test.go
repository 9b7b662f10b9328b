package http2

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestKeepAlive: a connection lives while the peer answers PINGs, and ends when it doesn't.
func TestKeepAlive(t *testing.T) {
	near, far := pipe(t)
	c := NewClient(near, Config{PingInterval: time.Millisecond, PingTimeout: 2 * time.Second})
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	preamble := make([]byte, len(preface))
	if _, err := far.Read(preamble); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(far, far)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for answers := 0; answers < 5; {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			if err := fr.WritePing(true, p.Data); err != nil {
				t.Fatal(err)
			}
			answers++
		}
	}
	select {
	case err := <-done:
		t.Fatalf("ended with %v", err)
	default:
	}
	if err := <-done; !errors.Is(err, errSilent) {
		t.Errorf("Run: %v", err)
	}
}
