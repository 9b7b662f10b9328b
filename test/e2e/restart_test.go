package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// TestSidecarRestartLosesNothing puts new processes in the place of sidecars, at both ends, under load. The programs, and
// what is connected, go on.
func TestSidecarRestartLosesNothing(t *testing.T) {
	m := newMesh(t, ordinary())
	m.apply(strict)
	web := m.serve("web", "v1", "--port 8080 --port 7000:tcp --drain-time-s 1", "--http 8080 --tcp 7000")
	d := m.drive("client", "--port 9999")
	loads := []*load{d.load(command{URL: "http://web:8080/", Workers: 2}), d.load(command{URL: "http://web:8080/", Kind: "fresh"}),
		d.load(command{URL: "http://web:8080/", Kind: "h2", Workers: 2}), d.load(command{Kind: "bytes", Host: "web:7000"}),
		d.load(command{Kind: "tcp", Host: "web:7000"}), d.load(command{Kind: "ws", URL: "http://web:8080/ws"})}
	more := func() {
		for _, l := range loads {
			l.more(20)
		}
	}
	more()
	pid := programOf(t, web)
	// One that can't start changes nothing.
	if out, err := m.restart("web-v1", "/bin/false"); err == nil || !strings.Contains(out, "the one before it goes on") {
		t.Errorf("restart with a program that ends: %v, %s", err, out)
	}
	if out, err := m.restart("nobody-v1", ""); err == nil || !strings.Contains(out, "nobody-v1") {
		t.Errorf("restart of a workload that isn't there: %v, %s", err, out)
	}
	serving := 0
	for _, name := range []string{"web-v1", "client-v1", "web-v1"} {
		out, err := m.restart(name, "")
		if err != nil {
			t.Fatalf("restart of %s: %v\n%s", name, err, out)
		}
		if name == "web-v1" {
			serving = processIn(t, out)
		}
		more()
	}
	if now := programOf(t, web); now != pid {
		t.Errorf("the program was process %d, and is %d", pid, now)
	}
	for _, l := range loads {
		l.stop()
	}
	// With the last connection the old ones end: the one in lateen run, and the first that took over.
	within(t, time.Minute, "the old sidecars have ended", func() bool {
		b, err := os.ReadFile(filepath.Join(m.dir, "log", "web-v1-sidecar.log"))
		return err == nil && strings.Count(string(b), "the last connection has ended") == 2
	})
	// One that is killed is replaced, without an order.
	if err := syscall.Kill(serving, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another sidecar takes its place", func() bool { return d.try("http://web:8080/").Status == http.StatusOK })
	web.signal(syscall.SIGTERM)
	if code := web.wait(patience); code != 0 {
		t.Errorf("the program ended with %d: %s", code, web.errs.String())
	}
}

// TestSidecarRestartWithoutCapture is that for a program that has HTTP_PROXY.
func TestSidecarRestartWithoutCapture(t *testing.T) {
	m := newMesh(t, ordinary())
	m.serve("plain", "v1", "--explicit-proxy --port 31302", "--host 127.0.0.1 --http 31302")
	d := m.drive("caller", "--explicit-proxy --port 31303")
	loads := []*load{d.load(command{URL: "http://plain:31302/", Workers: 2}), d.load(command{URL: "http://plain:31302/", Kind: "fresh"})}
	for _, name := range []string{"plain-v1", "caller-v1", "plain-v1"} {
		for _, l := range loads {
			l.more(10)
		}
		if out, err := m.restart(name, ""); err != nil {
			t.Fatalf("restart of %s: %v\n%s", name, err, out)
		}
	}
	for _, l := range loads {
		l.more(10)
		l.stop()
	}
}

// TestGatewayRestartLosesNothing has a new process take over from a gateway under load. TCP connections that live long go
// on in the old process until its time is up.
func TestGatewayRestartLosesNothing(t *testing.T) {
	const shutdown = 5 * time.Second
	u := ordinary()
	m := newMesh(t, u)
	bytesPort, port := freePorts(t)
	m.apply(fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}, {port: {number: %d, name: tcp, protocol: TCP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: web, port: {number: 8080}}}]}], tcp: [{route: [{destination: {host: web, port: {number: 7000}}}]}]}
`, bytesPort))
	m.serve("web", "v1", "--port 8080 --port 7000:tcp", "--http 8080 --tcp 7000")
	start := func() *process {
		return u.start(t, m.dir, lateen(), "proxy", "gateway", "--dir", m.dir, "--http-port", strconv.Itoa(port),
			"--socket-path", filepath.Join(m.dir, "gw.sock"), "--drain-time-s", "1", "--parent-shutdown-time-s", strconv.Itoa(int(shutdown/time.Second)))
	}
	first := start()
	first.until("gateway is ready")
	answers := func() bool {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	}
	eventually(t, "the gateway leads to web", answers)
	var loads []*traffic.Load
	var replaced atomic.Int64 // when the second gateway was started, in nanoseconds: the first has shutdown from then on
	for _, k := range []traffic.Kind{traffic.HTTP1, traffic.HTTP1Fresh, traffic.HTTP2, traffic.TCP, traffic.TCPLong} {
		o := traffic.Options{Kind: k, Dial: traffic.Dialer(port), Workers: 2, Pause: 2 * time.Millisecond}
		switch k {
		case traffic.TCPLong:
			o.Explain = func(error) bool { at := replaced.Load(); return at > 0 && time.Since(time.Unix(0, at)) >= shutdown }
			fallthrough
		case traffic.TCP:
			o.Dial = traffic.Dialer(bytesPort)
		}
		l := traffic.Start(o)
		t.Cleanup(l.Stop)
		loads = append(loads, l)
	}
	more := func() {
		for _, l := range loads {
			if err := l.More(t.Context(), 30); err != nil {
				t.Fatal(err)
			}
		}
	}
	more()
	replaced.Store(time.Now().UnixNano())
	second := start()
	second.until("gateway is ready")
	if code := first.wait(patience); code != 0 {
		t.Errorf("the first gateway ended with %d: %s", code, first.errs.String())
	}
	more()
	for _, l := range loads {
		l.Stop()
		if failed, why := l.Failed(); failed > 0 {
			t.Errorf("%s: %d of %d failed: %v", l.Kind(), failed, l.Done(), why)
		}
	}
}

// restart puts a new process in the place of a workload's sidecar.
func (m *mesh) restart(workload, executable string) (string, error) {
	m.t.Helper()
	argv := []string{lateen(), "--dir", m.dir, "sidecar", "restart", workload}
	if executable != "" {
		argv = append(argv, "--executable", executable)
	}
	out, err := m.user.command(m.dir, argv...).CombinedOutput()
	return string(out), err
}

func processIn(t *testing.T, text string) int {
	t.Helper()
	found := regexp.MustCompile(`process (\d+) is the sidecar`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("which process is the sidecar? %s", text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
