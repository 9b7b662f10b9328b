package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// server is `peer serve`.
type server struct {
	name string
	web  http.Server
	rpc  *grpc.Server
	ends chan error
}

func serve(args []string) error {
	f := flag.NewFlagSet("serve", flag.ExitOnError)
	s := &server{ends: make(chan error, 4)}
	f.StringVar(&s.name, "name", "peer", "what it calls itself")
	host := f.String("host", "", "where to listen")
	web := f.Int("http", 0, "port for HTTP")
	echo := f.Int("tcp", 0, "port that sends back what it gets")
	greet := f.Int("greet", 0, "port that speaks first, then sends back")
	rpc := f.Int("grpc", 0, "port for gRPC health checks")
	if err := f.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	starts := []struct {
		port  int
		serve func(net.Listener) error
	}{{*web, s.http}, {*echo, s.echo("")}, {*greet, s.echo("hello from " + s.name + "\n")}, {*rpc, s.grpc}}
	for _, one := range starts {
		if one.port == 0 {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(*host, strconv.Itoa(one.port)))
		if err != nil {
			return err
		}
		go func() { s.ends <- one.serve(l) }()
	}
	select {
	case err := <-s.ends:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return s.web.Shutdown(grace)
}

func (s *server) http(l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.answer)
	mux.HandleFunc("/echo", func(w http.ResponseWriter, q *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // else the body's end is not waited for
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.Copy(w, q.Body)
	})
	mux.HandleFunc("/sink", func(w http.ResponseWriter, q *http.Request) {
		n, err := io.Copy(io.Discard, q.Body)
		fmt.Fprintln(w, n, err)
	})
	mux.HandleFunc("/bytes/{n}", sendBytes)
	mux.HandleFunc("/ws", upgrade)
	s.web.Handler = mux
	if err := s.web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer says who answers, and what was asked.
func (s *server) answer(w http.ResponseWriter, q *http.Request) {
	fmt.Fprintf(w, "%s %s %s%s %s\n", s.name, q.Method, q.Host, q.URL.RequestURI(), q.Proto)
	for name, values := range q.Header {
		for _, v := range values {
			fmt.Fprintf(w, "%s: %s\n", name, v)
		}
	}
}

// sendBytes sends n bytes, chunked: their count is not announced.
func sendBytes(w http.ResponseWriter, q *http.Request) {
	n, err := strconv.Atoi(q.PathValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i)
	}
	for n > 0 {
		m := min(n, len(block))
		if _, err := w.Write(block[:m]); err != nil {
			return
		}
		n -= m
		_ = http.NewResponseController(w).Flush()
	}
}

// upgrade switches to a stream that sends back what it gets, as a WebSocket
// server that echoes does; frames are nothing to proxies.
func upgrade(w http.ResponseWriter, q *http.Request) {
	if q.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "no upgrade was asked for", http.StatusBadRequest)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if rw.Flush() == nil {
		_ = copyBack(c, rw.Reader)
	}
}

func copyBack(c net.Conn, from *bufio.Reader) error {
	_, err := io.Copy(c, from)
	return err
}

// echo serves a TCP port that says first, if there is something to say, and
// sends back what it gets.
func (s *server) echo(first string) func(net.Listener) error {
	return func(l net.Listener) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer c.Close()
				if _, err := io.WriteString(c, first); err == nil {
					_ = copyBack(c, bufio.NewReader(c))
				}
			}()
		}
	}
}

func (s *server) grpc(l net.Listener) error {
	s.rpc = grpc.NewServer()
	h := health.NewServer()
	h.SetServingStatus(s.name, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s.rpc, h)
	fmt.Fprintln(os.Stderr, "gRPC on", l.Addr())
	return s.rpc.Serve(l)
}
