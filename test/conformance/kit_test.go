package conformance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"text/template"
	"time"

	"go.uber.org/goleak"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/telemetry"
)

// The test binary plays other parts too, in processes of their own: interop, because grpc-go's cases end the process
// when they fail, and a proxy whose memory is to be measured.
var (
	interopAddr  = flag.String("interop-addr", "", "run grpc-go's interoperability cases against this address and exit")
	interopRoots = flag.String("interop-roots", "", "the file with the server's root; without it the cases speak plain text")
	proxyFile    = flag.String("proxy-bootstrap", "", "run a proxy from this bootstrap file until standard input ends")
)

func TestMain(m *testing.M) {
	flag.Parse()
	switch {
	case *interopAddr != "":
		os.Exit(runInterop())
	case *proxyFile != "":
		os.Exit(runProxy())
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")) // half a second after it is closed
}

// runProxy is a proxy as a process.
func runProxy() int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what matters
		cancel()
	}()
	if err := serveBootstrap(ctx, *proxyFile, os.Stderr); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

func serveBootstrap(ctx context.Context, file string, log io.Writer) error {
	scopes := telemetry.NewScopes(log, false, slog.LevelWarn)
	return dataplane.RunBootstrap(ctx, dataplane.BootstrapOptions{File: file, Version: "test", Scopes: scopes, Drain: dataplane.DrainTimes{Limit: 200 * time.Millisecond}})
}

// conf is what the bootstrap template is filled with.
type conf struct {
	Plain, TLS int // ports; 0 for none
	Dir        string
	Codec      string // AUTO by default
	HCM        string // more fields of the connection manager
	Network    string // network filters before the connection manager
	Routes     []string
	Clusters   []cluster
}

type cluster struct {
	Name  string
	Port  int
	HTTP2 bool
	More  string // more fields, each indented by four
}

const bootstrapText = `
node: {id: "sidecar~127.0.0.1~conformance.default~default.svc.cluster.local", cluster: conformance}
static_resources:
  listeners:
{{- range $tls, $port := .Ports}}{{if $port}}
  - name: {{if $tls}}tls{{else}}plain{{end}}
    address: {socket_address: {address: 127.0.0.1, port_value: {{$port}}}}
    filter_chains:
    - filters:
{{$.Network}}
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: conformance
          codec_type: {{or $.Codec "AUTO"}}
          generate_request_id: false
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}
{{$.HCM}}
          route_config:
            name: routes
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
{{- range $.Routes}}
              - {{.}}
{{- end}}
{{- if $tls}}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - {certificate_chain: {filename: "{{$.Dir}}/cert.pem"}, private_key: {filename: "{{$.Dir}}/key.pem"} }
{{- end}}{{end}}{{end}}
  clusters:
{{- range .Clusters}}
  - name: {{.Name}}
    type: STATIC
    connect_timeout: 2s
{{- if .HTTP2}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {} }
{{- end}}
{{.More}}
    load_assignment:
      cluster_name: {{.Name}}
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}}}]}]
{{- end}}
`

// Ports are those of the listeners, the plain one first.
func (c conf) Ports() []int { return []int{c.Plain, c.TLS} }

// write makes the bootstrap file.
func (c conf) write(t testing.TB) string {
	t.Helper()
	if len(c.Routes) == 0 {
		c.Routes = []string{"{match: {prefix: /}, route: {cluster: " + c.Clusters[0].Name + ", timeout: 0s}}"}
	}
	var b bytes.Buffer
	if err := template.Must(template.New("bootstrap").Parse(bootstrapText)).Execute(&b, c); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.Dir, "bootstrap.yaml")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start runs the proxy in this process until the test ends.
func (c conf) start(t testing.TB) {
	t.Helper()
	file := c.write(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serveBootstrap(ctx, file, t.Output()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Errorf("proxy: %v", err)
		}
	})
	for _, p := range c.Ports() {
		waitListening(t, p, done)
	}
}

// waitListening returns when somebody accepts connections on the port.
func waitListening(t testing.TB, port int, ended <-chan error) {
	t.Helper()
	if port == 0 {
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		nc, err := net.Dial("tcp", local(port))
		if err == nil {
			nc.Close()
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("ended before it listened: %v", err)
		case <-deadline:
			t.Fatalf("nobody listens on port %d", port)
		case <-tick.C:
		}
	}
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// freePort finds a port that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return portOf(ln)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func portOf(ln net.Listener) int {
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	n, _ := strconv.Atoi(port) // the kernel's own number
	return n
}

// newConf prepares ports, a certificate and the folder for a proxy in front of the clusters.
func newConf(t testing.TB, clusters ...cluster) conf {
	c := conf{Plain: freePort(t), TLS: freePort(t), Dir: t.TempDir(), Clusters: clusters}
	certificate(t, c.Dir)
	return c
}

// certificate writes cert.pem, which is its own root, and key.pem.
func certificate(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "conformance"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"a.example", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serve starts a backend that speaks HTTP/1 and, with prior knowledge, HTTP/2.
func serve(t testing.TB, h http.HandlerFunc) int {
	t.Helper()
	ln := listen(t)
	s := &http.Server{Handler: h, Protocols: protocols(true, true)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ln) //nolint:errcheck // ends with Close
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return portOf(ln)
}

func protocols(one, two bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(one)
	p.SetUnencryptedHTTP2(two)
	return p
}

// client speaks HTTP/2 with prior knowledge if two is set, and HTTP/1 otherwise.
func client(t testing.TB, two bool) *http.Client {
	tr := &http.Transport{Protocols: protocols(!two, two), DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func protocolName(two bool) string {
	if two {
		return "HTTP2"
	}
	return "HTTP1"
}
