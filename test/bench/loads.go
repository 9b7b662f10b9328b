package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// loadStreams makes HTTP/2 calls, 32 at a time on each connection.
type loadStreams struct {
	address     string
	connections int
	duration    time.Duration
}

// unaryCalls is a load of HTTP/2 calls.
func unaryCalls(connections int) func(*bench, *peer) (loader, error) {
	return func(b *bench, p *peer) (loader, error) {
		return &loadStreams{address: p.h2, connections: connections, duration: b.o.duration}, nil
	}
}

const streamsPerConnection = 32

func (l *loadStreams) run(ctx context.Context, warm func()) (*loadResult, error) {
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
	warm()
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
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.address+unaryPath, bytes.NewReader(callBody))
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
