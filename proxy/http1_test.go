package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"lateen.dev/lateen/proxy/plan"
)

// exchange writes text and returns all that comes back, with "(open)" at its end when the connection stays open.
func (b *bed) exchange(text string) string {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, text); err != nil {
		b.t.Fatal(err)
	}
	br := bufio.NewReader(nc)
	var out strings.Builder
	left := -1
	for {
		line, err := br.ReadString('\n')
		out.WriteString(line)
		if err != nil {
			return out.String()
		}
		if name, value, ok := strings.Cut(line, ": "); ok && name == "content-length" {
			left = 0
			for _, d := range strings.TrimSpace(value) {
				left = left*10 + int(d-'0')
			}
		}
		if line == "\r\n" && left >= 0 {
			break
		}
	}
	if _, err := io.CopyN(&out, br, int64(left)); err != nil {
		b.t.Fatalf("%v behind %q", err, out.String())
	}
	nc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	rest, err := io.ReadAll(br)
	out.Write(rest)
	if err != nil {
		out.WriteString("(open)")
	}
	return out.String()
}

// check says which of the texts are missing in got, or, with an exclamation mark in front, are not.
func check(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if text, not := strings.CutPrefix(w, "!"); strings.Contains(got, text) == not {
			t.Errorf("got %q, want %q", got, w)
		}
	}
}

func TestHTTP10(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	b.cluster("stream", server(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			io.WriteString(w, "part ") //nolint:errcheck // a test server
			w.(http.Flusher).Flush()
		}
	}))
	m := manager(t, b.route("/stream", "stream"), b.route("/", "echo"))
	m.HTTP1.DefaultHostHTTP10 = "default.example"
	b.listen(m)
	for _, tc := range []struct {
		name, request string
		want          []string
	}{
		{"default host", "GET /a HTTP/1.0\r\n\r\n", []string{"HTTP/1.0 200 OK", "GET default.example/a", "connection: close", "!(open)"}},
		{"its own host", "GET /a HTTP/1.0\r\nHost: x\r\n\r\n", []string{"GET x/a", "!(open)"}},
		{"keep-alive", "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", []string{"HTTP/1.0 200", "connection: keep-alive", "(open)"}},
		{"no chunks", "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			[]string{"HTTP/1.0 200", "connection: close", "!chunked", "!content-length", "\r\n\r\npart part part ", "!(open)"}},
		{"a body", "POST /a HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", []string{"you said hello"}},
		{"local reply", "GET /a HTTP/1.0\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", []string{"HTTP/1.0 200"}},
		{"no Expect", "POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", []string{"HTTP/1.0 200", "!100 Continue"}},
		{"no Transfer-Encoding", "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{" 400 ", "!(open)"}},
	} {
		t.Run(tc.name, func(t *testing.T) { check(t, b.exchange(tc.request), tc.want...) })
	}
	m = manager(t, b.route("/", "echo"))
	b.listen(m)
	check(t, b.exchange("GET /a HTTP/1.0\r\n\r\n"), "HTTP/1.0 400 Bad Request", "!(open)")
	m = manager(t, b.route("/", "echo"))
	m.HTTP1.AcceptHTTP10 = false
	b.listen(m)
	check(t, b.exchange("GET /a HTTP/1.0\r\nHost: x\r\n\r\n"), "HTTP/1.1 426 Upgrade Required", "connection: close", "!(open)")
}

// A client is told, by the answer, that the connection ends, whenever the rest of its request isn't going to be read.
func TestEarlyAnswersAnnounceTheEnd(t *testing.T) {
	b := newBed(t)
	deaf := server(t, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() //nolint:errcheck // a test server
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "no") //nolint:errcheck // a test server
		w.(http.Flusher).Flush()
		<-t.Context().Done()
	})
	b.cluster("deaf", deaf)
	b.cluster("echo", server(t, echo))
	direct := &plan.Route{Match: plan.RouteMatch{Path: "/direct"}, Direct: &plan.DirectResponse{Status: 403}}
	b.listen(manager(t, direct, b.route("/deaf", "deaf"), b.route("/echo", "echo"), b.route("/gone", "gone")))
	for _, tc := range []struct {
		name, request string
		closes        bool
	}{
		{"the body is there", "POST /direct HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", false},
		{"and in chunks", "POST /direct HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false},
		{"half of it is", "POST /direct HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel", true},
		{"half of the chunks", "POST /direct HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true},
		{"it waits for a 100", "POST /gone HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", true},
		{"the server answers early", "POST /deaf HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true},
		{"the whole request was read", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.closes {
				check(t, b.exchange(tc.request), "connection: close", "!(open)")
			} else {
				check(t, b.exchange(tc.request), "!connection: close", "(open)")
			}
		})
	}
}

// A server that speaks HTTP/2 and opens no window is waited for no longer than one that doesn't answer, whether the body
// came with the head or after it.
func TestServerWithoutWindow(t *testing.T) {
	deaf := serveTCP(t, func(nc net.Conn) {
		fr := http2.NewFramer(nc, nc)
		fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) //nolint:errcheck // seen by the client
		io.Copy(io.Discard, nc)                                                     //nolint:errcheck // until the client closes
	})
	b := newBed(t)
	b.cluster("deaf", deaf).Protocol.Version = plan.HTTP2
	m := manager(t, b.route("/", "deaf"))
	m.Timeouts.StreamIdle = 300 * time.Millisecond
	b.listen(m)
	check(t, b.exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), " 504 ") // the settings have arrived
	for _, body := range []string{"hello", "hel"} {
		check(t, b.exchange("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"+body), " 504 ", "stream timeout")
	}
}

func TestRoutesAllowUpgrades(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	upgrades := func(prefix string, list ...plan.Upgrade) *plan.Route {
		r := b.route(prefix, "echo")
		r.Forward.Upgrades = list
		return r
	}
	connect := b.route("", "echo")
	connect.Match.Kind = plan.ConnectMatch
	m := manager(t, upgrades("/yes", plan.Upgrade{Type: "websocket", Enabled: true}), upgrades("/no", plan.Upgrade{Type: "spdy"}), b.route("/", "echo"))
	m.Upgrades = []plan.Upgrade{{Type: "spdy", Enabled: true}}
	b.listen(m)
	ask := func(path, protocol string) string {
		return b.exchange("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: " + protocol + "\r\n\r\n")
	}
	for _, tc := range []struct{ path, protocol, want string }{
		{"/yes", "websocket", " 200 "}, {"/yes", "WebSocket", " 200 "}, {"/yes", "spdy", " 200 "}, {"/yes", "other", " 403 "},
		{"/no", "spdy", " 403 "}, {"/", "spdy", " 200 "}, {"/", "websocket", " 403 "}, {"/", "h2c", " 200 "},
	} {
		t.Run(tc.path+" "+tc.protocol, func(t *testing.T) {
			check(t, ask(tc.path, tc.protocol), tc.want)
			if tc.protocol != "h2c" {
				// What comes next was meant for the tunnel that there isn't.
				check(t, ask(tc.path, tc.protocol), "connection: close", "!(open)")
			}
		})
	}
	check(t, b.exchange("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n"), " 404 ", "!/evil", "connection: close", "!(open)")
	b.listen(manager(t, connect))
	check(t, b.exchange("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"), " 403 ")
}

func TestAuthorityRewritesAreTold(t *testing.T) {
	b := newBed(t)
	addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Host+" original="+r.Header.Get("X-Envoy-Original-Host")+" forwarded="+r.Header.Get("X-Forwarded-Host")) //nolint:errcheck // a test server
	})
	b.cluster("echo", addr)
	named := b.cluster("named", addr)
	named.Endpoints.Priorities[0].Localities[0].Endpoints[0].Hostname = "auto.example"
	rewrite := func(path, cluster string, rw plan.Rewrite, forwarded bool) *plan.Route {
		r := b.route(path, cluster)
		r.Forward.Rewrite, r.Forward.AppendXForwardedHost = rw, forwarded
		return r
	}
	m := manager(t, rewrite("/literal", "echo", plan.Rewrite{Host: []byte("b.example")}, true),
		rewrite("/quiet", "echo", plan.Rewrite{Host: []byte("b.example")}, false),
		rewrite("/auto", "named", plan.Rewrite{AutoHost: true}, true), rewrite("/nameless", "echo", plan.Rewrite{AutoHost: true}, true))
	m.StripTrailingDot = true
	b.listen(m)
	for path, want := range map[string]string{
		"/literal": "b.example original=a.example:80 forwarded=z.example,a.example:80", "/quiet": "b.example original=a.example:80 forwarded=z.example",
		"/auto": "auto.example original=a.example:80 forwarded=z.example,a.example:80", "/nameless": "a.example:80 original=evil forwarded=z.example",
	} {
		got := b.exchange("GET " + path + " HTTP/1.1\r\nHost: a.example.:80\r\nX-Envoy-Original-Host: evil\r\nX-Forwarded-Host: z.example\r\n\r\n")
		if !strings.HasSuffix(got, "\r\n\r\n"+want+"(open)") {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestLocalRepliesHaveTheRoutesHeaders(t *testing.T) {
	b := newBed(t)
	b.cluster("dead", "127.0.0.1:1")
	stamped := func(r *plan.Route) *plan.Route {
		r.Headers.Response = []plan.HeaderMutation{{Name: plan.NewHeaderName("x-stamp"), Value: plan.Format{Literal: "of the route"}, Action: plan.OverwriteIfExistsOrAdd}}
		if r.Forward != nil {
			r.Forward.Clusters[0].Headers = r.Headers
		}
		return r
	}
	created := stamped(&plan.Route{Match: plan.RouteMatch{Path: "/created"}, Direct: &plan.DirectResponse{Status: 201, Body: []byte("hi")}})
	m := manager(t, stamped(b.route("/dead", "dead")), stamped(b.route("/gone", "gone")), created)
	abort := &plan.Fault{Abort: &plan.FaultAbort{HeaderControlled: true, Fraction: plan.Fraction{Numerator: 100, Denominator: 100}}}
	m.Filters = append([]plan.HTTPFilter{{Name: "fault", Config: abort}}, m.Filters...)
	m.Replies = []plan.LocalReply{{Headers: []plan.HeaderMutation{{Name: plan.NewHeaderName("x-last"), Value: plan.Format{Literal: "of the manager"}}}}}
	b.listen(m)
	const mine, last = "x-stamp: of the route\r\n", "x-last: of the manager\r\n"
	check(t, b.exchange("GET /dead HTTP/1.1\r\nHost: x\r\n\r\n"), " 503 ", mine, last)
	check(t, b.exchange("GET /gone HTTP/1.1\r\nHost: x\r\n\r\n"), " 503 ", mine)
	check(t, b.exchange("GET /dead HTTP/1.1\r\nHost: x\r\nX-Envoy-Fault-Abort-Request: 418\r\n\r\n"), " 418 ", mine)
	check(t, b.exchange("GET /created?q HTTP/1.1\r\nHost: x:1\r\n\r\n"), " 201 ", mine, "location: http://x:1/created?q\r\n")
	check(t, b.exchange("GET /none HTTP/1.1\r\nHost: x\r\n\r\n"), " 404 ", "!x-stamp", last)
}

// TestProxyProtocolOutKeepsConnections: a client's requests share a connection that tells the server who the client is.
func TestProxyProtocolOutKeepsConnections(t *testing.T) {
	headers := make(chan string, 10)
	server := serveTCP(t, func(nc net.Conn) {
		br := bufio.NewReader(nc)
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		headers <- line
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			io.WriteString(nc, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") //nolint:errcheck // the client sees it
		}
	})
	b := newBed(t)
	b.cluster("told", server).ProxyProtocol = 1
	b.listen(manager(t, b.route("/", "told")))
	for range 2 {
		nc, br := b.dial()
		for range 3 {
			if resp := send(t, nc, br, plainGet); resp.StatusCode != 200 {
				t.Fatalf("status %d", resp.StatusCode)
			}
		}
		from := nc.LocalAddr().(*net.TCPAddr)
		to := nc.RemoteAddr().(*net.TCPAddr)
		want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", from.Port, to.Port)
		if got := <-headers; got != want {
			t.Errorf("the server was told %q, not %q", got, want)
		}
	}
	if len(headers) > 0 {
		t.Errorf("%d connections more", len(headers))
	}
}
