package check

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"lateen.dev/lateen/proxy/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestState(t *testing.T) {
	c := &plan.HealthCheck{HealthyThreshold: 2, UnhealthyThreshold: 3, Interval: time.Second, UnhealthyInterval: 2 * time.Second,
		NoTrafficInterval: time.Minute, IntervalJitter: time.Second}
	for name, steps := range map[string][]struct {
		r                Result
		changed, healthy bool
	}{
		"one is enough at first": {{Passed, true, true}, {Passed, false, true}},
		"nobody there at first":  {{Unreachable, true, false}, {Passed, false, false}, {Passed, true, true}},
		"in a row": {{Passed, true, true}, {Unreachable, false, true}, {Unreachable, false, true}, {Passed, false, true},
			{Unreachable, false, true}, {Unreachable, false, true}, {Unreachable, true, false}, {Passed, false, false},
			{Unreachable, false, false}, {Passed, false, false}, {Passed, true, true}},
		"an answer that says no": {{Passed, true, true}, {Failed, true, false}, {Failed, false, false}},
	} {
		var s State
		for i, step := range steps {
			if changed := s.Step(step.r, c); changed != step.changed || s.Healthy != step.healthy {
				t.Errorf("%s, %d: changed %v, healthy %v", name, i, changed, s.Healthy)
			}
		}
	}
	for _, k := range []struct {
		s    State
		busy bool
		want time.Duration
	}{{State{Healthy: true}, true, time.Second}, {State{}, true, 2 * time.Second}, {State{}, false, time.Minute}} {
		if got := k.s.Next(c, k.busy, 0.5); got != k.want+time.Second/2 {
			t.Errorf("%+v: %v", k, got)
		}
	}
}

// try makes one check against an address.
func try(t *testing.T, c plan.HealthCheck, address string) (Result, error) {
	t.Helper()
	var d net.Dialer
	h, err := New(&c, Target{Host: "fallback", Dial: func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return h.Check(ctx)
}

func TestHTTP(t *testing.T) {
	var asked *http.Request
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		w.WriteHeader(map[string]int{"/ok": 200, "/other": 204}[r.URL.Path] + map[string]int{"/bad": 503}[r.URL.Path])
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	address := s.Listener.Addr().String()
	for _, http2 := range []bool{false, true} {
		c := plan.HealthCheck{Path: "/ok", Method: "GET", HTTP2: http2,
			Headers: []plan.HeaderMutation{{Name: plan.NewHeaderName("x-why"), Value: plan.Format{Literal: "health"}}}}
		if r, err := try(t, c, address); r != Passed || err != nil {
			t.Errorf("HTTP/2 %v: %v, %v", http2, r, err)
		}
		if asked.Host != "fallback" || asked.Header.Get("X-Why") != "health" || asked.UserAgent() != "Envoy/HC" || (asked.ProtoMajor == 2) != http2 {
			t.Errorf("asked %+v", asked)
		}
	}
	if r, err := try(t, plan.HealthCheck{Path: "/bad", Method: "GET"}, address); r != Failed || err == nil {
		t.Errorf("503: %v, %v", r, err)
	}
	other := plan.HealthCheck{Path: "/other", Method: "HEAD", Host: "a", ExpectedStatuses: []plan.StatusRange{{First: 204, Last: 205}}}
	if r, err := try(t, other, address); r != Passed || err != nil || asked.Host != "a" || asked.Method != "HEAD" {
		t.Errorf("204: %v, %v, %+v", r, err, asked)
	}
	if r, _ := try(t, other, "127.0.0.1:1"); r != Unreachable {
		t.Errorf("nobody there: %v", r)
	}
}

func TestTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			b := make([]byte, 4)
			if n, _ := io.ReadFull(c, b); n == 4 && string(b) == "PING" {
				io.WriteString(c, "well, PONG and ") //nolint:errcheck // the checker tells
				io.WriteString(c, "OK")              //nolint:errcheck // as above
			}
			c.Close()
		}
	})
	defer wg.Wait()
	defer ln.Close()
	for name, k := range map[string]struct {
		c    plan.HealthCheck
		want Result
	}{
		"a connection": {plan.HealthCheck{Kind: plan.CheckTCP}, Passed},
		"an answer":    {plan.HealthCheck{Kind: plan.CheckTCP, Send: []byte("PING"), Receive: [][]byte{[]byte("PONG"), []byte("OK")}}, Passed},
		"another":      {plan.HealthCheck{Kind: plan.CheckTCP, Send: []byte("PING"), Receive: [][]byte{[]byte("OK"), []byte("PONG")}}, Unreachable},
	} {
		if r, err := try(t, k.c, ln.Addr().String()); r != k.want {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, h := grpc.NewServer(), health.NewServer()
	healthv1.RegisterHealthServer(g, h)
	h.SetServingStatus("good", healthv1.HealthCheckResponse_SERVING)
	h.SetServingStatus("bad", healthv1.HealthCheckResponse_NOT_SERVING)
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(ln) }) //nolint:errcheck // ends with Stop
	defer wg.Wait()
	defer g.Stop()
	for service, want := range map[string]Result{"": Passed, "good": Passed, "bad": Failed, "unknown": Failed} {
		if r, err := try(t, plan.HealthCheck{Kind: plan.CheckGRPC, GRPCService: service}, ln.Addr().String()); r != want {
			t.Errorf("%q: %v, %v", service, r, err)
		}
	}
	if r, _ := try(t, plan.HealthCheck{Kind: plan.CheckGRPC}, "127.0.0.1:1"); r != Unreachable {
		t.Errorf("nobody there: %v", r)
	}
}
