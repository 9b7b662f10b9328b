package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// edge is the configuration of a gateway whose proxies are labelled edge=NAME: host a leads to one server.
func edge(name string, port int, server string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %[1]s, namespace: default}
spec: {selector: {edge: %[1]s}, servers: [{port: {number: %[2]d, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: default}
spec: {hosts: ["*"], gateways: [%[1]s], http: [{route: [{destination: {host: %[3]s.test}}]}]}
---
`, name, port, server)
}

// externalService is a service that a server of the test's own answers, with the service's name.
func externalService(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })) //nolint:errcheck // the client tells
	t.Cleanup(s.Close)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s, namespace: default}
spec:
  hosts: [%[1]s.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %[2]s}]
  endpoints: [{address: 127.0.0.1}]
---
`, name, port)
}

// ask is what a gateway answers, "" for nothing.
func ask(port int) string {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// askOld is what a gateway answers to HTTP/1.0.
func askOld(t *testing.T, port int) string {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))         //nolint:errcheck // the read tells
	io.WriteString(nc, "GET / HTTP/1.0\r\nHost: x\r\n\r\n") //nolint:errcheck // the read tells
	b, err := io.ReadAll(nc)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// credentials writes a key and a certificate of a workload's, signed by the mesh's authority, and the authority's root.
func (m *mesh) credentials(dir string) {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "state", "ca", "ca.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	var signer any
	var root *x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			root, err = x509.ParseCertificate(block.Bytes)
		case "EC PRIVATE KEY":
			signer, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			signer, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/default"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, signer)
	if err != nil {
		m.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		m.t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"root.pem": {Type: "CERTIFICATE", Bytes: root.Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
}

// discoveryBootstrap is an ordinary bootstrap that gets everything from a control plane.
func discoveryBootstrap(name, api string, port int, socket, metadata string) string {
	return fmt.Sprintf(`node:
  id: router~127.0.0.1~%[1]s.default~default.svc.cluster.local
  cluster: %[1]s.default
  metadata: {NAMESPACE: default, SERVICE_ACCOUNT: default, LABELS: {edge: %[1]s}%[5]s}
dynamic_resources:
  ads_config: {api_type: %[2]s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]d}}}}]}]
%[4]s`, name, api, port, socket, metadata)
}

// A proxy with an ordinary Envoy bootstrap that names a control plane serves what that says, goes on when the control
// plane dies, and hears of changes when it is back: in plain text on loopback, and over TLS with certificates.
func TestBootstrapWithDiscovery(t *testing.T) {
	u := ordinary()
	m := newMesh(t, u)
	dir := u.home(t)
	m.credentials(dir)
	socket := fmt.Sprintf(`    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: istiod.istio-system.svc
        common_tls_context:
          tls_certificates: [{certificate_chain: {filename: %[1]s/cert.pem}, private_key: {filename: %[1]s/key.pem}}]
          validation_context: {trusted_ca: {filename: %[1]s/root.pem}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: istiod.istio-system.svc}}]}
`, dir)
	_, plainPort := freePorts(t)
	_, tlsPort := freePorts(t)
	m.apply(externalService(t, "first") + externalService(t, "second") + edge("plain", plainPort, "first") + edge("secure", tlsPort, "first"))
	ports := map[string]int{"plain": plainPort, "secure": tlsPort}
	files := map[string]string{
		"plain":  discoveryBootstrap("plain", "DELTA_GRPC", m.port, "", `, HTTP10: "1"`),
		"secure": discoveryBootstrap("secure", "GRPC", m.port+2, socket, ""),
	}
	proxies := map[string]*process{}
	for name, text := range files {
		file := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		proxies[name] = u.start(t, dir, filepath.Join(bin, "lateen-proxy"), "-c", file, "--termination-drain-duration", "1s")
	}
	everywhere := func(what, want string) {
		t.Helper()
		for name, port := range ports {
			eventually(t, name+": "+what, func() bool {
				select {
				case <-proxies[name].ended:
					t.Fatalf("%s has ended: %s", name, proxies[name].errs.String())
				default:
				}
				return ask(port) == want
			})
		}
	}
	everywhere("the gateway serves", "first")
	// One has asked for HTTP/1.0 in its metadata, the other has not.
	for name, want := range map[string]string{"plain": "HTTP/1.0 200 ", "secure": "HTTP/1.1 426 "} {
		if got := askOld(t, ports[name]); !strings.HasPrefix(got, want) {
			t.Errorf("%s: HTTP/1.0 is answered %q, not %q", name, got, want)
		}
	}
	m.control.kill()
	for name, port := range ports {
		for range 20 {
			if got := ask(port); got != "first" {
				t.Errorf("%s: without a control plane the answer is %q", name, got)
			}
		}
	}
	m.startControl()
	m.apply(edge("plain", plainPort, "second") + edge("secure", tlsPort, "second"))
	everywhere("the change arrives", "second")
	for name, p := range proxies {
		p.cmd.Process.Signal(os.Interrupt) //nolint:errcheck // waited for
		if code := p.wait(10 * time.Second); code != 0 {
			t.Errorf("%s ended with %d: %s", name, code, p.errs.String())
		}
	}
}
