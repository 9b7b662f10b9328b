package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/proxyproto"
)

// detecting puts chains behind a listener with these filters. A connection that matches none goes to otherwise.
func (b *bed) detecting(timeout time.Duration, filters []plan.ListenerFilterKind, otherwise *plan.FilterChain, chains ...plan.MatchedChain) *plan.Listener {
	b.t.Helper()
	matcher, err := plan.NewChainMatcher(chains, otherwise)
	if err != nil {
		b.t.Fatal(err)
	}
	l := &plan.Listener{
		Name: "test", BindToPort: true, Addresses: []plan.Address{{IP: netip.MustParseAddrPort("127.0.0.1:0")}}, Chains: matcher,
		FilterTimeout: timeout, ContinueOnTimeout: true,
	}
	for _, k := range filters {
		l.ListenerFilters = append(l.ListenerFilters, plan.ListenerFilter{Kind: k})
	}
	b.parts.Listeners = []*plan.Listener{l}
	b.apply()
	b.addr = b.proxy.Listening("test")[0].String()
	return l
}

// toTCP is a chain that passes bytes on to a cluster.
func (b *bed) toTCP(cluster string) *plan.FilterChain {
	return &plan.FilterChain{Name: cluster, Filters: []plan.NetworkFilter{{Config: &plan.TCPProxy{
		Clusters: []plan.WeightedTCPCluster{{Name: cluster, Cluster: b.names.Cluster(cluster), Weight: 1}}, TotalWeight: 1,
	}}}}
}

// talk says something on a new connection, and returns the first bytes of what comes back.
func (b *bed) talk(said string, n int) (string, error) {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, said); err != nil {
		b.t.Fatal(err)
	}
	buf := make([]byte, n)
	n, err = io.ReadFull(nc, buf)
	return string(buf[:n]), err
}

// TestProtocolDetection has one port that speaks everything. Where the server speaks first the client says nothing, and is
// waited for no longer than the timeout.
func TestProtocolDetection(t *testing.T) {
	b := newBed(t)
	b.cluster("web", server2(t, echo))
	b.cluster("raw", echoServer(t, "", "raw"))
	b.cluster("tls", echoServer(t, "", "tls"))
	for name, greeting := range map[string]string{"mysql": "\x4a\x00\x00\x00\x0a8.0.36\x00", "smtp": "220 mail.example ESMTP\r\n"} {
		b.cluster(name, echoServer(t, greeting, name))
	}
	web := plan.MatchedChain{
		Match: plan.ChainMatch{ALPN: []string{"http/1.1", "h2c"}},
		Chain: &plan.FilterChain{Name: "web", Filters: []plan.NetworkFilter{{Config: manager(t, b.route("/", "web"))}}},
	}
	both := []plan.ListenerFilterKind{plan.TLSInspector, plan.HTTPInspector}
	const timeout = 200 * time.Millisecond
	listen := func(timeout time.Duration, otherwise string) {
		b.detecting(timeout, both, b.toTCP(otherwise), web, plan.MatchedChain{Match: plan.ChainMatch{Transport: "tls"}, Chain: b.toTCP("tls")})
	}
	// As long a timeout as a loaded machine could want: what is decided by bytes must not wait for it.
	listen(time.Hour, "raw")
	for _, tc := range []struct{ name, said, want string }{
		{"HTTP/1", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"},
		{"HTTP/1 without a version", "GET /\r\n", "raw:GET /\r\n"},
		{"TLS", string(clientHello(t, "a.example")), "tls:\x16\x03"},
		{"mongo", "\x3f\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00", "raw:\x3f\x00\x00\x00"},
		{"redis", "*1\r\n$4\r\nPING\r\n", "raw:*1\r\n$4\r\nPING\r\n"},
		{"postgres", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "raw:\x00\x00\x00\x08"},
		{"what begins like TLS", "\x16\x03\x01\x00\x00garbage", "raw:\x16\x03\x01"},
		{"what begins like HTTP", "HELO there\r\n", "raw:HELO there"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := b.talk(tc.said, len(tc.want)); got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
	if got := (get(t, client(t, true), "http://"+b.addr+"/")); !strings.HasPrefix(got, "you said") {
		t.Errorf("HTTP/2: %q", got)
	}
	for name, want := range map[string]string{"mysql": "\x4a\x00\x00\x00\x0a8.0.36\x00", "smtp": "220 mail.example ESMTP\r\n"} {
		t.Run(name, func(t *testing.T) {
			listen(timeout, name)
			began := time.Now()
			if got, err := b.talk("", len(want)); got != want {
				t.Errorf("got %q, %v", got, err)
			}
			if d := time.Since(began); d < timeout {
				t.Errorf("the client was waited for %v only", d)
			}
			// Half a request line is no reason to wait longer, and isn't lost.
			if got, err := b.talk("GE", len(want)+len(name)+3); got != want+name+":GE" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// echoServer greets, and sends back what it hears behind its name.
func echoServer(t *testing.T, greeting, name string) string {
	t.Helper()
	return serveTCP(t, func(nc net.Conn) {
		io.WriteString(nc, greeting) //nolint:errcheck // the client sees it
		buf := make([]byte, 4<<10)
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		io.WriteString(nc, name+":"+string(buf[:n])) //nolint:errcheck // the client sees it
		io.Copy(nc, nc)                              //nolint:errcheck // the client sees it
	})
}

// clientHello is what a TLS client says first.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go tls.Client(far, &tls.Config{ServerName: name}).HandshakeContext(t.Context()) //nolint:errcheck // ends with the pipe
	buf := make([]byte, 16<<10)
	n, err := near.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// TestPassthroughBySNI chooses a server by the name in a ClientHello; the handshake is the server's.
func TestPassthroughBySNI(t *testing.T) {
	p := newPKI(t)
	b := newBed(t)
	for _, name := range []string{"a", "b"} {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*p.material(name).TLS}})
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "this is "+name) })} //nolint:errcheck // a test server
		go s.Serve(ln)                                                                                                                    //nolint:errcheck // ends with Close
		t.Cleanup(func() { s.Close() })
		b.cluster(name, ln.Addr().String())
	}
	b.detecting(time.Hour, []plan.ListenerFilterKind{plan.TLSInspector}, nil,
		plan.MatchedChain{Match: plan.ChainMatch{Transport: "tls", ServerNames: []string{"a.example"}}, Chain: b.toTCP("a")},
		plan.MatchedChain{Match: plan.ChainMatch{Transport: "tls", ServerNames: []string{"*.b.example"}}, Chain: b.toTCP("b")})
	ask := func(name string) (string, error) {
		c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", b.addr)
			},
		}}
		resp, err := c.Get("https://" + name + "/")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	for name, want := range map[string]string{"a.example": "this is a", "A.Example": "this is a", "x.b.example": "this is b"} {
		if got, err := ask(name); got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := ask("c.example"); err == nil {
		t.Errorf("a name that no chain has: %q", got)
	}
}

func TestProxyProtocolIn(t *testing.T) {
	b := newBed(t)
	b.cluster("web", server(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Forwarded-For")) })) //nolint:errcheck // a test server
	m := manager(t, b.route("/", "web"))
	m.Identity.UseRemoteAddress = true
	l := b.detecting(300*time.Millisecond, []plan.ListenerFilterKind{plan.ProxyProtocol, plan.HTTPInspector},
		&plan.FilterChain{Filters: []plan.NetworkFilter{{Config: m}}})
	const request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	src4, dst4 := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("192.0.2.9:80")
	src6, dst6 := netip.MustParseAddrPort("[2001:db8::1]:1234"), netip.MustParseAddrPort("[2001:db8::9]:80")
	cases := []struct{ name, header, want string }{
		{"v1", string(proxyproto.AppendV1(nil, src4, dst4)), "192.0.2.1"},
		{"v1 IPv6", string(proxyproto.AppendV1(nil, src6, dst6)), "2001:db8::1"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"v2", string(proxyproto.AppendV2(nil, src4, dst4, proxyproto.AppendTLV(nil, proxyproto.TLVAuthority, []byte("x")))), "192.0.2.1"},
		{"v2 IPv6", string(proxyproto.AppendV2(nil, src6, dst6, nil)), "2001:db8::1"},
		{"v2 of a mapped address", string(proxyproto.AppendV2(nil, src4, dst6, nil)), "192.0.2.1"},
		{"v2 local", string(proxyproto.AppendV2(nil, netip.AddrPort{}, dst4, nil)), "127.0.0.1"},
		{"none", "", ""}, {"broken", "PROXY TCP4 192.0.2.1 192.0.2.9 99999 80\r\n", ""}, {"endless", "PROXY " + strings.Repeat("x", 200), ""},
	}
	check := func(t *testing.T, header, want string) {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(nc, header+request) //nolint:errcheck // seen by the read
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if want == "" {
			if err == nil {
				t.Errorf("answered with %d", resp.StatusCode)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); string(got) != want {
			t.Errorf("the client is %q, want %q; %v", got, want, err)
		}
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) { check(t, tc.header, tc.want) })
	}
	// A header that never ends is waited for no longer than the listener's filters may take.
	if got, err := b.talk("PROXY TCP4 ", 1); err == nil {
		t.Errorf("half a header: %q", got)
	}
	again := *l
	again.Version = 2
	again.ListenerFilters = []plan.ListenerFilter{{Kind: plan.ProxyProtocol, AllowWithoutProxyProtocol: true}}
	b.parts.Listeners = []*plan.Listener{&again}
	b.apply()
	b.addr = b.proxy.Listening("test")[0].String()
	check(t, "", "127.0.0.1")
	check(t, string(proxyproto.AppendV2(nil, src4, dst4, nil)), "192.0.2.1")
}

// TestProxyProtocolOut reads the header that servers get. Requests of one client never travel under another's name.
func TestProxyProtocolOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	s := &http.Server{
		Protocols: both(),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, told{}, c.(*proxied).header)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := r.Context().Value(told{}).(proxyproto.Header)
			io.WriteString(w, h.Source.String()) //nolint:errcheck // a test server
		}),
	}
	go s.Serve(proxiedListener{ln}) //nolint:errcheck // ends with Close
	t.Cleanup(func() { s.Close() })
	for _, tc := range []struct {
		name    string
		version uint8
		http    plan.HTTPVersion
		match   bool
	}{{"v1", 1, plan.HTTP1, false}, {"v2", 2, plan.HTTP1, false}, {"v2 HTTP/2", 2, plan.HTTP2, false}, {"by a transport socket match", 2, plan.HTTP1, true}} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t)
			c := b.cluster("server", ln.Addr().String())
			c.Protocol.Version, c.ProxyProtocol = tc.http, tc.version
			if tc.match {
				c.ProxyProtocol, c.TransportSocketMatches = 0, []plan.TransportSocketMatch{{Name: "m", ProxyProtocol: tc.version}}
				c.Endpoints.Priorities[0].Localities[0].Endpoints[0].TransportSocket = 0
			}
			b.listen(manager(t, b.route("/", "server")))
			for range 3 {
				nc, err := net.Dial("tcp", b.addr)
				if err != nil {
					t.Fatal(err)
				}
				br := bufio.NewReader(nc)
				for range 2 {
					io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // seen by the read
					resp, err := http.ReadResponse(br, nil)
					if err != nil {
						t.Fatal(err)
					}
					if got, err := io.ReadAll(resp.Body); string(got) != nc.LocalAddr().String() {
						t.Errorf("the server was told of %s, %v; the client is %s", got, err, nc.LocalAddr())
					}
				}
				nc.Close()
			}
		})
	}
}

type told struct{}

// proxied is a connection whose PROXY header has been read.
type proxied struct {
	net.Conn
	br     *bufio.Reader
	header proxyproto.Header
}

func (p *proxied) Read(b []byte) (int, error) { return p.br.Read(b) }

type proxiedListener struct{ net.Listener }

// Accept reads the header before anything else is done with the connection.
func (l proxiedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p := &proxied{Conn: nc, br: bufio.NewReader(nc)}
	for n := 1; ; n++ {
		b, err := p.br.Peek(n)
		if err != nil {
			return nil, err
		}
		h, used, err := proxyproto.Parse(b)
		if err != nil || used > 0 {
			p.br.Discard(used) //nolint:errcheck // it was there
			p.header = h
			return p, nil
		}
	}
}
