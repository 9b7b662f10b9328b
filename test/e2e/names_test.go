package e2e

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestNamesOfAServiceWithoutYAML(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		m.serve("foo", "v1", "--port 8080", "--http 8080")
		m.serve("foo", "v1", "--port 8080", "--http 8080")
		d := m.drive("client", "--port 9999")
		var first []string
		for _, name := range []string{"foo", "foo.default", "foo.default.svc", "foo.default.svc.cluster.local", "FOO"} {
			a := d.do(command{Op: "lookup", Host: name, Network: "ip4"})
			if a.Err != "" || len(a.Addrs) == 0 {
				t.Errorf("%s: %v, %s", name, a.Addrs, a.Err)
				continue
			}
			if first == nil {
				first = a.Addrs
			}
			if !slices.Equal(a.Addrs, first) {
				t.Errorf("%s resolves to %v, foo to %v", name, a.Addrs, first)
			}
			a = d.get("http://"+name+":8080/", http.StatusOK)
			if !strings.HasPrefix(a.Body, "foo-v1 ") {
				t.Errorf("%s: %s", name, a.Body)
			}
		}
		for _, addr := range d.do(command{Op: "lookup", Host: "foo", Network: "ip6"}).Addrs {
			d.get("http://["+addr+"]:8080/", http.StatusOK, "Host: foo:8080")
		}
		for _, name := range []string{"nobody", "nobody.default", "nobody.default.svc.cluster.local", "no-such-host.invalid"} {
			if a := d.do(command{Op: "lookup", Host: name, Network: "ip"}); a.Err == "" {
				t.Errorf("%s resolves to %v", name, a.Addrs)
			} else if strings.HasSuffix(name, "cluster.local") && !a.NoName {
				t.Errorf("%s: %s", name, a.Err)
			}
		}
		// Programs on this machine's own network are not in the way.
		if a := d.do(command{Op: "lookup", Host: "localhost", Network: "ip4"}); !slices.Equal(a.Addrs, []string{"127.0.0.1"}) {
			t.Errorf("localhost: %v, %s", a.Addrs, a.Err)
		}
	})
}

func TestBothInstancesOfAVersionAreSentTo(t *testing.T) {
	u := ordinary()
	m := newMesh(t, u)
	one := m.start("--service twin --version v1 --port 8080", peer(), "serve", "--name", "one", "--http", "8080")
	two := m.start("--service twin --version v1 --port 8080", peer(), "serve", "--name", "two", "--http", "8080")
	eventually(t, "both are endpoints", func() bool { return len(m.ready("twin")) == 2 })
	list := m.ready("twin")
	if list[0].ID != "default/twin-v1" || list[1].ID != "default/twin-v1-2" {
		t.Errorf("they are %v", list)
	}
	d := m.drive("client", "--port 9999")
	l := d.load(command{URL: "http://twin:8080/", Workers: 2})
	l.more(50)
	a := l.stop()
	if a.Hits["one"] < 10 || a.Hits["two"] < 10 {
		t.Errorf("of %d requests they got %v\n%s%s", a.Total, a.Hits, one.errs.String(), two.errs.String())
	}
}

// outside is an address of this machine that is not in the mesh: one that is
// not loopback, if the machine has any, and else a loopback address.
func outside(t *testing.T) []string {
	t.Helper()
	list := []string{"127.3.2.1"}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return append(list, n.IP.String())
		}
	}
	return list
}

func TestTrafficToOutsideTheMesh(t *testing.T) {
	u := ordinary()
	m := newMesh(t, u)
	d := m.drive("client", "--port 9999")
	type target struct{ http, tcp string }
	var targets []target
	for i, host := range outside(t) {
		web, tcp := 31080+i, 31090+i
		p := u.start(t, m.dir, peer(), "serve", "--name", "outside", "--host", host, "--http", fmt.Sprint(web), "--greet", fmt.Sprint(tcp))
		targets = append(targets, target{fmt.Sprintf("http://%s:%d/", host, web), fmt.Sprintf("%s:%d", host, tcp)})
		eventually(t, "the server outside listens", func() bool {
			c, err := net.Dial("tcp", targets[i].tcp)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		_ = p
	}
	// Loopback addresses in a namespace are the program's own: 127/8 never
	// leaves it. All others reach the sidecar.
	const loopback = "connection refused"
	for _, to := range targets {
		a := d.try(to.http)
		if strings.Contains(to.http, "127.") {
			if !strings.Contains(a.Err, loopback) {
				t.Errorf("%s from inside: %d %s", to.http, a.Status, a.Err)
			}
			continue
		}
		if a.Status != http.StatusOK || !strings.HasPrefix(a.Body, "outside ") {
			t.Errorf("ALLOW_ANY, %s: %d %s\n%s", to.http, a.Status, a.Err, a.Body)
		}
		if a := d.do(command{Op: "raw", Host: to.tcp, Send: "ping", Size: len("hello from outside\nping")}); a.Body != "hello from outside\nping" {
			t.Errorf("ALLOW_ANY, %s: %q %s", to.tcp, a.Body, a.Err)
		}
	}
	m.apply(registryOnly)
	for _, to := range targets {
		if strings.Contains(to.http, "127.") {
			continue
		}
		if a := d.try(to.http); a.Err == "" && a.Status != http.StatusBadGateway {
			t.Errorf("REGISTRY_ONLY, %s: %d %s", to.http, a.Status, a.Body)
		}
		if a := d.do(command{Op: "raw", Host: to.tcp, Send: "ping", Size: 20}); a.Err == "" || a.Body != "" {
			t.Errorf("REGISTRY_ONLY, %s: %q", to.tcp, a.Body)
		}
	}
}

const registryOnly = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ["*/*"]}]
`
