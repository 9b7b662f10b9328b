package e2e

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"testing"
)

// strict demands mutual TLS of everybody.
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`

func TestProtocolsThroughSidecars(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		m.apply(strict)
		m.serve("srv", "v1", "--port 8080:http --port 7000:tcp --port 7001:tcp --port 9000:grpc",
			"--http 8080 --tcp 7000 --greet 7001 --grpc 9000")
		d := m.drive("client", "--port 9999")
		mutualTLS(t, d.get("http://srv:8080/", http.StatusOK), "client")
		protocols(t, d)
	})
}

func protocols(t *testing.T, d *driver) {
	const size = 20 << 20
	block := "0123456789abcdef"
	sum := fnv.New64a()
	sum.Write([]byte(strings.Repeat(block, size/16)))
	for _, chunked := range []bool{false, true} {
		a := d.do(command{Op: "http", Method: "POST", URL: "http://srv:8080/echo", Size: size, Chunked: chunked})
		if a.Err != "" || a.Status != http.StatusOK || a.Length != size || a.Sum != sum.Sum64() {
			t.Errorf("20 MB both ways, chunked %t: status %d, %d bytes, sum %d, %s", chunked, a.Status, a.Length, a.Sum, a.Err)
		}
	}
	a := d.do(command{Op: "http", Method: "POST", URL: "http://srv:8080/sink", Size: 1 << 20, Headers: map[string]string{"Expect": "100-continue"}})
	if a.Status != http.StatusOK || a.Body != "1048576 <nil>\n" {
		t.Errorf("Expect: 100-continue: %d %q %s", a.Status, a.Body, a.Err)
	}
	a = d.get(fmt.Sprintf("http://srv:8080/bytes/%d", size), http.StatusOK)
	if a.Length != size {
		t.Errorf("a chunked answer has %d bytes", a.Length)
	}
	// Envoy, and so Istio, refuses HTTP/1.0 unless it is told otherwise.
	a = d.do(command{Op: "raw", Host: "srv:8080", Send: "GET /old HTTP/1.0\r\nHost: srv:8080\r\n\r\n"})
	if !strings.HasPrefix(a.Body, "HTTP/1.1 426 Upgrade Required\r\n") {
		t.Errorf("HTTP/1.0: %q %s", a.Body, a.Err)
	}
	a = d.do(command{Op: "raw", Host: "srv:7000", Send: "there and back\n", Size: 15})
	if a.Body != "there and back\n" {
		t.Errorf("TCP: %q %s", a.Body, a.Err)
	}
	a = d.do(command{Op: "raw", Host: "srv:7001", Size: len("hello from srv-v1\n")})
	if a.Body != "hello from srv-v1\n" {
		t.Errorf("a server that speaks first: %q %s", a.Body, a.Err)
	}
	a = d.do(command{Op: "grpc", Host: "srv:9000", Send: "srv-v1"})
	if !strings.HasPrefix(a.Body, "SERVING SERVING ") || !strings.Contains(a.Body, "NotFound") {
		t.Errorf("gRPC: %q %s", a.Body, a.Err)
	}
	for _, kind := range []string{"ws", "one", "fresh", ""} {
		l := d.load(command{Kind: kind, URL: map[bool]string{true: "http://srv:8080/ws", false: "http://srv:8080/"}[kind == "ws"]})
		l.more(20)
		l.stop()
	}
}

// mutualTLS checks that requests to the service are known by their identity.
func mutualTLS(t *testing.T, a answer, client string) {
	t.Helper()
	if want := "URI=spiffe://cluster.local/ns/default/sa/" + client; !strings.Contains(a.Body, want) {
		t.Errorf("the server sees no %s:\n%s", want, a.Body)
	}
}
