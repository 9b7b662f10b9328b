package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"lateen.dev/lateen/proxy/plan"
)

// Bounds of the admin side.
const (
	maxRequests    = 16 // at a time; more are answered 503
	maxConnections = 64
	maxHeadBytes   = 64 << 10
	maxBodyBytes   = 1 << 20
	writeTimeout   = time.Minute
	readTimeout    = 10 * time.Second
)

// Listen opens the admin address, which must be loopback or a unix socket (made with mode 0600 unless given
// otherwise).
func Listen(ctx context.Context, a plan.Address) (net.Listener, error) {
	lc := net.ListenConfig{}
	if a.Path != "" {
		mode := os.FileMode(a.Mode)
		if mode == 0 {
			mode = 0o600
		}
		if err := os.Remove(a.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
		l, err := lc.Listen(ctx, "unix", a.Path)
		if err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		if err := os.Chmod(a.Path, mode); err != nil {
			return nil, errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
		}
		return l, nil
	}
	if !a.IP.Addr().IsLoopback() {
		return nil, fmt.Errorf("admin address %s is not loopback: whoever reaches it could end the proxy and read its configuration; use 127.0.0.1 or a pipe", a.IP)
	}
	l, err := lc.Listen(ctx, "tcp", a.IP.String())
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return l, nil
}

// Serve serves h on l until ctx ends, then finishes what is running for a moment and returns.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(h, maxBodyBytes),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       writeTimeout,
		MaxHeaderBytes:    maxHeadBytes,
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // what did not finish in time is cut off
		}
	})
	err := srv.Serve(newLimited(l, maxConnections))
	close(done)
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin: %w", err)
}

// limited is a listener with at most so many connections at a time.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimited(l net.Listener, n int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotConn{Conn: c, free: func() { <-l.slots }}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type slotConn struct {
	net.Conn
	once sync.Once
	free func()
}

// Close implements net.Conn.
func (c *slotConn) Close() error {
	c.once.Do(c.free)
	return c.Conn.Close()
}

// guard bounds the requests at a time, and keeps web pages in a browser on this machine out: they come with another
// site's Origin, or under a name that resolves here (DNS rebinding).
func guard(h http.Handler) http.Handler {
	slots := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !localHost(r.Host) || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			http.Error(w, "the admin side answers only local, direct requests", http.StatusForbidden)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			h.ServeHTTP(w, r)
		default:
			http.Error(w, "too many admin requests at a time", http.StatusServiceUnavailable)
		}
	})
}

// localHost reports whether a Host header is an address, localhost, or none of the network's names (unix sockets).
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "" || host == "localhost" || !strings.Contains(host, ".")
}
