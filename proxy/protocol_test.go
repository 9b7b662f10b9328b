package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/plan"
)

// server2 speaks HTTP/1 and HTTP/2 with prior knowledge.
func server2(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: both()}
	go s.Serve(ln) //nolint:errcheck // ends with Close
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

func both() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// client speaks HTTP/2 with prior knowledge if two is set.
func client(t testing.TB, two bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!two)
	p.SetUnencryptedHTTP2(two)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 5 * time.Second}
}

func TestProtocolsInAllPairs(t *testing.T) {
	b := newBed(t)
	addr := server2(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Seen", r.Proto)
		http.NewResponseController(w).Flush()                             //nolint:errcheck // with a content-length, HTTP/1 has no trailers
		io.WriteString(w, "got "+string(body)+" "+r.Trailer.Get("X-Req")) //nolint:errcheck // seen by the client
		w.Header().Set("X-Sum", "42")
	})
	b.cluster("one", addr)
	b.cluster("two", addr).Protocol.Version = plan.HTTP2
	b.cluster("same", addr).Protocol.Version = plan.SameDownstream
	b.listen(manager(t, b.route("/one", "one"), b.route("/two", "two"), b.route("/same", "same")))
	for _, two := range []bool{false, true} {
		c := client(t, two)
		for path, want := range map[string]string{"/one": "HTTP/1.1", "/two": "HTTP/2.0", "/same": map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[two]} {
			body, w := io.Pipe()
			go func() { io.WriteString(w, "hello"); w.Close() }() //nolint:errcheck // seen by the server
			req, err := http.NewRequest("POST", "http://"+b.addr+path, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"X-Req": {"trailer"}}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatalf("http2 %v %s: %v", two, path, err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(got) != "got hello trailer" || resp.Header.Get("X-Seen") != want || resp.Trailer.Get("X-Sum") != "42" {
				t.Errorf("client http2 %v, %s: %q %v, upstream %s, trailer %q", two, path, got, err, resp.Header.Get("X-Seen"), resp.Trailer.Get("X-Sum"))
			}
		}
	}
}

func TestGRPCErrorsOfTheProxy(t *testing.T) {
	b := newBed(t)
	b.cluster("empty").Protocol.Version = plan.HTTP2
	b.listen(manager(t, b.route("/", "empty")))
	req, err := http.NewRequest("POST", "http://"+b.addr+"/pkg.Service/Method", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	resp, err := client(t, true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "14" || resp.Header.Get("Grpc-Message") != "no healthy upstream" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

// pki issues certificates of one root.
type pki struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newPKI(t testing.TB) *pki {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &pki{t: t, key: key, root: root}
}

func (p *pki) material(account string) *identity.Material {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs:     []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/" + account}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, p.root, key.Public(), p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := identity.NewMaterial(key, []*x509.Certificate{leaf}, identity.NewBundle(map[string][]*x509.Certificate{"cluster.local": {p.root}}))
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// own refers to the workload's certificate and roots, as Istio's resources do.
func own(alpn ...string) plan.TLSParameters {
	return plan.TLSParameters{
		MinVersion: tls.VersionTLS13, ALPN: alpn,
		Certificates: []plan.CertificateSource{{SDSName: "default"}}, Validation: plan.Validation{SDSName: "ROOTCA"},
	}
}

func TestMutualTLSBetweenTwoSidecars(t *testing.T) {
	p := newPKI(t)
	// The server's sidecar.
	in := newBedWith(t, func(o *Options) { o.Identity = holder(p.material("server")) })
	in.inbound = true
	in.cluster("inbound|80||", server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.Header.Get("x-forwarded-client-cert"))
	}))
	m := manager(t, in.route("/", "inbound|80||"))
	m.Identity.XFCC, m.Identity.SetCurrent.URI = plan.XFCCAppendForward, true
	m.Filters = append([]plan.HTTPFilter{{Name: "rbac", Config: &plan.RBAC{Rules: &plan.RBACRules{Policies: []plan.RBACPolicy{{
		Name: "client-only", Permissions: []plan.RBACRule{{Kind: plan.RBACAny}},
		Principals: []plan.RBACRule{{Kind: plan.RBACAuthenticated, String: &plan.StringMatch{Value: "spiffe://cluster.local/ns/default/sa/client"}}},
	}}}}}}, m.Filters...)
	in.listenChain(&plan.FilterChain{
		TLS:     &plan.DownstreamTLS{TLSParameters: own("istio-http/1.1", "http/1.1"), RequireClientCertificate: true},
		Filters: []plan.NetworkFilter{{Config: m}},
	})
	// The client's sidecar.
	mine := holder(p.material("client"))
	out := newBedWith(t, func(o *Options) { o.Identity = mine })
	c := out.cluster("outbound|80||server", in.addr)
	params := own("istio")
	params.Validation.SANs = []plan.SANMatch{{Type: plan.SANURI, Match: plan.StringMatch{Value: "spiffe://cluster.local/ns/default/sa/server"}}}
	c.TLS = &plan.UpstreamTLS{TLSParameters: params, SNI: "outbound_.80_._.server"}
	om := manager(t, out.route("/", "outbound|80||server"))
	om.Filters = append([]plan.HTTPFilter{{Name: "alpn", Config: &plan.ALPN{HTTP11: []string{"istio-http/1.1", "istio"}}}}, om.Filters...)
	out.listen(om)

	if got := out.raw("GET / HTTP/1.1\r\nHost: server\r\n\r\n", 1); !strings.HasPrefix(got, "200") || !strings.Contains(got, "URI=spiffe://cluster.local/ns/default/sa/client") {
		t.Errorf("got %q", got)
	}
	// A renewed certificate of another account is used for new connections, and refused by the policy.
	mine.Set(p.material("stranger"))
	fresh := *c
	fresh.Runtime, fresh.Version = nil, 2
	fresh.TLS = &plan.UpstreamTLS{TLSParameters: params, SNI: "outbound_.80_._.server"}
	out.parts.Clusters = []*plan.Cluster{&fresh}
	out.apply()
	if got := out.raw("GET / HTTP/1.1\r\nHost: server\r\n\r\n", 1); !strings.HasPrefix(got, "403") {
		t.Errorf("a stranger got %q", got)
	}
}

func holder(m *identity.Material) *identity.Holder {
	h := identity.NewHolder()
	h.Set(m)
	return h
}

func TestWrongServerNameIsRefused(t *testing.T) {
	p := newPKI(t)
	in := newBedWith(t, func(o *Options) { o.Identity = holder(p.material("impostor")) })
	in.cluster("x", server(t, echo))
	in.listenChain(&plan.FilterChain{TLS: &plan.DownstreamTLS{TLSParameters: own("istio")}, Filters: []plan.NetworkFilter{{Config: manager(t, in.route("/", "x"))}}})
	out := newBedWith(t, func(o *Options) { o.Identity = holder(p.material("client")) })
	params := own("istio")
	params.Validation.SANs = []plan.SANMatch{{Type: plan.SANURI, Match: plan.StringMatch{Value: "spiffe://cluster.local/ns/default/sa/server"}}}
	out.cluster("x", in.addr).TLS = &plan.UpstreamTLS{TLSParameters: params}
	out.listen(manager(t, out.route("/", "x")))
	if got := out.raw("GET / HTTP/1.1\r\nHost: server\r\n\r\n", 1); !strings.HasPrefix(got, "503 upstream connect error") {
		t.Errorf("got %q", got)
	}
}

// TestHandOffAndTCP is a sidecar's outbound side: one socket whose connections are redirected, a listener per port
// behind it, and everything else passed through.
func TestHandOffAndTCP(t *testing.T) {
	tcpEcho := fixed(t, strings.Repeat("t", 200))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dst atomic.Pointer[netip.AddrPort]
	goingTo := func(a string) { ap := netip.MustParseAddrPort(a); dst.Store(&ap) }
	b := newBedWith(t, func(o *Options) {
		o.Sockets = map[string][]listen.Socket{"virtualOutbound": {{
			Listener: ln, OriginalDst: func(net.Conn) (netip.AddrPort, error) { return *dst.Load(), nil },
		}}}
	})
	b.cluster("web", server(t, echo))
	b.parts.Clusters = append(b.parts.Clusters, &plan.Cluster{
		Name: "PassthroughCluster", Ref: b.names.Cluster("PassthroughCluster"), Discovery: plan.OriginalDestination,
		ConnectTimeout: time.Second, Limits: b.parts.Clusters[0].Limits,
	})
	chain := func(f plan.NetworkFilterConfig) *plan.ChainMatcher {
		m, err := plan.NewChainMatcher(nil, &plan.FilterChain{Filters: []plan.NetworkFilter{{Config: f}}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	pass := &plan.TCPProxy{Clusters: []plan.WeightedTCPCluster{{Name: "PassthroughCluster", Cluster: b.names.Cluster("PassthroughCluster"), Weight: 1}}, TotalWeight: 1}
	b.parts.Listeners = []*plan.Listener{
		{Name: "virtualOutbound", BindToPort: true, UseOriginalDst: true, Chains: chain(pass), Addresses: []plan.Address{{IP: netip.MustParseAddrPort("0.0.0.0:15001")}}},
		{Name: "0.0.0.0_80", Chains: chain(manager(t, b.route("/", "web"))), Addresses: []plan.Address{{IP: netip.MustParseAddrPort("0.0.0.0:80")}}},
	}
	b.apply()
	b.addr = ln.Addr().String()
	goingTo("10.1.2.3:80")
	if got := b.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1); !strings.HasPrefix(got, "200 you said") {
		t.Errorf("to port 80: %q", got)
	}
	goingTo(tcpEcho)
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	buf := make([]byte, 300)
	io.WriteString(nc, "hi") //nolint:errcheck // seen by the read
	if n, err := nc.Read(buf); n != 200 {
		t.Errorf("passed through: %d bytes, %v", n, err)
	}
}

// TestNoRequestFailsWhileListenersChange changes the listener again and again under load.
func TestNoRequestFailsWhileListenersChange(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	b.listen(manager(t, b.route("/", "echo")))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan string, 100)
	done := make(chan int)
	for range 4 {
		go func() {
			n := 0
			defer func() { done <- n }()
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for ; ctx.Err() == nil; n++ {
				resp, err := c.Get("http://" + b.addr + "/")
				if err != nil {
					failed <- err.Error()
					continue
				}
				io.Copy(io.Discard, resp.Body) //nolint:errcheck // the status counts
				resp.Body.Close()
				if resp.StatusCode != 200 {
					failed <- resp.Status
				}
			}
		}()
	}
	for range 30 {
		l := *b.parts.Listeners[0]
		chains, err := plan.NewChainMatcher(nil, &plan.FilterChain{Filters: []plan.NetworkFilter{{Config: manager(t, b.route("/", "echo"))}}})
		if err != nil {
			t.Fatal(err)
		}
		l.Chains, l.Runtime = chains, nil
		b.parts.Listeners = []*plan.Listener{&l}
		c := *b.parts.Clusters[0]
		c.Runtime, c.Version = nil, c.Version+1
		b.parts.Clusters = []*plan.Cluster{&c}
		b.apply()
		timer := time.NewTimer(10 * time.Millisecond)
		<-timer.C
	}
	cancel()
	total := 0
	for range 4 {
		total += <-done
	}
	close(failed)
	for f := range failed {
		t.Errorf("a request of %d failed: %s", total, f)
	}
}
