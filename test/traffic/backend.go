package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// Backend echoes: HTTP/1.1 and HTTP/2 on one port, bytes on another.
type Backend struct {
	HTTP, TCP int // ports on 127.0.0.1

	server *http.Server
	echo   net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

// Serve starts a backend. handler, if not nil, is asked first, and reports whether it has answered.
func Serve(handler func(http.ResponseWriter, *http.Request) bool) (*Backend, error) {
	return ServeAt("127.0.0.1:0", "127.0.0.1:0", handler)
}

// ServeAt is Serve at addresses of one's own, for HTTP and for bytes.
func ServeAt(webAddress, echoAddress string, handler func(http.ResponseWriter, *http.Request) bool) (*Backend, error) {
	web, err := net.Listen("tcp", webAddress)
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	b := &Backend{conns: map[net.Conn]bool{}}
	if b.echo, err = net.Listen("tcp", echoAddress); err != nil {
		return nil, errors.Join(fmt.Errorf("backend: %w", err), web.Close())
	}
	b.HTTP, b.TCP = port(web), port(b.echo)
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	b.server = &http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler != nil && handler(w, r) {
			return
		}
		if r.URL.Path == StreamPath {
			stream(w, r.Body)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the proxy has gone, and sees that there is no answer
		}
		w.Write(body) //nolint:errcheck // the client counts what arrives
	})}
	b.wg.Go(func() { b.server.Serve(web) }) //nolint:errcheck // ends with Close
	b.wg.Go(b.accept)
	return b, nil
}

// StreamPath is where the backend sends back what comes as it comes, for HTTP2Long.
const StreamPath = "/stream"

func stream(w http.ResponseWriter, body io.Reader) {
	c := http.NewResponseController(w)
	if c.EnableFullDuplex() != nil || c.Flush() != nil {
		return
	}
	piece := make([]byte, 4096)
	for {
		n, err := body.Read(piece)
		if n > 0 {
			if _, err := w.Write(piece[:n]); err != nil || c.Flush() != nil {
				return
			}
		}
		if err != nil {
			return // the stream has ended, one way or the other
		}
	}
}

func port(l net.Listener) int {
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return a.Port
}

func (b *Backend) accept() {
	for {
		nc, err := b.echo.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[nc] = true
		b.mu.Unlock()
		b.wg.Go(func() {
			io.Copy(nc, nc) //nolint:errcheck // the client counts what arrives
			nc.Close()
			b.mu.Lock()
			delete(b.conns, nc)
			b.mu.Unlock()
		})
	}
}

// Cut closes every TCP connection that is open, as a backend does that dies.
func (b *Backend) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for nc := range b.conns {
		nc.Close()
	}
}

// Drain ends the backend when the requests that are under way have been answered, or when ctx ends.
func (b *Backend) Drain(ctx context.Context) {
	b.server.Shutdown(ctx) //nolint:errcheck // what is left is cut off
	b.Close()
}

// Close ends the backend.
func (b *Backend) Close() {
	b.server.Close()
	b.echo.Close()
	b.Cut()
	b.wg.Wait()
}

// Dialer dials an address on this machine.
func Dialer(port int) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	}
}

// TLSDialer dials over TLS, with the configuration of the moment. met is told of each finished handshake.
func TLSDialer(port int, config func() *tls.Config, met func(tls.ConnectionState)) func(ctx context.Context) (net.Conn, error) {
	dial := Dialer(port)
	return func(ctx context.Context) (net.Conn, error) {
		nc, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		c := tls.Client(nc, config())
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("handshake: %w", err), nc.Close())
		}
		met(c.ConnectionState())
		return c, nil
	}
}
