package conformance

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"

	orcadata "github.com/cncf/xds/go/xds/data/orca/v3"
	orcapb "github.com/cncf/xds/go/xds/service/orca/v3"
)

// interopCases are all of grpc-go's cases that need no account at a cloud.
func interopCases(cc *grpc.ClientConn) map[string]func(context.Context) {
	tc := testgrpc.NewTestServiceClient(cc)
	plain := func(f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context) {
		return func(ctx context.Context) { f(ctx, tc) }
	}
	return map[string]func(context.Context){
		"empty_unary":                 plain(interop.DoEmptyUnaryCall),
		"large_unary":                 plain(interop.DoLargeUnaryCall),
		"client_streaming":            plain(interop.DoClientStreaming),
		"server_streaming":            plain(interop.DoServerStreaming),
		"ping_pong":                   plain(interop.DoPingPong),
		"empty_stream":                plain(interop.DoEmptyStream),
		"timeout_on_sleeping_server":  plain(interop.DoTimeoutOnSleepingServer),
		"cancel_after_begin":          plain(interop.DoCancelAfterBegin),
		"cancel_after_first_response": plain(interop.DoCancelAfterFirstResponse),
		"custom_metadata":             plain(interop.DoCustomMetadata),
		"status_code_and_message":     plain(interop.DoStatusCodeAndMessage),
		"special_status_message":      plain(interop.DoSpecialStatusMessage),
		"unimplemented_method":        func(ctx context.Context) { interop.DoUnimplementedMethod(ctx, cc) },
		"unimplemented_service": func(ctx context.Context) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
		},
		"pick_first_unary": func(ctx context.Context) { interop.DoPickFirstUnary(ctx, tc) },
		"orca_per_rpc":     func(ctx context.Context) { interop.DoORCAPerRPCTest(ctx, tc) },
		"orca_oob":         func(ctx context.Context) { interop.DoORCAOOBTest(ctx, tc) },
		"rpc_soak":         func(ctx context.Context) { soak(ctx, cc, func() *grpc.ClientConn { return cc }) },
		"channel_soak": func(ctx context.Context) {
			soak(ctx, cc, func() *grpc.ClientConn { return dialInterop() })
		},
	}
}

// soak calls from several workers; each call gets its channel from dial.
func soak(ctx context.Context, shared *grpc.ClientConn, dial func() *grpc.ClientConn) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: 10 * time.Second, OverallTimeout: 30 * time.Second,
		ServerAddr: *interopAddr, NumWorkers: 4, Iterations: 4,
		ChannelForTest: func() (*grpc.ClientConn, func()) {
			cc := dial()
			return cc, func() {
				if cc != shared {
					cc.Close()
				}
			}
		},
	})
}

func dialInterop() *grpc.ClientConn {
	creds := insecure.NewCredentials()
	if *interopRoots != "" {
		var err error
		if creds, err = credentials.NewClientTLSFromFile(*interopRoots, "a.example"); err != nil {
			panic(err)
		}
	}
	cc, err := grpc.NewClient("passthrough:///"+*interopAddr, grpc.WithTransportCredentials(creds), grpc.WithDefaultServiceConfig(
		`{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`))
	if err != nil {
		panic(err)
	}
	return cc
}

// runInterop is the client's process: it runs all cases, in order. grpc-go's cases log and exit when they fail.
func runInterop() int {
	cc := dialInterop()
	defer cc.Close()
	cases := interopCases(cc)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		fmt.Println("begins " + name)
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
		cases[name](ctx)
		cancel()
		fmt.Println("passed " + name)
	}
	return 0
}

// TestGRPCInterop runs grpc-go's client through the proxy to grpc-go's server.
func TestGRPCInterop(t *testing.T) {
	c := newConf(t, cluster{Name: "backend", Port: interopServer(t), HTTP2: true})
	c.start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"plain": {"-interop-addr", local(c.Plain)},
		"TLS":   {"-interop-addr", local(c.TLS), "-interop-roots", filepath.Join(c.Dir, "cert.pem")},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), self, args...).CombinedOutput()
			for which := range interopCases(nil) {
				t.Run(which, func(t *testing.T) {
					if !strings.Contains(string(out), "passed "+which+"\n") {
						t.Errorf("%v\n%s", err, out)
					}
				})
			}
		})
	}
}

// interopServer starts grpc-go's test server.
func interopServer(t *testing.T) int {
	t.Helper()
	ln := listen(t)
	recorder := orca.NewServerMetricsRecorder()
	s := grpc.NewServer(orca.CallMetricsServerOption(recorder), grpc.ChainUnaryInterceptor(nameServer))
	orcapb.RegisterOpenRcaServiceServer(s, &loadReports{provider: recorder})
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: recorder}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ln) //nolint:errcheck // ends with Stop
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return portOf(ln)
}

// nameServer fills in the server's id, which grpc-go's test server leaves out.
func nameServer(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if r, ok := resp.(*testgrpc.SimpleResponse); ok && err == nil {
		r.ServerId = "conformance"
	}
	return resp, err
}

// loadReports reports the server's load as often as a client asks; orca's own service does so every 30 seconds at most.
type loadReports struct {
	orcapb.UnimplementedOpenRcaServiceServer
	provider orca.ServerMetricsProvider
}

// StreamCoreMetrics implements the service.
func (l *loadReports) StreamCoreMetrics(req *orcapb.OrcaLoadReportRequest, out orcapb.OpenRcaService_StreamCoreMetricsServer) error {
	tick := time.NewTicker(max(req.GetReportInterval().AsDuration(), 50*time.Millisecond))
	defer tick.Stop()
	for {
		m := l.provider.ServerMetrics()
		if err := out.Send(&orcadata.OrcaLoadReport{CpuUtilization: m.CPUUtilization, MemUtilization: m.MemUtilization, Utilization: m.Utilization}); err != nil {
			return err
		}
		select {
		case <-out.Context().Done():
			return out.Context().Err()
		case <-tick.C:
		}
	}
}
