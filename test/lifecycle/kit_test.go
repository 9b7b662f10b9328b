package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	testconf "lateen.dev/lateen/test/conf"
	"lateen.dev/lateen/test/traffic"
)

// binary is lateen-proxy.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lateen-lifecycle-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "lateen-proxy")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/lateen-proxy")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// conf is what the bootstrap is made of.
type conf struct {
	HTTP, TCP, Admin  int
	Backend           int
	BackendTCP        int
	Top, HCM, Cluster string // more fields: of the bootstrap, the connection manager, the clusters
}

// http2Upstream has a cluster spoken to in HTTP/2.
const http2Upstream = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type":
      type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`

// bootstrap is the file's text.
func (c conf) bootstrap() string {
	routes := `route_config: {name: routes, virtual_hosts: [{name: all, domains: ["*"], routes: [
          {match: {prefix: /h2}, route: {cluster: http2, timeout: 0s}}, {match: {prefix: /stream}, route: {cluster: http2, timeout: 0s}},
          {match: {prefix: /}, route: {cluster: http, timeout: 0s}}]}]}`
	return fmt.Sprintf(`
node: {id: "sidecar~127.0.0.1~lifecycle.default~default.svc.cluster.local", cluster: lifecycle}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
%s
static_resources:
  listeners:`, c.Admin, c.Top) +
		testconf.Listener{Name: "http", Port: c.HTTP, Fields: []string{routes, c.HCM}}.YAML() +
		testconf.Listener{Name: "tcp", Port: c.TCP, Cluster: "tcp"}.YAML() + "  clusters:" +
		testconf.Cluster{Name: "http", Port: c.Backend, Fields: []string{c.Cluster}}.YAML() +
		testconf.Cluster{Name: "http2", Port: c.Backend, Fields: []string{http2Upstream}}.YAML() +
		testconf.Cluster{Name: "tcp", Port: c.BackendTCP}.YAML()
}

// backend starts what the proxies lead to.
func backend(t *testing.T, h func(http.ResponseWriter, *http.Request) bool) *traffic.Backend {
	t.Helper()
	b, err := traffic.Serve(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// newConf chooses ports for a proxy.
func newConf(t *testing.T, b *traffic.Backend) conf {
	t.Helper()
	c := conf{Backend: b.HTTP, BackendTCP: b.TCP}
	for _, p := range []*int{&c.HTTP, &c.TCP, &c.Admin} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		*p = ln.Addr().(*net.TCPAddr).Port
	}
	return c
}

func (c conf) write(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(c.bootstrap()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// process is a proxy.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	admin  int
	exited chan struct{} // closed at its end
	log    *logBuffer
}

// logBuffer keeps what a process says.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// launch starts a proxy and doesn't wait for it.
func (c conf) launch(t *testing.T, args ...string) *process {
	t.Helper()
	return c.launchBinary(t, binary, args...)
}

func (c conf) launchBinary(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, admin: c.Admin, exited: make(chan struct{}), log: &logBuffer{}}
	p.cmd = exec.Command(program, append([]string{"-c", c.write(t)}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		p.cmd.Wait() //nolint:errcheck // wait looks at its state
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.exited
		if t.Failed() {
			t.Logf("%v said:\n%s", p.cmd.Args, p.log)
		}
	})
	return p
}

// start starts a proxy and waits until it is ready.
func (c conf) start(t *testing.T, args ...string) *process {
	t.Helper()
	p := c.launch(t, args...)
	p.ready()
	return p
}

// startBinary is start with another program, which ends as the proxy.
func (c conf) startBinary(t *testing.T, program string) *process {
	t.Helper()
	p := c.launchBinary(t, program)
	p.ready()
	return p
}

func (p *process) ready() {
	p.t.Helper()
	within(p.t, "the proxy to be ready", func() bool {
		select {
		case <-p.exited:
			p.t.Fatalf("the proxy has ended\n%s", p.log)
		default:
		}
		return strings.Contains(p.log.String(), "proxy is ready")
	})
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("the proxy doesn't end")
		return -1
	}
}

// ask makes a request to the admin side. Status 0 means that nobody answers.
func (p *process) ask(method, path string) (status int, body string) {
	return ask(p.admin, method, path)
}

func ask(port int, method, path string) (status int, body string) {
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return 0, err.Error()
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// stat is one of the proxy's statistics.
func (p *process) stat(name string) int64 {
	p.t.Helper()
	_, body := p.ask("GET", "/stats?filter=^"+strings.ReplaceAll(name, ".", `\.`)+"$")
	_, value, ok := strings.Cut(strings.TrimSpace(body), ": ")
	n, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil {
		p.t.Fatalf("statistic %s: %q", name, body)
	}
	return n
}

// within waits until f says that it has come about.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// loads starts a load of each kind, HTTP through one dialer and TCP through the other; HTTP/2 to a server that is spoken to
// in HTTP/1 and to one in HTTP/2.
func loads(t *testing.T, http, tcp func(context.Context) (net.Conn, error)) []*traffic.Load {
	var list []*traffic.Load
	for _, o := range []traffic.Options{{Kind: traffic.HTTP1}, {Kind: traffic.HTTP1Fresh}, {Kind: traffic.Upload}, {Kind: traffic.HTTP2},
		{Kind: traffic.HTTP2, Path: "/h2"}, {Kind: traffic.TCP}} {
		o.Dial, o.Workers, o.Pause = http, 3, 2*time.Millisecond
		if o.Kind == traffic.TCP {
			o.Dial = tcp
		}
		l := traffic.Start(o)
		t.Cleanup(l.Stop)
		list = append(list, l)
	}
	return list
}

// endless starts loads that live as long as they are let: TCP connections, and HTTP/2 streams as of gRPC calls in both
// directions. What they fail with counts as explained; cut says when that was first the case.
func endless(t *testing.T, http, tcp func(context.Context) (net.Conn, error)) (list []*traffic.Load, cut []*atomic.Int64) {
	for _, k := range []traffic.Kind{traffic.TCPLong, traffic.HTTP2Long} {
		first := &atomic.Int64{} // in nanoseconds
		o := traffic.Options{Kind: k, Dial: tcp, Workers: 2, Pause: 5 * time.Millisecond, Explain: func(error) bool {
			first.CompareAndSwap(0, time.Now().UnixNano())
			return true
		}}
		if k == traffic.HTTP2Long {
			o.Dial, o.Path = http, traffic.StreamPath
		}
		l := traffic.Start(o)
		t.Cleanup(l.Stop)
		list, cut = append(list, l), append(cut, first)
	}
	return list, cut
}

// more waits until each load has made n exchanges more; slow bodies take their time, so those make fewer.
func more(t *testing.T, list []*traffic.Load, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, l := range list {
		k := n
		if l.Kind() == traffic.Upload {
			k = max(1, n/10)
		}
		if err := l.More(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
}

// settle ends the loads. None of their exchanges may have failed.
func settle(t *testing.T, list []*traffic.Load) {
	t.Helper()
	for _, l := range list {
		l.Stop()
		failed, why := l.Failed()
		t.Logf("%s: %d exchanges, %d failed", l.Kind(), l.Done(), failed)
		if failed > 0 {
			t.Errorf("%s: %d of %d exchanges failed: %v", l.Kind(), failed, l.Done(), why)
		}
	}
}
