package kit

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
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// Request is what a program asks.
type Request struct {
	// Protocol is http (by default), http2 (in plain text), grpc, websocket, tcp or https.
	Protocol string
	Method   string
	// URL names the host; only host and port count for tcp.
	URL string
	// To is where to connect; the zero value resolves the URL's host.
	To     netip.AddrPort
	Header http.Header
	Body   string
	// Chunked sends the body without its length, ExpectContinue waits for 100 before it.
	Chunked, ExpectContinue bool
	Times                   int
	// Parallel is how many are under way at once; 1 by default.
	Parallel int
	// NewConnections uses each connection once.
	NewConnections bool
	// Timeout of each; 10 s by default.
	Timeout time.Duration
}

// Response is what became of one request.
type Response struct {
	// Err says that there was no answer.
	Err    error
	Status int
	Header http.Header
	Proto  string
	Body   string
	// Chunked says that the answer came without a length.
	Chunked bool
	// Report is the server's; nil for answers that are not a Server's.
	Report *Report
	Took   time.Duration
	// Continued says that the server's side asked for the body with 100.
	Continued bool
	// Decision is set by Decide only.
	Decision *Decision
}

// Send makes a request, possibly many times, as a program of the host, and returns what became of each.
func (h *Host) Send(ctx context.Context, q Request) []Response {
	q.Times, q.Parallel = max(1, q.Times), max(1, q.Parallel)
	if q.Timeout == 0 {
		q.Timeout = 10 * time.Second
	}
	out := make([]Response, q.Times)
	c, err := h.caller(&q)
	if err != nil {
		for i := range out {
			out[i].Err = err
		}
		return out
	}
	defer c.close()
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(q.Parallel, q.Times) {
		wg.Go(func() {
			for i := range next {
				out[i] = c.once(ctx)
			}
		})
	}
	for i := range q.Times {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// caller is a program's way of asking one thing again and again.
type caller struct {
	host *Host
	q    *Request
	url  *url.URL
	to   netip.AddrPort
	http *http.Transport
	grpc *grpc.ClientConn
}

func (h *Host) caller(q *Request) (*caller, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, fmt.Errorf("URL %q: %w", q.URL, err)
	}
	c := &caller{host: h, q: q, url: u, to: q.To}
	if !c.to.IsValid() {
		if c.to, err = h.mesh.Resolve(h, u.Host, defaultPort(u.Scheme)); err != nil {
			return nil, err
		}
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return h.Dial(ctx, c.to) }
	switch q.Protocol {
	case "grpc":
		c.grpc, err = grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, "", "") }))
		if err != nil {
			return nil, fmt.Errorf("gRPC client: %w", err)
		}
	default:
		c.http = &http.Transport{DialContext: dial, DisableKeepAlives: q.NewConnections, DisableCompression: true,
			ExpectContinueTimeout: 5 * time.Second, MaxIdleConnsPerHost: q.Parallel, Protocols: new(http.Protocols),
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: u.Hostname()}} // the proxies in between are what is tested
		c.http.Protocols.SetHTTP1(q.Protocol != "http2")
		c.http.Protocols.SetUnencryptedHTTP2(q.Protocol == "http2")
	}
	return c, nil
}

func defaultPort(scheme string) uint16 {
	if scheme == "https" {
		return 443
	}
	return 80
}

func (c *caller) close() {
	if c.grpc != nil {
		// The tests are done with it.
		_ = c.grpc.Close()
	}
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

func (c *caller) once(ctx context.Context) Response {
	ctx, cancel := context.WithTimeout(ctx, c.q.Timeout)
	defer cancel()
	started := time.Now()
	var r Response
	switch c.q.Protocol {
	case "grpc":
		r = c.call(ctx)
	case "tcp":
		r = c.line(ctx)
	case "websocket":
		r = c.socket(ctx)
	default:
		r = c.roundTrip(ctx)
	}
	r.Took = time.Since(started)
	return r
}

func (c *caller) roundTrip(ctx context.Context) Response {
	var r Response
	var body io.Reader
	switch {
	case c.q.Chunked:
		body = struct{ io.Reader }{strings.NewReader(c.q.Body)} // a reader whose length nobody can guess
	case c.q.Body != "":
		body = strings.NewReader(c.q.Body)
	}
	q, err := http.NewRequestWithContext(withContinue(ctx, &r.Continued), c.q.Method, c.q.URL, body)
	if err != nil {
		return Response{Err: fmt.Errorf("request: %w", err)}
	}
	q.Header = c.q.Header.Clone()
	if q.Header == nil {
		q.Header = http.Header{}
	}
	if h := q.Header.Get("Host"); h != "" {
		q.Host = h
	}
	if c.q.ExpectContinue {
		q.Header.Set("Expect", "100-continue")
	}
	answer, err := c.http.RoundTrip(q)
	if err != nil {
		r.Err = err
		return r
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	r.Err, r.Status, r.Header, r.Proto, r.Body = err, answer.StatusCode, answer.Header, answer.Proto, string(data)
	r.Chunked = answer.ContentLength < 0
	r.Report = parseReport(data)
	if r.Report == nil && answer.Header.Get(headerName) != "" {
		r.Report = &Report{Name: answer.Header.Get(headerName), Version: answer.Header.Get(headerVersion)}
	}
	return r
}

func (c *caller) call(ctx context.Context) Response {
	for name, values := range c.q.Header {
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), v)
		}
	}
	var head metadata.MD
	_, err := grpc_health_v1.NewHealthClient(c.grpc).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: c.q.Body}, grpc.Header(&head))
	if err != nil {
		return Response{Err: err}
	}
	r := Response{Status: http.StatusOK, Header: http.Header{}, Proto: "HTTP/2.0"}
	for name, values := range head {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	r.Report = parseReport([]byte(r.Header.Get(headerReport)))
	return r
}

func (c *caller) line(ctx context.Context) Response {
	conn, err := c.host.Dial(ctx, c.to)
	if err != nil {
		return Response{Err: err}
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return Response{Err: err}
		}
	}
	in := bufio.NewReader(conn)
	if c.q.Method == "GREETING" { // the server speaks first
		greeting, err := in.ReadBytes('\n')
		return Response{Err: err, Body: string(bytes.TrimSpace(greeting))}
	}
	if _, err := fmt.Fprintf(conn, "%s\n", c.q.Body); err != nil {
		return Response{Err: err}
	}
	data, err := in.ReadBytes('\n')
	return Response{Err: err, Body: string(data), Report: parseReport(data)}
}

func (c *caller) socket(ctx context.Context) Response {
	conn, err := c.host.Dial(ctx, c.to)
	if err != nil {
		return Response{Err: err}
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return Response{Err: err}
		}
	}
	cfg, err := websocket.NewConfig("ws://"+c.url.Host+c.url.RequestURI(), "http://"+c.url.Host)
	if err != nil {
		return Response{Err: err}
	}
	for name, values := range c.q.Header {
		cfg.Header[name] = values
	}
	ws, err := websocket.NewClient(cfg, conn)
	if err != nil {
		return Response{Err: err}
	}
	var report, back string
	err = websocket.Message.Receive(ws, &report)
	if err == nil {
		err = websocket.Message.Send(ws, c.q.Body)
	}
	if err == nil {
		err = websocket.Message.Receive(ws, &back)
	}
	if err == nil && back != c.q.Body {
		err = errors.New("the echo differs: " + back)
	}
	return Response{Err: err, Status: http.StatusSwitchingProtocols, Body: back, Report: parseReport([]byte(report))}
}
