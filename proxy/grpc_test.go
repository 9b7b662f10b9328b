package proxy

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/proxy/plan"
)

// healthServer speaks gRPC's health service.
func healthServer(t testing.TB) (addr string, hs *health.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gs, hs := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(gs, hs)
	go gs.Serve(ln) //nolint:errcheck // ends with Stop
	t.Cleanup(gs.Stop)
	return ln.Addr().String(), hs
}

func TestGRPC(t *testing.T) {
	addr, hs := healthServer(t)
	hs.SetServingStatus("svc", healthpb.HealthCheckResponse_SERVING)

	b := newBed(t)
	b.cluster("grpc", addr).Protocol.Version = plan.HTTP2
	m := manager(t, b.route("/", "grpc"))
	m.Filters = append([]plan.HTTPFilter{{Config: &plan.Stats{}}, {Config: &plan.GRPCStats{}}}, m.Filters...)
	m.AccessLogs = []*plan.AccessLog{{Path: "x", Formatter: logFormat(t)}}
	b.listen(m)
	cc, err := grpc.NewClient(b.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	hc := healthpb.NewHealthClient(cc)
	resp, err := hc.Check(ctx, &healthpb.HealthCheckRequest{Service: "svc"})
	if err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("unary: %v %v", resp, err)
	}
	if _, err := hc.Check(ctx, &healthpb.HealthCheckRequest{Service: "unknown"}); status.Code(err) != codes.NotFound {
		t.Errorf("an error of the server: %v", err)
	}
	wctx, wcancel := context.WithCancel(ctx)
	stream, err := hc.Watch(wctx, &healthpb.HealthCheckRequest{Service: "svc"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		got, err := stream.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("stream: %v %v, want %v", got, err, want)
		}
		hs.SetServingStatus("svc", healthpb.HealthCheckResponse_NOT_SERVING)
	}
	wcancel()
	b.waitForMetric(`istio_requests_total{`, `request_protocol="grpc"`, `grpc_response_status="0"`)
	b.waitForMetric(`istio_requests_total{`, `request_protocol="grpc"`, `grpc_response_status="5"`)
	b.waitForMetric(`istio_response_messages_total{`, `grpc_response_status="0"`, `} 1`)
}

// TestGRPCWeb speaks gRPC-Web over HTTP/1 to a gRPC server.
func TestGRPCWeb(t *testing.T) {
	addr, _ := healthServer(t)
	b := newBed(t)
	b.cluster("grpc", addr).Protocol.Version = plan.HTTP2
	b.cluster("none")
	b.cluster("web", server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "an error page") //nolint:errcheck // a test server
	}))
	m := manager(t, b.route("/none", "none"), b.route("/web", "web"), b.route("/", "grpc"))
	m.Filters = append([]plan.HTTPFilter{{Config: &plan.Stats{}}, {Config: &plan.GRPCWeb{}}}, m.Filters...)
	b.listen(m)
	const ok = "\x00\x00\x00\x00\x02\x08\x01\x80\x00\x00\x00\x1egrpc-status:0\r\ngrpc-message:\r\n"
	unknown := "\x00\x00\x00\x00\x05\x0a\x03abc"
	for _, tc := range []struct {
		name, path, contentType, body string
		wantType, want, status        string
	}{
		{"binary", "/grpc.health.v1.Health/Check", "application/grpc-web", "\x00\x00\x00\x00\x00", "application/grpc-web+proto", ok, ""},
		{"text", "/grpc.health.v1.Health/Check", "application/grpc-web-text", "AAAAAAA=", "application/grpc-web-text+proto", ok, ""},
		{"the server's error", "/grpc.health.v1.Health/Check", "application/grpc-web+proto", unknown, "application/grpc-web+proto", "", "5"},
		{"the proxy's error", "/none", "application/grpc-web+proto", unknown, "application/grpc-web+proto", "", "14"},
		{"no gRPC server", "/web", "application/grpc-web+proto", unknown, "application/grpc-web+proto", "", "14"},
		{"bad base64", "/grpc.health.v1.Health/Check", "application/grpc-web-text", "A===", "application/grpc-web-text+proto", "", "13"},
		{"gRPC in JSON is left alone", "/web", "application/grpc-web+json", "{}", "text/plain; charset=utf-8", "an error page", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, err := http.Post("http://"+b.addr+tc.path, tc.contentType, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(tc.wantType, "-text") {
				// The segments are padded each by itself.
				body = decodeSegments(t, body)
			}
			if resp.Header.Get("Content-Type") != tc.wantType || string(body) != tc.want || resp.Header.Get("Grpc-Status") != tc.status || len(resp.Trailer) > 0 {
				t.Errorf("%v %q, trailers %v", resp.Header, body, resp.Trailer)
			}
		})
	}
	b.waitForMetric(`istio_requests_total{`, `request_protocol="grpc"`, `grpc_response_status="0"`, `} 2`)
	b.waitForMetric(`istio_requests_total{`, `request_protocol="grpc"`, `grpc_response_status="5"`)
}

func decodeSegments(t *testing.T, text []byte) (out []byte) {
	t.Helper()
	for ; len(text) >= 4; text = text[4:] {
		var err error
		if out, err = base64.StdEncoding.AppendDecode(out, text[:4]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestResetAfterTheDeadline: a server that gives a call up because its time has passed is heard so, and not as unavailable.
func TestResetAfterTheDeadline(t *testing.T) {
	b := newBed(t)
	b.cluster("late", server2(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Grpc-Timeout") != "" {
			ctx, cancel := context.WithTimeout(r.Context(), 10*time.Millisecond)
			defer cancel()
			<-ctx.Done()
		}
		panic(http.ErrAbortHandler)
	})).Protocol.Version = plan.HTTP2
	b.listen(manager(t, b.route("/", "late")))
	for timeout, want := range map[string]string{"": "14", "10m": "4", "1H": "14"} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+b.addr+"/a.B/C", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		if timeout != "" {
			req.Header.Set("Grpc-Timeout", timeout)
		}
		resp, err := client(t, true).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Grpc-Status"); got != want {
			t.Errorf("timeout %q: status %s, want %s", timeout, got, want)
		}
	}
}
