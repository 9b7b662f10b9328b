package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/ca/catest"
	"lateen.dev/lateen/identity"
)

// envoyBinary is where test/install-envoy.sh puts a stock Envoy.
const envoyBinary = "../.cache/bin/envoy"

// secretsBootstrap is a stock Envoy that takes its certificate and the roots of its
// callers from the agent's socket, by a stream of its own for each as istio-agent's
// Envoys do.
const secretsBootstrap = `
node: {id: test, cluster: test}
static_resources:
  clusters:
  - name: sds-grpc
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: sds-grpc, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[1]s/sds.sock}}}}]}]}
  listeners:
  - name: secured
    address: {pipe: {path: %[1]s/secured.sock}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: secured
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 204}}]}]}
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificate_sds_secret_configs: [{name: default, sds_config: &sds {resource_api_version: V3, initial_fetch_timeout: 0s,
              api_config_source: {api_type: GRPC, transport_api_version: V3, set_node_on_first_message_only: true, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}}}]
            validation_context_sds_secret_config: {name: ROOTCA, sds_config: *sds}
`

// secretsTo starts the agent's server and a stock Envoy that asks it.
func secretsTo(t *testing.T, h *identity.Holder) (dir string) {
	t.Helper()
	binary, err := filepath.Abs(envoyBinary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("no Envoy at %s: run test/install-envoy.sh", binary)
	}
	if dir, err = os.MkdirTemp("/tmp", "la-"); err != nil { // a socket's path is short
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := listenSocket(filepath.Join(dir, "sds.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t.Context())
	g.Go("secrets", func(ctx context.Context) error { return serveSecrets(ctx, newSecretServer(h), l) })
	config := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(secretsBootstrap, dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	envoy := exec.CommandContext(t.Context(), binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
	envoy.Stderr = os.Stderr
	if err := envoy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = envoy.Process.Kill()
		_ = envoy.Wait() // it was killed
		g.Stop()
	})
	return dir
}

// material is a key and certificate of the authority for an identity.
func material(t *testing.T, a *ca.Authority, id identity.ID) *identity.Material {
	t.Helper()
	m, err := catest.Issue(a, id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A stock Envoy takes its certificate and roots from the agent: it waits for the
// first, proves the identity, checks its callers', and has a renewed one without a
// restart.
func TestStockEnvoyTakesItsSecretsFromTheAgent(t *testing.T) {
	authority, err := ca.Open(t.TempDir(), ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "web"}
	caller := certificate(t, authority, identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "caller"})
	h := identity.NewHolder()
	dir := secretsTo(t, h)

	// seen is the certificate that Envoy presents; nil as long as it takes no call.
	seen := func(own *tls.Certificate) *x509.Certificate {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { //nolint:gosec // VerifyPeer does it
			return own, nil
		}}}
		conn, err := d.DialContext(t.Context(), "unix", filepath.Join(dir, "secured.sock"))
		if err != nil {
			return nil
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			return nil
		}
		answer := make([]byte, 12)
		if _, err := conn.Read(answer); err != nil || string(answer) != "HTTP/1.1 204" {
			return nil
		}
		state := conn.(*tls.Conn).ConnectionState()
		if id, err := h.VerifyPeer(state.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil || id != web {
			t.Fatalf("Envoy proves %v, %v", id, err)
		}
		return state.PeerCertificates[0]
	}
	wait := func(m *identity.Material) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(60 * time.Second); ; <-tick.C {
			if c := seen(caller); c != nil && c.Equal(m.Leaf()) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("Envoy does not present the certificate")
			}
		}
	}
	if c := seen(caller); c != nil {
		t.Error("Envoy takes calls before there is a certificate")
	}
	first := material(t, authority, web)
	h.Set(first)
	wait(first)
	if c := seen(&tls.Certificate{}); c != nil {
		t.Error("a caller without a certificate was served")
	}
	strangers, err := ca.Open(t.TempDir(), ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c := seen(certificate(t, strangers, web)); c != nil {
		t.Error("a caller of another mesh was served")
	}
	second := material(t, authority, web)
	h.Set(second)
	wait(second)
}

// What the agent starts with is from the local API, and its socket is its own.
func TestAgentConfig(t *testing.T) {
	o := AgentOptions{Dir: t.TempDir(), Namespace: "default"}
	if _, err := o.config(t.Context()); err == nil {
		t.Error("without a control plane it starts")
	}
	l, err := net.Listen("unix", filepath.Join(o.Dir, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	d := startDebuggedWith(t, debugMesh)
	go serveHTTP(t.Context(), l, d.localAPI())
	c, err := o.config(t.Context())
	if err != nil || c.TrustDomain != "cluster.local" || c.Discovery == "" || len(c.Root) == 0 || c.ServiceAccount != "default" {
		t.Fatalf("%+v, %v", c, err)
	}
	if token, err := c.Token(t.Context()); err != nil || token == "" {
		t.Errorf("token %q, %v", token, err)
	}
}
