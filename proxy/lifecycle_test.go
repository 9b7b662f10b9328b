package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
)

func (b *bed) dial() (net.Conn, *bufio.Reader) {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return nc, bufio.NewReader(nc)
}

// send writes a request and reads its response whole.
func send(t testing.TB, nc net.Conn, br *bufio.Reader, request string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

const plainGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestShutdownClosesIdleConnectionsAndWaitsForBusyOnes(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	b := newBed(t)
	b.cluster("echo", server(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-release
		}
	}))
	b.listen(manager(t, b.route("/", "echo")))
	idle, idleReader := b.dial()
	send(t, idle, idleReader, plainGet)
	busy, busyReader := b.dial()
	io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // seen by the server
	<-arrived
	done := make(chan error, 1)
	go func() { done <- b.proxy.Shutdown(context.Background()) }()
	if _, err := idleReader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection: %v, want its end", err)
	}
	select {
	case err := <-done:
		t.Fatalf("shut down with a request in flight: %v", err)
	default:
	}
	close(release)
	resp, err := http.ReadResponse(busyReader, nil)
	if err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("the request in flight: %v %v, want 200 and connection: close", resp, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestShutdownCutsOffAtTheDeadline(t *testing.T) {
	arrived := make(chan struct{})
	b := newBed(t)
	b.cluster("slow", server(t, func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() }))
	b.listen(manager(t, b.route("/", "slow")))
	nc, _ := b.dial()
	io.WriteString(nc, plainGet) //nolint:errcheck // seen by the server
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.proxy.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestClientGoneCancelsTheUpstream(t *testing.T) {
	arrived, canceled := make(chan struct{}), make(chan struct{})
	b := newBed(t)
	b.cluster("slow", server2(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		canceled <- struct{}{}
	}))
	m := manager(t, b.route("/", "slow"))
	m.AccessLogs = []*plan.AccessLog{{Path: "x", Formatter: logFormat(t)}}
	b.listen(m)
	check := func(who string) {
		select {
		case <-canceled:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the server still works for a client that has gone", who)
		}
		if line := <-b.logs.lines; !strings.Contains(line, " DC downstream_remote_disconnect ") {
			t.Errorf("%s: logged %q", who, line)
		}
	}
	nc, _ := b.dial()
	io.WriteString(nc, plainGet) //nolint:errcheck // seen by the server
	<-arrived
	nc.Close()
	check("HTTP/1")
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+b.addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go client(t, true).Do(req) //nolint:errcheck,bodyclose // canceled
	<-arrived
	cancel()
	check("HTTP/2")
}

func TestStalePooledConnectionsAreReplaced(t *testing.T) {
	fickle := serveTCP(t, func(nc net.Conn) { // answers one request per connection, and says that it keeps it
		http.ReadRequest(bufio.NewReader(nc))                                //nolint:errcheck // the client sees it
		io.WriteString(nc, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") //nolint:errcheck // the client sees it
	})
	b := newBed(t)
	b.cluster("fickle", fickle)
	b.listen(manager(t, b.route("/", "fickle")))
	nc, br := b.dial()
	for i := range 50 {
		if resp := send(t, nc, br, plainGet); resp.StatusCode != 200 {
			t.Fatalf("request %d: %d", i, resp.StatusCode)
		}
		if resp := send(t, nc, br, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"); resp.StatusCode != 200 {
			t.Fatalf("POST %d: %d", i, resp.StatusCode)
		}
	}
}

func TestSlowHeadsAndIdleConnections(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	m := manager(t, b.route("/", "echo"))
	m.Timeouts.RequestHeaders, m.Timeouts.Idle = 50*time.Millisecond, 50*time.Millisecond
	b.listen(m)
	if got := b.raw("GET / HTT", 1); !strings.HasPrefix(got, "408 ") || !strings.Contains(got, "close") {
		t.Errorf("a slow head: %q", got)
	}
	nc, br := b.dial()
	send(t, nc, br, plainGet)
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("an idle connection: %v, want its end", err)
	}
}

func TestBadRequestsAndBadResponses(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	b.cluster("garbage", fixed(t, "SSH-2.0-OpenSSH_9.2\r\n"))
	b.cluster("short", fixed(t, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, and more than that"))
	b.listen(manager(t, b.route("/garbage", "garbage"), b.route("/short", "short"), b.route("/", "echo")))
	for request, want := range map[string]string{
		"GET /garbage HTTP/1.1\r\nHost: x\r\n\r\n":                                             "502 ",
		"GET /short HTTP/1.1\r\nHost: x\r\n\r\n":                                               "200 hello",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": "400 ",
		"GET / HTTP/1.1\r\nHost: x\r\nx: " + strings.Repeat("y", 70000) + "\r\n\r\n":           "431 ",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":               "400 ",
		"GET / HTTP/2.5\r\nHost: x\r\n\r\n":                                                    "505 ",
	} {
		if got := b.raw(request, 1); !strings.HasPrefix(got, want) {
			t.Errorf("%.60q: got %q, want %q", request, got, want)
		}
	}
}

func TestConnectTunnel(t *testing.T) {
	b := newBed(t)
	b.cluster("tcp", fixed(t, "pong"))
	r := b.route("", "tcp")
	r.Match.Kind = plan.ConnectMatch
	r.Forward.ConnectTunnel = true
	m := manager(t, r)
	m.Upgrades = []plan.Upgrade{{Type: "connect", Enabled: true}}
	b.listen(m)
	nc, br := b.dial()
	io.WriteString(nc, "CONNECT there.test:443 HTTP/1.1\r\nHost: there.test:443\r\n\r\n") //nolint:errcheck // seen by the read
	resp, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	io.WriteString(nc, "ping") //nolint:errcheck // seen by the read
	buf := make([]byte, 4)
	if _, err := io.ReadFull(br, buf); err != nil || string(buf) != "pong" {
		t.Errorf("through the tunnel: %q %v", buf, err)
	}
}
