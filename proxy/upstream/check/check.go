package check

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/proxy/plan"
)

// Target is a host that is checked.
type Target struct {
	// Dial opens a connection to it, TLS and all.
	Dial func(ctx context.Context) (net.Conn, error)
	// Host is the host header where the check names none.
	Host string
}

// Checker checks one host.
type Checker interface {
	// Check makes a check, which ends with ctx at the latest.
	Check(ctx context.Context) (Result, error)
	// Close ends what the checker keeps open.
	Close()
}

// New makes a checker.
func New(c *plan.HealthCheck, t Target) (Checker, error) {
	switch c.Kind {
	case plan.CheckTCP:
		return &tcpChecker{c, t}, nil
	case plan.CheckGRPC:
		return newGRPC(c, t)
	}
	p := new(http.Protocols)
	p.SetHTTP1(!c.HTTP2)
	p.SetUnencryptedHTTP2(c.HTTP2) // what is encrypted is so below
	return &httpChecker{c, t, &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return t.Dial(ctx) },
		Protocols:   p, DisableKeepAlives: !c.ReuseConnection, DisableCompression: true, MaxIdleConns: 1,
	}}, nil
}

// maxBody is how much of an answer's body is read to use the connection again.
const maxBody = 64 << 10

type httpChecker struct {
	c         *plan.HealthCheck
	t         Target
	transport *http.Transport
}

func (h *httpChecker) Check(ctx context.Context) (Result, error) {
	host := h.c.Host
	if host == "" {
		host = h.t.Host
	}
	u, err := url.ParseRequestURI(h.c.Path)
	if err != nil {
		return Failed, fmt.Errorf("path: %w", err)
	}
	u.Scheme, u.Host = "http", "host" // the dialer knows where to go
	req, err := http.NewRequestWithContext(ctx, h.c.Method, u.String(), nil)
	if err != nil {
		return Failed, err
	}
	req.Host = host
	req.Header.Set("User-Agent", "Envoy/HC")
	for i := range h.c.Headers {
		m := &h.c.Headers[i]
		name, value := m.Name.String(), string(m.Value.Append(nil, nil))
		if m.Action == plan.AppendIfExistsOrAdd {
			req.Header.Add(name, value)
		} else {
			req.Header.Set(name, value)
		}
	}
	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		return Unreachable, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)); err != nil {
		return Unreachable, err
	}
	expected := h.c.ExpectedStatuses
	if len(expected) == 0 {
		expected = []plan.StatusRange{{First: http.StatusOK, Last: http.StatusOK + 1}}
	}
	code := int64(resp.StatusCode)
	if !slices.ContainsFunc(expected, func(r plan.StatusRange) bool { return r.First <= code && code < r.Last }) {
		return Failed, fmt.Errorf("status %d", code)
	}
	return Passed, nil
}

func (h *httpChecker) Close() { h.transport.CloseIdleConnections() }

type tcpChecker struct {
	c *plan.HealthCheck
	t Target
}

func (h *tcpChecker) Check(ctx context.Context) (Result, error) {
	conn, err := h.t.Dial(ctx)
	if err != nil {
		return Unreachable, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // which ends whatever waits
	defer func() {
		if stop() {
			_ = conn.Close() // the answer is there, or there will be none
		}
	}()
	if len(h.c.Send) > 0 {
		if _, err := conn.Write(h.c.Send); err != nil {
			return Unreachable, err
		}
	}
	var got []byte
	var b [4096]byte
	for !answers(got, h.c.Receive) {
		n, err := conn.Read(b[:])
		got = append(got, b[:n]...)
		if err != nil && !answers(got, h.c.Receive) {
			return Unreachable, fmt.Errorf("the answer is not the one that is expected: %w", err)
		}
		if len(got) > maxBody {
			return Unreachable, fmt.Errorf("the answer is not among the first %d bytes", len(got))
		}
	}
	return Passed, nil
}

// answers tells whether every block is there, in their order.
func answers(got []byte, blocks [][]byte) bool {
	for _, b := range blocks {
		i := bytes.Index(got, b)
		if i < 0 {
			return false
		}
		got = got[i+len(b):]
	}
	return true
}

func (h *tcpChecker) Close() {}

type grpcChecker struct {
	c    *plan.HealthCheck
	conn *grpc.ClientConn
}

func newGRPC(c *plan.HealthCheck, t Target) (Checker, error) {
	authority := c.GRPCAuthority
	if authority == "" {
		authority = t.Host
	}
	conn, err := grpc.NewClient("passthrough:///host", grpc.WithAuthority(authority), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("Envoy/HC"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return t.Dial(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("gRPC health check: %w", err)
	}
	return &grpcChecker{c, conn}, nil
}

func (h *grpcChecker) Check(ctx context.Context) (Result, error) {
	h.conn.ResetConnectBackoff()
	resp, err := healthv1.NewHealthClient(h.conn).Check(ctx, &healthv1.HealthCheckRequest{Service: h.c.GRPCService})
	switch code := status.Code(err); {
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled:
		return Unreachable, err
	case err != nil:
		return Failed, err
	case resp.GetStatus() != healthv1.HealthCheckResponse_SERVING:
		return Failed, fmt.Errorf("status %v", resp.GetStatus())
	}
	return Passed, nil
}

func (h *grpcChecker) Close() {
	_ = h.conn.Close() // nothing is asked any more
}
