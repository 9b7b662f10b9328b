package traffic

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// payload is what goes there and comes back.
var payload = bytes.Repeat([]byte("sail "), 200)

// client1 makes HTTP/1.1 requests, and never tries one again.
type client1 struct {
	o  Options
	nc net.Conn
	br *bufio.Reader
}

func (c *client1) close() {
	if c.nc != nil {
		c.nc.Close()
		c.nc = nil
	}
}

func (c *client1) exchange(ctx context.Context) error {
	if c.nc == nil {
		nc, err := c.o.Dial(ctx)
		if err != nil {
			return err
		}
		c.nc, c.br = nc, bufio.NewReader(nc)
	}
	if at, ok := ctx.Deadline(); ok {
		c.nc.SetDeadline(at)
	}
	keep, err := c.request(ctx)
	if err != nil || !keep || c.o.Kind == HTTP1Fresh {
		c.close()
	}
	return err
}

func (c *client1) request(ctx context.Context) (keep bool, err error) {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", c.o.Path, c.o.Host, len(payload))
	if c.o.Kind == Upload {
		err = c.slowly(ctx, head)
	} else {
		_, err = c.nc.Write(append([]byte(head), payload...))
	}
	if err != nil {
		return false, fmt.Errorf("sending the request: %w", err)
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return false, fmt.Errorf("reading the response: %w", err)
	}
	defer resp.Body.Close()
	return !resp.Close, check(resp)
}

// slowly sends the body in pieces.
func (c *client1) slowly(ctx context.Context, head string) error {
	if _, err := io.WriteString(c.nc, head); err != nil {
		return err
	}
	const pieces = 10
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range pieces {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := c.nc.Write(payload[i*len(payload)/pieces : (i+1)*len(payload)/pieces]); err != nil {
			return err
		}
	}
	return nil
}

// StatusError is a response that isn't the backend's.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %.200s", e.Status, e.Body) }

func check(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the response's body: %w", err)
	case resp.StatusCode != http.StatusOK:
		return &StatusError{resp.StatusCode, strings.TrimSpace(string(body))}
	case !bytes.Equal(body, payload):
		return fmt.Errorf("the body has come back changed, %d bytes of %d", len(body), len(payload))
	}
	return nil
}

// client2 makes HTTP/2 requests. As RFC 9113 allows, a request that the server says it hasn't looked at is sent again
// on another connection.
type client2 struct {
	t   *http.Transport
	url string
}

func newClient2(o Options) *client2 {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) }
	return &client2{url: "http://" + o.Host + o.Path, t: &http.Transport{Protocols: p, DialContext: dial, DisableCompression: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}}
}

func (c *client2) close() { c.t.CloseIdleConnections() }

func (c *client2) exchange(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	resp, err := c.t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return check(resp)
}

// longStream sends pieces on one HTTP/2 stream, as a gRPC call in both directions does, and expects each back before the
// next.
type longStream struct {
	c      *client2
	send   *io.PipeWriter // nil without a stream
	cancel context.CancelFunc
	resp   *http.Response
}

func (l *longStream) close() {
	if l.send != nil {
		l.send.Close()
		l.cancel()
		l.resp.Body.Close()
		l.send = nil
	}
	l.c.close()
}

func (l *longStream) exchange(ctx context.Context) error {
	if l.send == nil {
		if err := l.open(ctx); err != nil {
			return fmt.Errorf("opening: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, l.cancel)
	defer stop()
	got := make([]byte, len(payload))
	_, err := l.send.Write(payload)
	if err == nil {
		_, err = io.ReadFull(l.resp.Body, got)
	}
	if err != nil {
		l.close()
		return fmt.Errorf("a piece: %w", err)
	}
	if !bytes.Equal(got, payload) {
		return errors.New("the bytes have come back changed")
	}
	return nil
}

// open begins a stream, whose response begins at once.
func (l *longStream) open(ctx context.Context) error {
	body, send := io.Pipe()
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	req, err := http.NewRequestWithContext(life, http.MethodPost, l.c.url, body)
	if err != nil {
		cancel()
		return err
	}
	resp, err := l.c.t.RoundTrip(req)
	if err != nil {
		cancel()
		return err
	}
	if resp.StatusCode != http.StatusOK {
		cancel()
		defer resp.Body.Close()
		return check(resp)
	}
	l.send, l.cancel, l.resp = send, cancel, resp
	return nil
}

// echoes sends bytes over TCP and expects them back.
type echoes struct {
	o  Options
	nc net.Conn
}

func (c *echoes) close() {
	if c.nc != nil {
		c.nc.Close()
		c.nc = nil
	}
}

func (c *echoes) exchange(ctx context.Context) error {
	if c.nc == nil {
		nc, err := c.o.Dial(ctx)
		if err != nil {
			return err
		}
		c.nc = nc
	}
	if at, ok := ctx.Deadline(); ok {
		c.nc.SetDeadline(at)
	}
	err := c.echo()
	if err != nil || c.o.Kind == TCP {
		c.close()
	}
	return err
}

func (c *echoes) echo() error {
	if _, err := c.nc.Write(payload); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	got := make([]byte, len(payload))
	if _, err := io.ReadFull(c.nc, got); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if !bytes.Equal(got, payload) {
		return errors.New("the bytes have come back changed")
	}
	return nil
}
