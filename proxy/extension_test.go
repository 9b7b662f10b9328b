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
)

const rbacType = "envoy.extensions.filters.http.rbac.v3.RBAC"

func (b *bed) extension(name string, config plan.HTTPFilterConfig) {
	b.parts.Extensions = []*plan.Extension{{Name: name, Type: rbacType, HTTP: config}}
}

func (b *bed) discovered(name string) plan.HTTPFilter {
	return plan.HTTPFilter{Name: name, Discovery: &plan.FilterDiscovery{Ref: b.names.Extension(name), Types: []string{rbacType}}}
}

// A filter's configuration changes under a connection that stays; while it is missing, requests are refused.
func TestFilterConfigurationsChangeUnderAConnection(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	m := manager(t, b.route("/", "echo"))
	m.Filters = append([]plan.HTTPFilter{b.discovered("guard")}, m.Filters...)
	b.listen(m)
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	br := bufio.NewReader(nc)
	expect := func(status int) {
		t.Helper()
		if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			t.Errorf("%d %s (%v), want %d", resp.StatusCode, body, err, status)
		}
	}
	expect(500)
	b.extension("guard", &plan.RBAC{Rules: &plan.RBACRules{}})
	b.apply()
	expect(403)
	b.extension("guard", &plan.RBAC{})
	b.apply()
	expect(200)
	b.parts.Extensions[0] = &plan.Extension{Name: "guard", Type: "another", HTTP: &plan.RBAC{}}
	b.apply()
	expect(500)
}

// A connection that is forwarded as bytes is refused while a filter's configuration is missing.
func TestNetworkFilterConfigurationMissing(t *testing.T) {
	b := newBed(t)
	b.cluster("tcp", fixed(t, "hello"))
	const kind = "envoy.extensions.filters.network.rbac.v3.RBAC"
	d := &plan.FilterDiscovery{Ref: b.names.Extension("guard"), Types: []string{kind}}
	proxy := &plan.TCPProxy{Clusters: []plan.WeightedTCPCluster{{Name: "tcp", Cluster: b.names.Cluster("tcp"), Weight: 1}}, TotalWeight: 1}
	b.listenChain(&plan.FilterChain{Filters: []plan.NetworkFilter{{Name: "guard", Discovery: d}, {Name: "tcp", Config: proxy}}})
	try := func() string {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n"); err != nil {
			return err.Error()
		}
		answer := make([]byte, 5)
		n, _ := io.ReadFull(nc, answer)
		return string(answer[:n])
	}
	if got := try(); strings.Contains(got, "hello") {
		t.Errorf("without a configuration: %q", got)
	}
	b.parts.Extensions = []*plan.Extension{{Name: "guard", Type: kind, Network: &plan.NetworkRBAC{}}}
	b.apply()
	if got := try(); got != "hello" {
		t.Errorf("with one that allows everything: %q", got)
	}
	b.parts.Extensions = []*plan.Extension{{Name: "guard", Type: kind, Network: &plan.NetworkRBAC{RBAC: plan.RBAC{Rules: &plan.RBACRules{}}}}}
	b.apply()
	if got := try(); strings.Contains(got, "hello") {
		t.Errorf("with one that allows nothing: %q", got)
	}
}
