package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http2"
)

// webSockets answers upgrades on /ws with an echo, on /no with 403, and on /deaf as if nobody had asked for one.
func webSockets(t *testing.T) string {
	return server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/no":
			w.WriteHeader(http.StatusForbidden)
			return
		case "/deaf", "/evil":
			io.WriteString(w, r.URL.Path) //nolint:errcheck // a test server
			return
		}
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+ //nolint:errcheck // seen by the client
			"\r\nSec-WebSocket-Accept: of "+r.Header.Get("Sec-WebSocket-Key")+"\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				io.WriteString(nc, "bye\n") //nolint:errcheck // seen by the client
				return
			}
			io.WriteString(nc, r.Method+" "+line) //nolint:errcheck // seen by the client
		}
	})
}

// tunnels is a manager that lets tunnels through, in both versions.
func tunnels(t *testing.T, routes ...*plan.Route) *plan.HTTPConnectionManager {
	m := manager(t, routes...)
	m.HTTP2.AllowConnect = true
	m.Upgrades = []plan.Upgrade{{Type: "websocket", Enabled: true}, {Type: "connect", Enabled: true}}
	return m
}

// dial2 connects by HTTP/2, and waits until the server has told what it takes.
func (b *bed) dial2() *http2.Conn {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	c := http2.NewClient(nc, http2.Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run() //nolint:errcheck // ends with Close
	}()
	b.t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c
}

// connect2 sends an extended CONNECT with early data behind it, and returns the stream and the response's status.
func connect2(t *testing.T, c *http2.Conn, path, early string) (*http2.Stream, *http2.Head) {
	t.Helper()
	h := &http2.Head{Method: []byte("CONNECT"), Scheme: []byte("http"), Authority: []byte("x"), Path: []byte(path), Protocol: []byte("websocket")}
	s, err := c.Open(h, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	s.SetReadDeadline(time.Now().Add(10 * time.Second))
	var unsent error // a refusal may be there first
	if early != "" {
		_, unsent = s.Write([]byte(early))
	}
	_, answer, err := s.ReadHead()
	if err != nil {
		t.Fatal(unsent, err)
	}
	return s, answer
}

func TestWebSocketByExtendedConnect(t *testing.T) {
	b := newBed(t)
	b.cluster("ws", webSockets(t))
	b.listen(tunnels(t, b.route("/", "ws")))
	c := b.dial2()
	s, answer := connect2(t, c, "/ws", "early\n")
	if answer.Status != 200 || answer.Get(header.Upgrade) != nil || answer.First(header.NewName("sec-websocket-accept")) >= 0 {
		t.Fatalf("answer %d %+v", answer.Status, answer.Fields)
	}
	br := bufio.NewReader(s)
	for _, line := range []string{"early\n", "one\n", "two\n"} {
		if line != "early\n" {
			if _, err := s.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := br.ReadString('\n'); err != nil || got != "GET "+line {
			t.Fatalf("%q %v", got, err)
		}
	}
	// Each side can end its direction.
	if err := s.WriteEnd(nil); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(br); err != nil || string(rest) != "bye\n" {
		t.Errorf("%q %v", rest, err)
	}
	if _, answer := connect2(t, c, "/no", ""); answer.Status != 403 {
		t.Errorf("a server that refuses: %d", answer.Status)
	}
	// What comes before the server has agreed must not reach it as another request.
	s, answer = connect2(t, c, "/deaf", "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n")
	if body, err := io.ReadAll(s); answer.Status != 502 || err != nil || string(body) != "/deaf" {
		t.Errorf("a server that doesn't know upgrades: %d %q %v", answer.Status, body, err)
	}
}

// TestTunnelsThroughTwoProxies asks for an upgrade, and for a tunnel, by HTTP/1, and goes on by HTTP/2.
func TestTunnelsThroughTwoProxies(t *testing.T) {
	far := newBed(t)
	far.cluster("ws", webSockets(t))
	far.cluster("tcp", echoServer(t, "", "tcp"))
	end := far.route("", "tcp")
	end.Match.Kind = plan.ConnectMatch
	end.Forward.ConnectTunnel = true
	far.listen(tunnels(t, far.route("/", "ws"), end))

	near := newBed(t)
	near.cluster("far", far.addr).Protocol.Version = plan.HTTP2
	connect := near.route("", "far")
	connect.Match.Kind = plan.ConnectMatch
	near.listen(tunnels(t, near.route("/", "far"), connect))

	open := func(request, method string) (net.Conn, *bufio.Reader, *http.Response) {
		nc, br := near.dial()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(nc, request) //nolint:errcheck // seen by the read
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		return nc, br, resp
	}
	ask := func(path string) (net.Conn, *bufio.Reader, *http.Response) {
		return open("GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n", "GET")
	}
	nc, br, resp := ask("/ws")
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Accept") != "of k" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, line := range []string{"one\n", "two\n"} {
		io.WriteString(nc, line) //nolint:errcheck // seen by the read
		if got, err := br.ReadString('\n'); err != nil || got != "GET "+line {
			t.Fatalf("%q %v", got, err)
		}
	}
	nc.(*net.TCPConn).CloseWrite() //nolint:errcheck // seen by the read
	if rest, err := io.ReadAll(br); err != nil || string(rest) != "bye\n" {
		t.Errorf("%q %v", rest, err)
	}
	if _, _, resp := ask("/no"); resp.StatusCode != 403 {
		t.Errorf("a server that refuses: %d", resp.StatusCode)
	}
	if _, _, resp := ask("/deaf"); resp.StatusCode != 502 {
		t.Errorf("a server that doesn't know upgrades: %d", resp.StatusCode)
	}
	nc, br, resp = open("CONNECT there.example:1 HTTP/1.1\r\nHost: there.example:1\r\n\r\n", "CONNECT")
	if resp.StatusCode != 200 {
		t.Fatalf("CONNECT: %d", resp.StatusCode)
	}
	io.WriteString(nc, "ping") //nolint:errcheck // seen by the read
	buf := make([]byte, 8)
	if _, err := io.ReadFull(br, buf); err != nil || string(buf) != "tcp:ping" {
		t.Errorf("through the tunnel: %q %v", buf, err)
	}
}

// A server that announces no extended CONNECT isn't sent one; before it has announced anything, it refuses by itself.
func TestUpgradeToAServerWithoutExtendedConnect(t *testing.T) {
	far := newBed(t)
	far.cluster("ws", webSockets(t))
	far.listen(manager(t, far.route("/", "ws")))
	b := newBed(t)
	b.cluster("two", far.addr).Protocol.Version = plan.HTTP2
	b.listen(tunnels(t, b.route("/", "two")))
	if status, _ := b.get("/deaf"); status != 200 {
		t.Fatalf("status %d", status)
	}
	got := b.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 502 ") && !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("got %q", got)
	}
}

// TestUpgradesHaveFiltersOfTheirOwn: what a manager says of an upgrade's filters replaces its own for that upgrade alone.
func TestUpgradesHaveFiltersOfTheirOwn(t *testing.T) {
	b := newBed(t)
	b.cluster("sockets", webSockets(t))
	m := tunnels(t, b.route("/", "sockets"))
	router := m.Filters[len(m.Filters)-1]
	abort := plan.HTTPFilter{Name: "fault", Config: &plan.Fault{Abort: &plan.FaultAbort{HTTPStatus: 418, Fraction: plan.Fraction{Numerator: 100, Denominator: 100}}}}
	m.Filters = []plan.HTTPFilter{abort, router}
	m.Upgrades = []plan.Upgrade{{Type: "websocket", Enabled: true, Filters: []plan.HTTPFilter{router}}, {Type: "other", Enabled: true}}
	b.listen(m)
	for upgrade, want := range map[string]int{"": 418, "websocket": 101, "other": 418} {
		nc, br := b.dial()
		text := "GET /ws HTTP/1.1\r\nHost: x\r\n"
		if upgrade != "" {
			text += "Connection: upgrade\r\nUpgrade: " + upgrade + "\r\n"
		}
		io.WriteString(nc, text+"\r\n") //nolint:errcheck // seen by the read
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%q: %v, %v, not %d", upgrade, resp, err, want)
		}
		nc.Close()
	}
}
