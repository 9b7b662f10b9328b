package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// backend answers every request with 1 KiB, with as little work as can be.
type backend struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

var backendAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n" +
	"Date: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n" + strings.Repeat("x", 1024))

func startBackend() (*backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	b := &backend{listener: l, conns: map[net.Conn]bool{}}
	b.wg.Go(b.accept)
	return b, nil
}

// Port is where it listens.
func (b *backend) Port() int { return b.listener.Addr().(*net.TCPAddr).Port }

// Close ends it and its connections.
func (b *backend) Close() {
	b.listener.Close()
	b.mu.Lock()
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

func (b *backend) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[c] = true
		b.mu.Unlock()
		b.wg.Go(func() {
			b.serve(c)
			b.mu.Lock()
			delete(b.conns, c)
			b.mu.Unlock()
		})
	}
}

func (b *backend) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 8192)
	for {
		if err := skipHead(in); err != nil {
			return
		}
		if _, err := c.Write(backendAnswer); err != nil {
			return
		}
	}
}

func skipHead(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
				return io.EOF
			}
			return err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return nil
		}
	}
}
