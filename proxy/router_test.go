package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream/outlier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func name(s string) plan.HeaderName { return plan.NewHeaderName(s) }

func TestRetries(t *testing.T) {
	var calls atomic.Int32
	failTwice := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if calls.Add(1) < 3 {
			w.WriteHeader(503)
			return
		}
		w.Header().Set("X-Seen", r.Header.Get("x-envoy-attempt-count")+" "+string(body))
	})
	b := newBed(t)
	b.cluster("flaky", failTwice)
	r := b.route("/", "flaky")
	r.Forward.Retry = &plan.RetryPolicy{On: plan.Retry5xx, NumRetries: 2, BackoffBase: time.Millisecond, BackoffMax: 2 * time.Millisecond}
	m := manager(t, r)
	m.Inline.Hosts.All()[0].IncludeAttemptCount = true
	b.listen(m)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		calls.Store(0)
		got := b.raw(request, 1)
		if !strings.HasPrefix(got, "200") || !strings.Contains(got, "X-Seen: 3") || strings.HasPrefix(request, "POST") && !strings.Contains(got, "hello") {
			t.Errorf("%.20q: got %q after %d calls, want success on the third try", request, got, calls.Load())
		}
	}
	calls.Store(-10)
	if got := b.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1); !strings.HasPrefix(got, "503") || calls.Load() != -7 {
		t.Errorf("got %q after %d tries, want 503 after 3", got, calls.Load()+10)
	}
}

func TestRetryOfAnotherHostAfterRefusal(t *testing.T) {
	b := newBed(t)
	b.cluster("half", "127.0.0.1:1", server(t, echo))
	r := b.route("/", "half")
	r.Forward.Retry = &plan.RetryPolicy{On: plan.RetryConnectFailure, NumRetries: 2, BackoffBase: time.Millisecond, AvoidPreviousHosts: true, HostAttempts: 5}
	b.listen(manager(t, r))
	for range 10 {
		if code, _ := b.get("/"); code != 200 {
			t.Fatalf("got %d; a refused connection must be hidden", code)
		}
	}
}

func TestTimeouts(t *testing.T) {
	slow := server(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(10 * time.Second):
		case <-r.Context().Done():
		}
	})
	b := newBed(t)
	b.cluster("slow", slow)
	whole, try := b.route("/whole", "slow"), b.route("/try", "slow")
	whole.Forward.Timeout = 50 * time.Millisecond
	try.Forward.Retry = &plan.RetryPolicy{On: plan.RetryGatewayError, NumRetries: 1, PerTryTimeout: 30 * time.Millisecond, BackoffBase: time.Millisecond}
	b.listen(manager(t, whole, try))
	for _, path := range []string{"/whole", "/try"} {
		start := time.Now()
		if code, body := b.get(path); code != 504 || body != "upstream request timeout" || time.Since(start) > 2*time.Second {
			t.Errorf("%s: %d %q after %v", path, code, body, time.Since(start))
		}
	}
}

func TestRewriteRedirectDirectAndHeaders(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.Host+r.URL.RequestURI()+" "+r.Header.Get("x-added")+" "+r.Header.Get("x-gone")+" "+r.Header.Get("x-envoy-original-path"))
		w.Header().Set("X-Secret", "1")
	}))
	rw := b.route("/old", "echo")
	rw.Match.Kind = plan.PathPrefix
	rw.Forward.Rewrite = plan.Rewrite{HasPrefix: true, Prefix: "/new", Host: []byte("other.test")}
	rw.Forward.Clusters[0].Headers = plan.HeaderMutations{
		Request:  []plan.HeaderMutation{{Name: name("x-gone"), Remove: true}, {Name: name("x-added"), Value: plan.Format{Literal: "yes"}}},
		Response: []plan.HeaderMutation{{Name: name("x-secret"), Remove: true}},
	}
	redirect := &plan.Route{Match: plan.RouteMatch{Path: "/away"}, Redirect: &plan.Redirect{Code: 302, Host: "there.test"}}
	direct := &plan.Route{Match: plan.RouteMatch{Path: "/direct"}, Direct: &plan.DirectResponse{Status: 418, Body: []byte("teapot")}}
	b.listen(manager(t, rw, redirect, direct))
	if got, want := b.raw("GET /old/x?y=1 HTTP/1.1\r\nHost: a\r\nx-gone: 1\r\n\r\n", 1), "[X-Seen: other.test/new/x?y=1 yes  /old/x?y=1]"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	if got := b.raw("GET /away?q HTTP/1.1\r\nHost: a\r\n\r\n", 1); !strings.HasPrefix(got, "302") || !strings.Contains(got, "http://there.test/away?q") {
		t.Errorf("redirect: %q", got)
	}
	if got := b.raw("GET /direct HTTP/1.1\r\nHost: a\r\n\r\n", 1); !strings.HasPrefix(got, "418 teapot") {
		t.Errorf("direct: %q", got)
	}
}

func TestFaultsAndRBAC(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	m := manager(t, b.route("/", "echo"))
	deny := &plan.RBACRules{Action: plan.RBACDeny, Policies: []plan.RBACPolicy{{
		Name:        "no-admin",
		Permissions: []plan.RBACRule{{Kind: plan.RBACPath, String: &plan.StringMatch{Kind: plan.MatchPrefix, Value: "/admin"}}},
		Principals:  []plan.RBACRule{{Kind: plan.RBACAny}},
	}}}
	all := plan.Fraction{Numerator: 100, Denominator: 100}
	m.Filters = []plan.HTTPFilter{
		{Name: "rbac", Config: &plan.RBAC{Rules: deny}},
		{Name: "fault", Config: &plan.Fault{
			Delay:   &plan.FaultDelay{Fixed: 20 * time.Millisecond, Fraction: all},
			Abort:   &plan.FaultAbort{HTTPStatus: 555, Fraction: all},
			Headers: []plan.HeaderMatch{{Name: name("x-break"), Kind: plan.HeaderPresent}},
		}},
		{Name: "router", Config: &plan.Router{}},
	}
	b.listen(m)
	if got := b.raw("GET /admin/x HTTP/1.1\r\nHost: a\r\n\r\n", 1); !strings.HasPrefix(got, "403 RBAC: access denied") {
		t.Errorf("rbac: %q", got)
	}
	start := time.Now()
	if got := b.raw("GET / HTTP/1.1\r\nHost: a\r\nx-break: 1\r\n\r\n", 1); !strings.HasPrefix(got, "555 fault filter abort") || time.Since(start) < 20*time.Millisecond {
		t.Errorf("fault: %q after %v", got, time.Since(start))
	}
	if code, _ := b.get("/"); code != 200 {
		t.Errorf("neither applies: %d", code)
	}
}

func TestUpgradeRelays(t *testing.T) {
	b := newBed(t)
	b.cluster("ws", server(t, func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n") //nolint:errcheck // seen by the client
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(nc, "echo "+line) //nolint:errcheck // seen by the client
		}
	}))
	m := manager(t, b.route("/", "ws"))
	m.Upgrades = []plan.Upgrade{{Type: "websocket", Enabled: true}}
	b.listen(m)
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") //nolint:errcheck // seen by the read
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%v %v", resp, err)
	}
	for _, line := range []string{"one\n", "two\n"} {
		io.WriteString(nc, line) //nolint:errcheck // seen by the read
		if got, err := br.ReadString('\n'); err != nil || got != "echo "+line {
			t.Fatalf("%q %v", got, err)
		}
	}
}

func TestExpectContinueAndBidirectionalBodies(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex() //nolint:errcheck // fails visibly below
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n]) //nolint:errcheck // seen by the client
			rc.Flush()       //nolint:errcheck // seen by the client
			if err != nil {
				return
			}
		}
	}))
	b.listen(manager(t, b.route("/", "echo")))
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n") //nolint:errcheck // seen by the read
	br := bufio.NewReader(nc)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 100 {
		t.Fatalf("%v %v, want 100", resp, err)
	}
	io.WriteString(nc, "3\r\none\r\n") //nolint:errcheck // seen by the read
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := resp.Body.Read(buf); string(buf[:n]) != "one" {
		t.Fatalf("%q %v: the answer to the first part must come before the second is sent", buf[:n], err)
	}
	io.WriteString(nc, "3\r\ntwo\r\n0\r\n\r\n") //nolint:errcheck // seen by the read
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "two" {
		t.Fatalf("%q %v", rest, err)
	}
}

func TestLargeBodies(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() //nolint:errcheck // the client sees a short body
		io.Copy(w, r.Body)                               //nolint:errcheck // seen by the client
	}))
	b.listen(manager(t, b.route("/", "echo")))
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for _, length := range []int64{int64(len(big)), -1} {
		req, err := http.NewRequest("POST", "http://"+b.addr, io.NopCloser(strings.NewReader(big)))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != big {
			t.Errorf("length %d: %d bytes came back, %v", length, len(got), err)
		}
	}
}

func TestMirror(t *testing.T) {
	seen := make(chan string, 1)
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	b.cluster("shadow", server(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- r.Host + " " + string(body)
	}))
	r := b.route("/", "echo")
	r.Forward.Mirror = []plan.Mirror{{Name: "shadow", Cluster: b.names.Cluster("shadow"), Fraction: plan.Fraction{Numerator: 100, Denominator: 100}}}
	b.listen(manager(t, r))
	b.raw("POST / HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 2\r\n\r\nhi", 1)
	select {
	case got := <-seen:
		if got != "a.test-shadow:80 hi" {
			t.Errorf("the mirror saw %q", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing was mirrored")
	}
}

func TestOutlierEjection(t *testing.T) {
	var bad atomic.Int32
	b := newBed(t)
	c := b.cluster("mixed", server(t, func(w http.ResponseWriter, _ *http.Request) { bad.Add(1); w.WriteHeader(500) }), server(t, echo))
	o := outlier.Default()
	o.Consecutive5xx, o.MaxEjectionPercent = 2, 100
	c.Outlier = &o
	b.listen(manager(t, b.route("/", "mixed")))
	for range 20 {
		b.get("/")
	}
	if n := bad.Load(); n != 2 {
		t.Errorf("the bad host got %d requests, want 2 before its ejection", n)
	}
}

func TestCircuitBreakers(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 10)
	b := newBed(t)
	c := b.cluster("busy", server(t, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release }))
	c.Limits[0] = plan.CircuitBreaker{MaxConnections: 1, MaxPendingRequests: 1, MaxRequests: 10, MaxRetries: 1}
	b.listen(manager(t, b.route("/", "busy")))
	codes := make(chan int, 3)
	get := func() { code, _ := b.get("/"); codes <- code }
	go get()
	<-arrived
	go get() // waits for the connection
	cl := b.proxy.Clusters()["busy"]
	for {
		if _, pending, _, _ := cl.Open(0); pending {
			break
		}
		runtime.Gosched()
	}
	if code, body := b.get("/"); code != 503 || !strings.Contains(body, "overflow") {
		t.Errorf("third request: %d %q, want an overflow", code, body)
	}
	close(release)
	for range 2 {
		if code := <-codes; code != 200 {
			t.Errorf("got %d, want the one that waited to be served", code)
		}
	}
}

func TestAccessLogAndMetrics(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	m := manager(t, b.route("/", "echo"))
	m.Filters = append([]plan.HTTPFilter{{Name: "stats", Config: &plan.Stats{}}}, m.Filters...)
	m.AccessLogs = []*plan.AccessLog{{Path: "x", Formatter: logFormat(t)}}
	b.listen(m)
	b.get("/a")
	select {
	case line := <-b.logs.lines:
		if want := "GET /a 200 - via_upstream echo to-echo\n"; line != want {
			t.Errorf("log %q, want %q", line, want)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was logged")
	}
	rec := &recorder{header: http.Header{}}
	b.metrics.Handler().ServeHTTP(rec, &http.Request{Method: "GET", Header: http.Header{}})
	if !strings.Contains(rec.body.String(), `istio_requests_total{`) || !strings.Contains(rec.body.String(), `destination_service="echo.default.svc.cluster.local"`) {
		t.Error("the request isn't in istio_requests_total")
	}
}
