package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lateen.dev/lateen/source/consul/consultest"
)

// command runs a command line of the mesh and returns what it printed.
func (m *mesh) command(args ...string) string {
	m.t.Helper()
	out, err := m.user.command(m.dir, append([]string{lateen(), "--dir", m.dir}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("lateen %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// Configuration that is applied at one control plane arrives at another, which
// names where it comes from, keeps it while the first one is gone, and hears of
// changes when it is back. They trust each other by the root that they share.
func TestConfigurationFromAnotherControlPlane(t *testing.T) {
	u := users()[0]
	first := newMesh(t, u)
	dir := u.home(t)
	key, err := os.ReadFile(filepath.Join(first.dir, "state", "ca", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(path, data string, mode os.FileMode) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("state/ca/ca.pem", string(key), 0o600)
	write("more/gateway.yaml", "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: more}\n"+
		"spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n", 0o644)
	write("config/mesh.yaml", fmt.Sprintf("configSources:\n- address: xds://127.0.0.1:%d\n  tlsSettings: {mode: ISTIO_MUTUAL}\n- address: fs://%s/more\n",
		first.port+2, dir), 0o644)
	first.apply(virtualService("first", "v1"))
	second := &mesh{t: t, user: u, dir: dir}
	second.port, _ = freePorts(t)
	second.startControl() // is ready when it has what the first one has
	got := second.command("get", "vs", "first", "-o", "yaml")
	if want := fmt.Sprintf("# from xds://127.0.0.1:%d, %s/config/", first.port+2, first.dir); !strings.Contains(got, want) || !strings.Contains(got, "subset: v1") {
		t.Errorf("the second control plane has, instead of %q:\n%s", want, got)
	}
	if got := second.command("get", "gateway", "more"); !strings.Contains(got, dir+"/more/gateway.yaml:1") {
		t.Errorf("the gateway is\n%s", got)
	}
	first.control.kill()
	eventually(t, "the failure is seen", func() bool { return strings.Contains(second.command("sources"), "failing") })
	if got := second.command("proxy-status"); !strings.Contains(got, "proxies have what it said last") {
		t.Errorf("proxy-status says\n%s", got)
	}
	if got := second.command("get", "vs", "first", "-o", "yaml"); !strings.Contains(got, "subset: v1") {
		t.Errorf("after the failure the second control plane has\n%s", got)
	}
	first.startControl()
	first.apply(virtualService("first", "v2"))
	eventually(t, "the change arrives", func() bool {
		return strings.Contains(second.command("get", "vs", "first", "-o", "yaml"), "subset: v2")
	})
	second.apply(virtualService("first", "v3"))
	if got := second.command("get", "vs", "first", "-o", "wide"); !strings.Contains(got, " file") {
		t.Errorf("what was written here doesn't count:\n%s", got)
	}
	if out, err := u.command(dir, lateen(), "--dir", dir, "analyze").CombinedOutput(); !strings.Contains(string(out), "LAT0007") {
		t.Errorf("analyze is silent about the rivals: %v\n%s", err, out)
	}
}

func virtualService(name, subset string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s}\n"+
		"spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: %s}}]}]}\n", name, subset)
}

// A program of the mesh calls a service that Consul knows, at the instances that
// Consul calls healthy.
func TestServicesFromConsul(t *testing.T) {
	u := users()[0]
	registry := consultest.New()
	server := httptest.NewServer(registry)
	defer server.Close()
	defer server.CloseClientConnections()
	m := newMesh(t, u, "--consul-http-addr", server.URL)
	for _, id := range []string{"well", "ill"} {
		program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s at %s", id, r.Host) }))
		defer program.Close()
		_, port, err := net.SplitHostPort(program.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		registry.Register(consultest.Service{ID: id, Name: "billing", Address: "127.0.0.1", Port: number, Tags: []string{"version=" + id, "http"},
			Meta: map[string]string{"port": "80"}})
	}
	registry.SetStatus(consultest.Datacenter, "ill", "critical")
	eventually(t, "the service arrives", func() bool { return strings.Contains(m.command("get", "serviceentries"), "billing.service.consul") })
	d := m.drive("caller", "--port 9999")
	for range 4 {
		if a := d.get("http://billing.service.consul/", http.StatusOK); a.Body != "well at billing.service.consul" {
			t.Errorf("the answer is %q", a.Body)
		}
	}
	server.CloseClientConnections()
	registry.Fail("No cluster leader")
	eventually(t, "the failure is seen", func() bool { return strings.Contains(m.command("sources"), "No cluster leader") })
	if got := m.command("get", "serviceentries"); !strings.Contains(got, "billing.service.consul") {
		t.Errorf("after the failure there are\n%s", got)
	}
	if a := d.get("http://billing.service.consul/", http.StatusOK); a.Body != "well at billing.service.consul" {
		t.Errorf("after the failure the answer is %q", a.Body)
	}
	registry.SetStatus(consultest.Datacenter, "ill", "passing")
	registry.SetStatus(consultest.Datacenter, "well", "critical")
	registry.Fail("")
	eventually(t, "the other instance answers", func() bool {
		return d.get("http://billing.service.consul/", http.StatusOK).Body == "ill at billing.service.consul"
	})
}
