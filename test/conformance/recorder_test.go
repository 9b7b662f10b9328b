package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"sync"
	"testing"
)

// recorder is a backend that keeps the bytes that reach it, and reads them as strictly as net/http does.
type recorder struct {
	port int
	wg   sync.WaitGroup

	mu       sync.Mutex // guards all below
	bytes    bytes.Buffer
	requests int
	bad      error
	open     map[net.Conn]bool
}

func newRecorder(t testing.TB) *recorder {
	ln := listen(t)
	r := &recorder{port: portOf(ln), open: map[net.Conn]bool{}}
	r.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.open[nc] = true
			r.mu.Unlock()
			r.wg.Go(func() { r.serve(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.mu.Lock()
		for nc := range r.open {
			nc.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

// Write keeps what a connection brings.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes.Write(p)
}

func (r *recorder) serve(nc net.Conn) {
	defer func() {
		nc.Close()
		r.mu.Lock()
		delete(r.open, nc)
		r.mu.Unlock()
	}()
	in := bufio.NewReader(io.TeeReader(nc, r))
	for {
		if _, err := in.Peek(1); err != nil {
			return
		}
		req, err := http.ReadRequest(in)
		if err == nil {
			if req.Header.Get("Upgrade") != "" {
				io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n") //nolint:errcheck // the proxy's matter
			}
			_, err = io.Copy(io.Discard, req.Body)
		}
		r.mu.Lock()
		r.requests++
		if err != nil && err != io.ErrUnexpectedEOF {
			r.bad = err
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := io.WriteString(nc, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// ownFields are those that a proxy adds of its own.
var ownFields = regexp.MustCompile(`(?i)(x-forwarded-proto|x-request-id|x-envoy-[a-z-]+|x-forwarded-for): ?[^\r\n]*\r\n`)

// take returns what has come since the last take, less what a proxy adds by itself.
func (r *recorder) take() (text string, requests int, bad error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := ownFields.ReplaceAll(r.bytes.Bytes(), nil)
	text, requests, bad = string(b), r.requests, r.bad
	r.bytes.Reset()
	r.requests, r.bad = 0, nil
	return text, requests, bad
}

// outcome describes what became of a case: what the client was told, and what the backend was given.
func (r *recorder) outcome(told string) (text string, bad error) {
	got, n, bad := r.take()
	switch {
	case got == "":
		return told, nil
	case n == 1:
		return fmt.Sprintf("%s forwarded %q", told, got), bad
	}
	return fmt.Sprintf("%s forwarded as %d: %q", told, n, got), bad
}
