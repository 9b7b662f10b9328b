package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// fail is the faulty server.
func (p *pair) fail(rw http.ResponseWriter, r *http.Request) bool {
	switch p.served.Add(1) % 10 {
	case 0:
		panic(http.ErrAbortHandler) // the connection, or the stream, is reset
	case 1:
		http.Error(rw, "out of order", http.StatusServiceUnavailable)
	case 2:
		select { // slow
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
		}
		return false
	case 3:
		rw.Header().Set("Content-Length", "1000")
		rw.Write([]byte("not all")) //nolint:errcheck // it is cut off anyway
		if f, ok := rw.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

// explain says which failures a faulty server explains: the proxy's own answers, and responses that are cut off. Time
// that runs out and bytes that have changed are never explained.
func explain(err error) bool {
	var status *traffic.StatusError
	if errors.As(err, &status) {
		return status.Status == 502 || status.Status == 503 || status.Status == 504
	}
	text := err.Error()
	return errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(text, "stream error") || strings.Contains(text, "unexpected EOF")
}

// attacks are what clients do that the proxy could do without; each is made over and over.
func (p *pair) attacks() []func(context.Context) {
	say := func(text string, wait time.Duration) func(context.Context) {
		return func(ctx context.Context) {
			nc, err := traffic.Dialer(p.layout.HTTP)(ctx)
			if err != nil {
				return
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(wait))
			if _, err := io.WriteString(nc, text); err == nil {
				io.Copy(io.Discard, nc) //nolint:errcheck // whatever it says
			}
		}
	}
	return []func(context.Context){
		say("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", 3*time.Second),                                              // a head that doesn't end
		say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", 100*time.Millisecond),               // gone in the middle
		say("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", time.Second), // smuggling
		say("\x16\x03\x01 this is no HTTP\r\n\r\n", time.Second),
		say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+strings.Repeat("\x00", 64), time.Second), // broken HTTP/2
		say("POST /faulty HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 200*time.Millisecond),
	}
}
