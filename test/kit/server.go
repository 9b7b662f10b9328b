package kit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// Server is a program that tells who it is and what it saw. It serves HTTP/1, HTTP/2 in plain text, gRPC (the health
// service) and WebSocket (an echo) on one port, or lines over TCP on another kind of port.
type Server struct {
	Name, Version string

	grpc *grpc.Server
	wg   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closers []io.Closer
	conns   map[net.Conn]struct{}
	closed  bool
	failed  map[string]int
	seen    []*Report
}

// NewServer makes a server that listens nowhere yet.
func NewServer(name, version string) *Server {
	s := &Server{Name: name, Version: version, conns: map[net.Conn]struct{}{}, failed: map[string]int{}, grpc: grpc.NewServer()}
	grpc_health_v1.RegisterHealthServer(s.grpc, &healthServer{server: s})
	return s
}

// Serve answers on a listener, in the manner of a protocol: tcp echoes lines, https speaks TLS, anything else is HTTP.
func (s *Server) Serve(l net.Listener, protocol string, cert *tls.Certificate) {
	switch protocol {
	case "tcp", "mongo", "redis", "tcp-first":
		s.remember(l)
		s.wg.Go(func() { s.serveLines(l, protocol == "tcp-first") })
		return
	case "https":
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2", "http/1.1"}})
	}
	h := &http.Server{Handler: s, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	h.Protocols.SetHTTP1(true)
	h.Protocols.SetUnencryptedHTTP2(true)
	h.Protocols.SetHTTP2(true)
	s.remember(h)
	s.wg.Go(func() {
		// It ends when it is closed.
		_ = h.Serve(l)
	})
}

func (s *Server) remember(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, c)
}

// Close stops listening, closes all connections and waits for what served them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, c := range s.closers {
		// What closing could report has no reader.
		_ = c.Close()
	}
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.grpc.Stop()
	s.wg.Wait()
}

// Seen are the Reports of all requests so far.
func (s *Server) Seen() []*Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Report(nil), s.seen...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set(headerName, s.Name)
	w.Header().Set(headerVersion, s.Version)
	switch {
	case strings.HasPrefix(q.Header.Get("Content-Type"), "application/grpc"):
		s.grpc.ServeHTTP(w, q)
	case strings.EqualFold(q.Header.Get("Upgrade"), "websocket"):
		report := s.report(q, nil)
		websocket.Server{Handler: func(ws *websocket.Conn) { s.echo(ws, report) }}.ServeHTTP(w, q)
	default:
		s.answer(w, q)
	}
}

// echo sends the Report, and then back whatever comes.
func (s *Server) echo(ws *websocket.Conn, report *Report) {
	if websocket.Message.Send(ws, string(report.json())) == nil {
		// The client ends it.
		_, _ = io.Copy(ws, ws)
	}
}

func (s *Server) answer(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // the client has gone
	}
	report := s.report(q, body)
	if d, err := time.ParseDuration(q.Header.Get(headerDelay)); err == nil {
		select {
		case <-time.After(d):
		case <-q.Context().Done():
			return
		}
	}
	if q.Header.Get(headerReset) != "" {
		panic(http.ErrAbortHandler)
	}
	for _, v := range q.Header.Values("X-Kit-Answer") {
		name, value, _ := strings.Cut(v, ":")
		w.Header().Add(name, value)
	}
	status := s.status(q)
	if n, err := strconv.Atoi(q.Header.Get(headerBody)); err == nil {
		w.WriteHeader(status)
		s.pour(w, n)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Whoever asked may have gone.
	_, _ = w.Write(report.json())
}

// pour answers with n bytes in several chunks.
func (s *Server) pour(w http.ResponseWriter, n int) {
	chunk := bytes.Repeat([]byte("x"), 1000)
	for n > 0 {
		k := min(n, len(chunk))
		if _, err := w.Write(chunk[:k]); err != nil {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		n -= k
	}
}

// status is what the request asks to be answered with.
func (s *Server) status(q *http.Request) int {
	status, err := strconv.Atoi(q.Header.Get(headerStatus))
	n, ferr := strconv.Atoi(q.Header.Get(headerFailFirst))
	if ferr != nil {
		if err != nil {
			return http.StatusOK
		}
		return status
	}
	if err != nil {
		status = http.StatusServiceUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := q.Header.Get(headerKey)
	if s.failed[key]++; s.failed[key] > n {
		return http.StatusOK
	}
	return status
}

func (s *Server) report(q *http.Request, body []byte) *Report {
	r := &Report{Name: s.Name, Version: s.Version, Method: q.Method, Path: q.RequestURI, Host: q.Host, Proto: q.Proto, Headers: q.Header,
		Body: string(body), Chunked: q.ContentLength < 0, Remote: q.RemoteAddr}
	if q.TLS != nil {
		r.ServerName = q.TLS.ServerName
	}
	s.note(r)
	return r
}

func (s *Server) note(r *Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r)
}

// serveLines answers each line with a Report in a line. first says that the server speaks first: its name, as MySQL's does.
func (s *Server) serveLines(l net.Listener, first bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if !s.track(conn) {
			return
		}
		s.wg.Go(func() {
			defer s.drop(conn)
			s.lines(conn, first)
		})
	}
}

func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) drop(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) lines(conn net.Conn, first bool) {
	if first {
		if _, err := fmt.Fprintf(conn, "%s\n", s.Name); err != nil {
			return
		}
	}
	in := bufio.NewScanner(conn)
	for in.Scan() {
		r := &Report{Name: s.Name, Version: s.Version, Proto: "TCP", Body: in.Text(), Remote: conn.RemoteAddr().String()}
		s.note(r)
		if _, err := conn.Write(append(r.json(), '\n')); err != nil {
			return
		}
	}
}

// healthServer answers gRPC calls: the health service, because every language has it.
type healthServer struct {
	grpc_health_v1.UnimplementedHealthServer
	server *Server
}

// Check reports what it saw in the answer's metadata.
func (h *healthServer) Check(ctx context.Context, q *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	r := &Report{Name: h.server.Name, Version: h.server.Version, Path: "/grpc.health.v1.Health/Check", Proto: "gRPC", Body: q.GetService(),
		Headers: http.Header{}}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for name, values := range md {
			r.Headers[http.CanonicalHeaderKey(name)] = values
		}
		r.Host = strings.Join(md.Get(":authority"), ",")
	}
	h.server.note(r)
	if err := grpc.SetHeader(ctx, metadata.Pairs(headerReport, string(r.json()))); err != nil {
		return nil, errors.Join(errors.New("sending the report"), err)
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}
