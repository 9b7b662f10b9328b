package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// backends are all that the proxies lead to.
type backends struct {
	http, tcp *backend
	http2     *http.Server
	listener2 net.Listener
	done2     chan error
}

func startBackends() (*backends, error) {
	b := &backends{done2: make(chan error, 1)}
	var err error
	if b.http, err = startBackend((*backend).serve); err != nil {
		return nil, err
	}
	if b.tcp, err = startBackend((*backend).swallow); err != nil {
		return nil, err
	}
	if b.listener2, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	b.http2 = &http.Server{Handler: answers(), Protocols: new(http.Protocols)}
	b.http2.Protocols.SetUnencryptedHTTP2(true)
	go func() { b.done2 <- b.http2.Serve(b.listener2) }()
	return b, nil
}

const (
	unaryPath  = "/bench.Bench/Unary"
	streamPath = "/bench.Bench/Stream"
)

func answers() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc(unaryPath, answerCall)
	m.HandleFunc(streamPath, answerStream)
	return m
}

// answerCall answers like a unary gRPC call: a kibibyte, then trailers.
func answerCall(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the client has gone
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	if _, err := w.Write(backendAnswer[len(backendAnswer)-1024:]); err != nil {
		return
	}
	w.Header().Set("Grpc-Status", "0")
}

func (b *backends) http2Port() int { return b.listener2.Addr().(*net.TCPAddr).Port }

// Close ends all of them.
func (b *backends) Close() {
	b.http.Close()
	b.tcp.Close()
	b.http2.Close()
	<-b.done2
}

// backend answers every request with 1 KiB, with as little work as can be.
type backend struct {
	listener net.Listener
	serving  func(*backend, net.Conn)
	wg       sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

var backendAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n" +
	"Date: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n" + strings.Repeat("x", 1024))

func startBackend(serving func(*backend, net.Conn)) (*backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	b := &backend{listener: l, serving: serving, conns: map[net.Conn]bool{}}
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
			b.serving(b, c)
			b.mu.Lock()
			delete(b.conns, c)
			b.mu.Unlock()
		})
	}
}

// swallow takes bytes and says at the end how many there were.
func (*backend) swallow(c net.Conn) {
	defer c.Close()
	n, err := io.Copy(io.Discard, c)
	if err == nil {
		fmt.Fprintln(c, n)
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
