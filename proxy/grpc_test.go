package proxy

import (
	"context"
	"net"
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

func TestGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gs, hs := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(gs, hs)
	go gs.Serve(ln) //nolint:errcheck // ends with Stop
	defer gs.Stop()
	hs.SetServingStatus("svc", healthpb.HealthCheckResponse_SERVING)

	b := newBed(t)
	b.cluster("grpc", ln.Addr().String()).Protocol.Version = plan.HTTP2
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
