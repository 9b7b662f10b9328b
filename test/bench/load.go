package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// request is what every connection sends, over and over.
const request = "GET /api/v1/users?id=42 HTTP/1.1\r\nHost: svc-a.default.svc.cluster.local\r\nUser-Agent: bench\r\n" +
	"Accept: */*\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789abcdef\r\n\r\n"

// load is a closed loop of connections, or one paced to a rate.
type load struct {
	address     string
	connections int
	rate        int
	duration    time.Duration
	tls         *tls.Config
}

// plainRequests and encryptedRequests are loads of HTTP/1.1 requests; rate 0 is as fast as it goes.
func plainRequests(connections, rate int) func(*bench, *peer) (loader, error) {
	return func(b *bench, p *peer) (loader, error) {
		return &load{address: p.plain, connections: connections, rate: rate, duration: b.o.duration}, nil
	}
}

func encryptedRequests(connections, rate int) func(*bench, *peer) (loader, error) {
	return func(b *bench, p *peer) (loader, error) {
		return &load{address: p.mtls, connections: connections, rate: rate, duration: b.o.duration, tls: b.dir.clientTLS(hybrid)}, nil
	}
}

// loadResult is what was seen.
type loadResult struct {
	requests  int
	elapsed   time.Duration
	latencies []time.Duration
}

// quantile returns the latency that the share q of the requests stayed under.
func (r *loadResult) quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	slices.Sort(r.latencies)
	return r.latencies[min(len(r.latencies)-1, int(q*float64(len(r.latencies))))]
}

// dial opens connections and has one answer on each.
func (l *load) dial(ctx context.Context, n int) ([]*client, error) {
	var clients []*client
	for range n {
		c, err := dialClient(ctx, l.address, l.tls)
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
		if err := c.exchange(); err != nil {
			return clients, fmt.Errorf("first request: %w", err)
		}
	}
	return clients, nil
}

func hangUp(clients []*client) {
	for _, c := range clients {
		c.conn.Close()
	}
}

// run implements loader: the measurement begins when all connections stand and each has had its first answer.
func (l *load) run(ctx context.Context, warm func()) (*loadResult, error) {
	clients, err := l.dial(ctx, l.connections)
	defer hangUp(clients)
	if err != nil {
		return nil, err
	}
	warm()
	start := time.Now()
	end := start.Add(l.duration)
	var interval time.Duration
	if l.rate > 0 {
		interval = time.Second * time.Duration(l.connections) / time.Duration(l.rate)
	}
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		offset := interval * time.Duration(i) / time.Duration(len(clients))
		wg.Go(func() { errs[i] = c.loop(ctx, start.Add(offset), end, interval) })
	}
	wg.Wait()
	r := &loadResult{elapsed: time.Since(start)}
	for _, c := range clients {
		r.latencies = append(r.latencies, c.latencies...)
	}
	r.requests = len(r.latencies)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if r.requests == 0 {
		return nil, errors.New("no request was answered")
	}
	return r, nil
}

// client is one connection.
type client struct {
	conn      net.Conn
	in        *bufio.Reader
	latencies []time.Duration
}

func dialClient(ctx context.Context, address string, config *tls.Config) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	return &client{conn: conn, in: bufio.NewReaderSize(conn, 2048)}, nil
}

// loop sends until end. With an interval it keeps to its timetable, and counts
// from the moment a request was due, so that a stall is not hidden.
func (c *client) loop(ctx context.Context, due, end time.Time, interval time.Duration) error {
	for ctx.Err() == nil {
		if interval > 0 {
			if !due.Before(end) {
				return nil
			}
			time.Sleep(time.Until(due))
		} else if due = time.Now(); !due.Before(end) {
			return nil
		}
		if err := c.exchange(); err != nil {
			return err
		}
		c.latencies = append(c.latencies, time.Since(due))
		due = due.Add(interval)
	}
	return ctx.Err()
}

// exchange sends one request and reads its answer, which must be a 200 with a
// content-length.
func (c *client) exchange() error {
	if _, err := io.WriteString(c.conn, request); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	length, first := -1, true
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("response head: %w", err)
		}
		if first && string(line[:min(12, len(line))]) != "HTTP/1.1 200" {
			return fmt.Errorf("response: %q", line)
		}
		first = false
		if n, ok := contentLength(line); ok {
			length = n
		}
		if len(line) <= 2 {
			break
		}
	}
	if length < 0 {
		return errors.New("response has no content-length")
	}
	if _, err := c.in.Discard(length); err != nil {
		return fmt.Errorf("response body: %w", err)
	}
	return nil
}

func contentLength(line []byte) (int, bool) {
	const name = "content-length:"
	if len(line) < len(name) {
		return 0, false
	}
	for i := range len(name) {
		c := line[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return 0, false
		}
	}
	n := 0
	for _, c := range line[len(name):] {
		if c >= '0' && c <= '9' {
			n = n*10 + int(c-'0')
		}
	}
	return n, true
}
