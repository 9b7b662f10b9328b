package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// loadBytes sends bytes through one connection.
type loadBytes struct {
	address string
	total   int64
}

// tcpBytes is a load of so many bytes, a sixteenth in the short form.
func tcpBytes(total int64) func(*bench, *peer) (loader, error) {
	return func(b *bench, p *peer) (loader, error) {
		l := &loadBytes{address: p.tcp, total: total}
		if b.o.short {
			l.total /= 16
		}
		return l, nil
	}
}

func (l *loadBytes) run(ctx context.Context, warm func()) (*loadResult, error) {
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
	warm()
	start := time.Now()
	sent := int64(0)
	for sent < l.total && ctx.Err() == nil {
		n, err := c.Write(chunk)
		if err != nil {
			return nil, fmt.Errorf("bytes: %w", err)
		}
		sent += int64(n)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return nil, fmt.Errorf("end: %w", err)
	}
	var arrived int64
	if _, err := fmt.Fscan(c, &arrived); err != nil || arrived != sent+int64(len(chunk)) {
		return nil, fmt.Errorf("%d bytes were sent and %d arrived: %w", sent+int64(len(chunk)), arrived, err)
	}
	return &loadResult{requests: int(sent >> 20), elapsed: time.Since(start)}, nil
}

// Server streaming: a call asks for so many messages and gets them.
const (
	streamMessage  = 16 << 10 // a gRPC message with its five bytes of prefix
	streamMessages = 1024     // of one call
	streamsPerConn = 2
	messagesHeader = "x-messages"
)

// answerStream sends the messages that a call asks for.
func answerStream(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.Header.Get(messagesHeader))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	message := make([]byte, streamMessage)
	message[3], message[4] = (streamMessage-5)>>8, (streamMessage-5)&0xff
	for range n {
		if _, err := w.Write(message); err != nil {
			return // the client has gone
		}
	}
	w.Header().Set("Grpc-Status", "0")
}

// loadStreaming makes calls that are answered with many messages.
type loadStreaming struct {
	address     string
	connections int
	duration    time.Duration
}

func streamedBytes(connections int) func(*bench, *peer) (loader, error) {
	return func(b *bench, p *peer) (loader, error) {
		return &loadStreaming{address: p.h2, connections: connections, duration: b.o.duration}, nil
	}
}

func (l *loadStreaming) run(ctx context.Context, warm func()) (*loadResult, error) {
	clients := make([]*http.Client, l.connections)
	for i := range clients {
		t := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: 1}
		t.Protocols.SetUnencryptedHTTP2(true)
		defer t.CloseIdleConnections()
		clients[i] = &http.Client{Transport: t}
		if _, err := l.call(ctx, clients[i], 1); err != nil {
			return nil, fmt.Errorf("first call: %w", err)
		}
	}
	warm()
	start := time.Now()
	end := start.Add(l.duration)
	received := make([]int64, l.connections*streamsPerConn)
	errs := make([]error, len(received))
	var wg sync.WaitGroup
	for i := range received {
		wg.Go(func() {
			for errs[i] == nil && time.Now().Before(end) {
				var n int64
				n, errs[i] = l.call(ctx, clients[i/streamsPerConn], streamMessages)
				received[i] += n
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var sum int64
	for _, n := range received {
		sum += n
	}
	return &loadResult{requests: int(sum >> 20), elapsed: time.Since(start)}, nil
}

func (l *loadStreaming) call(ctx context.Context, c *http.Client, messages int) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.address+streamPath, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("streaming call: %w", err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	req.Header.Set(messagesHeader, strconv.Itoa(messages))
	resp, err := c.Do(req)
	if err != nil {
		return 0, fmt.Errorf("streaming call: %w", err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != int64(messages)*streamMessage || resp.Trailer.Get("Grpc-Status") != "0" {
		return n, fmt.Errorf("streaming call: status %s, %d bytes, trailers %v, %w", resp.Status, n, resp.Trailer, err)
	}
	return n, nil
}
