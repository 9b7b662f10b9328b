package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// loadStreams makes HTTP/2 calls, 32 at a time on each connection.
type loadStreams struct {
	address     string
	connections int
	duration    time.Duration
	warm        func()
}

const streamsPerConnection = 32

func (l *loadStreams) run(ctx context.Context) (*loadResult, error) {
	clients := make([]*http.Client, l.connections)
	for i := range clients {
		t := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: 1}
		t.Protocols.SetUnencryptedHTTP2(true)
		defer t.CloseIdleConnections()
		clients[i] = &http.Client{Transport: t}
		if err := l.call(ctx, clients[i]); err != nil {
			return nil, fmt.Errorf("first call: %w", err)
		}
	}
	l.warm()
	start := time.Now()
	end := start.Add(l.duration)
	var mu sync.Mutex // guards what follows
	var errs []error
	r := &loadResult{}
	var wg sync.WaitGroup
	for i := range l.connections * streamsPerConnection {
		wg.Go(func() {
			var took []time.Duration
			var err error
			for err == nil {
				began := time.Now()
				if !began.Before(end) {
					break
				}
				if err = l.call(ctx, clients[i/streamsPerConnection]); err == nil {
					took = append(took, time.Since(began))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			r.latencies = append(r.latencies, took...)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	r.elapsed, r.requests = time.Since(start), len(r.latencies)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if r.requests == 0 {
		return nil, errors.New("no call was answered")
	}
	return r, nil
}

// callBody is about what a small gRPC message is.
var callBody = bytes.Repeat([]byte{'x'}, 100)

func (l *loadStreams) call(ctx context.Context, c *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.address+"/bench.Bench/Unary", bytes.NewReader(callBody))
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != 1024 || resp.StatusCode != http.StatusOK || resp.Trailer.Get("Grpc-Status") != "0" {
		return fmt.Errorf("call: status %s, %d bytes, trailers %v, %w", resp.Status, n, resp.Trailer, err)
	}
	return nil
}

// loadBytes sends as many bytes as go through one connection.
type loadBytes struct {
	address  string
	duration time.Duration
	warm     func()
}

func (l *loadBytes) run(ctx context.Context) (*loadResult, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	chunk := make([]byte, 256<<10)
	if _, err := c.Write(chunk); err != nil {
		return nil, fmt.Errorf("first bytes: %w", err)
	}
	l.warm()
	start := time.Now()
	sent := int64(0)
	for time.Since(start) < l.duration && ctx.Err() == nil {
		n, err := c.Write(chunk)
		if err != nil {
			return nil, fmt.Errorf("bytes: %w", err)
		}
		sent += int64(n)
	}
	elapsed := time.Since(start)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return nil, fmt.Errorf("end: %w", err)
	}
	var arrived int64
	if _, err := fmt.Fscan(c, &arrived); err != nil || arrived != sent+int64(len(chunk)) {
		return nil, fmt.Errorf("%d bytes were sent and %d arrived: %w", sent+int64(len(chunk)), arrived, err)
	}
	return &loadResult{requests: int(sent >> 20), elapsed: elapsed}, nil
}

// loadHandshakes opens mutual TLS connections and closes them.
type loadHandshakes struct {
	address  string
	tls      *tls.Config
	parallel int
	duration time.Duration
	warm     func()
}

func (l *loadHandshakes) run(ctx context.Context) (*loadResult, error) {
	if err := l.handshake(ctx); err != nil {
		return nil, err
	}
	l.warm()
	start := time.Now()
	end := start.Add(l.duration)
	var mu sync.Mutex // guards what follows
	var errs []error
	r := &loadResult{}
	var wg sync.WaitGroup
	for range l.parallel {
		wg.Go(func() {
			for {
				began := time.Now()
				if !began.Before(end) {
					return
				}
				err := l.handshake(ctx)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				}
				r.latencies = append(r.latencies, time.Since(began))
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	r.elapsed, r.requests = time.Since(start), len(r.latencies)
	return r, errors.Join(errs...)
}

// handshake makes a connection and one request, so that a refusal of the
// client's certificate, which TLS 1.3 tells late, is seen.
func (l *loadHandshakes) handshake(ctx context.Context) error {
	c, err := dialClient(ctx, l.address, l.tls)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	return c.exchange()
}
