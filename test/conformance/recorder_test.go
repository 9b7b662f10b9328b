package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
)

// recorder is a backend that keeps the bytes that reach it, and reads them as strictly as net/http does.
type recorder struct {
	port int
	wg   sync.WaitGroup

	mu    sync.Mutex // guards all below
	bad   error
	conns []*recorded // in the order in which they came
}

// recorded is a connection, and what it has brought since the last take.
type recorded struct {
	net.Conn
	of       *recorder
	bytes    bytes.Buffer
	requests int // that came whole
	closed   bool
}

func newRecorder(t testing.TB) *recorder {
	ln := listen(t)
	r := &recorder{port: portOf(ln)}
	r.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := &recorded{Conn: nc, of: r}
			r.mu.Lock()
			r.conns = append(r.conns, c)
			r.mu.Unlock()
			r.wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

// Read keeps what the connection brings.
func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.bytes.Write(p[:n])
	return n, err
}

func (r *recorder) serve(nc *recorded) {
	defer func() {
		nc.Close()
		r.mu.Lock()
		nc.closed = true
		r.mu.Unlock()
	}()
	in := bufio.NewReader(nc)
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
		switch err {
		case nil:
			nc.requests++
		case io.ErrUnexpectedEOF: // given up by the proxy
		default:
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

// take returns what has come since the last take, less what a proxy adds by itself. Of a connection that brought no whole
// request it is nothing: the proxy gave that one up, which may come to light as late as during the next case.
func (r *recorder) take() (text string, requests int, bad error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		if c.requests > 0 {
			text += string(ownFields.ReplaceAll(c.bytes.Bytes(), nil))
			requests += c.requests
			c.requests = 0
		}
		c.bytes.Reset()
	}
	r.conns = slices.DeleteFunc(r.conns, func(c *recorded) bool { return c.closed })
	bad, r.bad = r.bad, nil
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
