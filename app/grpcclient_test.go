package app

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"

	"lateen.dev/lateen/identity"
)

// grpcMesh is a service with two versions, of which only secured ones take mutual
// TLS.
const grpcMesh = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo.default.svc.cluster.local]
  ports: [{number: 7070, name: grpc, protocol: GRPC}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints:
  - {address: 127.0.0.1, ports: {grpc: %d}, labels: {version: v1}, serviceAccount: echo}
  - {address: 127.0.0.1, ports: {grpc: %d}, labels: {version: v2}, serviceAccount: echo}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secured, namespace: default}
spec:
  hosts: [secured.default.svc.cluster.local]
  ports: [{number: 7071, name: grpc, protocol: GRPC}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 127.0.0.1, ports: {grpc: %d}, labels: {app: secured, security.istio.io/tlsMode: istio}, serviceAccount: secured}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: default}
spec: {host: echo, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: secured, namespace: default}
spec: {host: secured, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo]
  http:
  - match: [{headers: {user: {exact: jason}}}]
    route: [{destination: {host: echo, subset: v2}}]
  - route: [{destination: {host: echo, subset: v1}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: secured, namespace: default}
spec:
  selector: {matchLabels: {app: secured}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/caller]}}]}]
`

// listenHere opens a port of this machine.
func listenHere(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().(*net.TCPAddr).Port
}

// bootstrapOf is what istio-agent writes for a client library: certificates are
// read from files.
func bootstrapOf(t *testing.T, d *debugged, account string, labels map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	cert := certificate(t, d.authority, identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: account})
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"cert": chain, "key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), "root": d.authority.RootPEM()}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{"server_uri": d.address, "channel_creds": []any{map[string]any{"type": "insecure"}}, "server_features": []string{"xds_v3"}}},
		"node": map[string]any{"id": "sidecar~127.0.0.1~" + account + ".default~default.svc.cluster.local",
			"metadata": map[string]any{"GENERATOR": "grpc", "NAMESPACE": "default", "SERVICE_ACCOUNT": account, "LABELS": labels}},
		"certificate_providers": map[string]any{"default": map[string]any{"plugin_name": "file_watcher", "config": map[string]any{
			"certificate_file": filepath.Join(dir, "cert"), "private_key_file": filepath.Join(dir, "key"),
			"ca_certificate_file": filepath.Join(dir, "root"), "refresh_interval": "600s"}}},
		"server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dialMesh is a connection by a name of the mesh.
func dialMesh(t *testing.T, bootstrap []byte, target string) healthpb.HealthClient {
	t.Helper()
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return healthpb.NewHealthClient(conn)
}

// reached calls and tells who answered.
func reached(t *testing.T, c healthpb.HealthClient, headers ...string) (*peer.Peer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), headers...), 20*time.Second)
	defer cancel()
	var p peer.Peer
	_, err := c.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&p), grpc.WaitForReady(true))
	return &p, err
}

// gRPC's own client library finds services without a proxy: by the names that it
// dials, with the routes, subsets and mutual TLS that the mesh says; its server
// library takes its certificate and its policies from there.
func TestClientsWithoutProxy(t *testing.T) {
	one, portOne := listenHere(t)
	two, portTwo := listenHere(t)
	three, portThree := listenHere(t)
	d := startDebuggedWith(t, fmt.Sprintf(grpcMesh, portOne, portTwo, portThree))
	for _, l := range []net.Listener{one, two} {
		s := grpc.NewServer()
		healthpb.RegisterHealthServer(s, health.NewServer())
		go s.Serve(l)
		t.Cleanup(s.Stop)
	}
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		t.Fatal(err)
	}
	secured, err := xds.NewGRPCServer(grpc.Creds(creds), xds.BootstrapContentsForTesting(
		bootstrapOf(t, d, "secured", map[string]string{"app": "secured", "security.istio.io/tlsMode": "istio"})))
	if err != nil {
		t.Fatal(err)
	}
	healthpb.RegisterHealthServer(secured, health.NewServer())
	go secured.Serve(three)
	t.Cleanup(secured.Stop)

	caller := bootstrapOf(t, d, "caller", nil)
	for _, target := range []string{"echo.default.svc.cluster.local:7070", "echo.default:7070", "echo:7070"} {
		c := dialMesh(t, caller, target)
		if p, err := reached(t, c); err != nil || p.Addr.String() != one.Addr().String() {
			t.Errorf("%s: reached %v, %v; want %v", target, p.Addr, err, one.Addr())
		}
		if p, err := reached(t, c, "user", "jason"); err != nil || p.Addr.String() != two.Addr().String() {
			t.Errorf("%s as jason: reached %v, %v; want %v", target, p.Addr, err, two.Addr())
		}
	}
	p, err := reached(t, dialMesh(t, caller, "secured.default.svc.cluster.local:7071"))
	if err != nil {
		t.Fatalf("secured: %v", err)
	}
	proven := ""
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && info.SPIFFEID != nil {
		proven = info.SPIFFEID.String()
	}
	if proven != "spiffe://cluster.local/ns/default/sa/secured" {
		t.Errorf("secured proves %q", proven)
	}
	// Who is not allowed is refused by the server itself.
	if _, err := reached(t, dialMesh(t, bootstrapOf(t, d, "stranger", nil), "secured:7071")); err == nil || !strings.Contains(err.Error(), "PermissionDenied") {
		t.Errorf("a stranger: %v", err)
	}
}
