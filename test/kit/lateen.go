package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/proxy"
)

// startLateen starts our own proxy on the host: in this process where the network is memory, and in a process of its own
// on the host otherwise.
func startLateen(h *Host, m *identity.Material) (proxyOnHost, error) {
	cfg := agentConfig{NodeID: h.NodeID(), Name: h.Name, Namespace: h.Namespace, Labels: h.Labels, material: m}
	if place, ok := h.place.(*memoryPlace); ok {
		return startInside(h, place, cfg)
	}
	return startChild(h, cfg)
}

// inside is a proxy in this process.
type inside struct {
	agent *agent
	out   *output
}

func startInside(h *Host, place *memoryPlace, cfg agentConfig) (proxyOnHost, error) {
	p := &inside{out: &output{}}
	cfg.dial = h.mesh.Control.Dial
	cfg.sockets = place.sockets(h)
	cfg.upstream = place.upstream
	cfg.resolver = h.mesh
	cfg.openLog = func(string) (proxy.LogSink, error) { return logSink{p.out}, nil }
	cfg.log = slog.New(slog.NewTextHandler(p.out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	p.agent, err = startAgent(cfg)
	return p, err
}

// logSink keeps access log lines in an output.
type logSink struct{ out *output }

// Write implements proxy.LogSink.
func (s logSink) Write(line []byte) {
	// Memory takes everything.
	_, _ = s.out.Write(line)
}

// Close implements proxy.LogSink.
func (s logSink) Close() error { return nil }

func (p *inside) stop()       { p.agent.close() }
func (p *inside) log() string { return p.out.String() }

func (p *inside) ready(ctx context.Context) error { return poll(ctx, p.agent.ready) }

func (p *inside) admin(_ context.Context, path string) (string, error) {
	q := httptest.NewRequest(http.MethodGet, path, nil)
	w := httptest.NewRecorder()
	p.agent.pages().ServeHTTP(w, q)
	return w.Body.String(), nil
}

// childArgument makes a test binary a proxy. See Main.
const childArgument = "lateen-kit-proxy"

// startChild starts this program again as the host's proxy.
func startChild(h *Host, cfg agentConfig) (proxyOnHost, error) {
	l, err := h.place.Listen(loopback(discoveryPort).String())
	if err != nil {
		return nil, fmt.Errorf("discovery on %s: %w", h.Name, err)
	}
	h.mesh.Control.Serve(l)
	p := &process{host: h, out: &output{}, ended: make(chan struct{})}
	if p.dir, err = tempDir(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(cfg)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, "agent.json"), data, 0o644) //nolint:gosec // the proxy's user is another one
	}
	if err == nil {
		err = cfg.material.Save(filepath.Join(p.dir, "material.pem"))
	}
	if err == nil && hasUser() {
		err = errors.Join(os.Chmod(p.dir, 0o755), os.Chown(filepath.Join(p.dir, "material.pem"), proxyUser, proxyUser)) //nolint:gosec // see above
	}
	if err != nil {
		return nil, fmt.Errorf("files of the proxy of %s: %w", h.Name, err)
	}
	p.cmd = exec.Command("/proc/self/exe", childArgument, p.dir)
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	return p, p.start()
}

// Main is what a test's TestMain calls first. When run is false, the process was something else than the tests, and
// TestMain exits with the code: a host's proxy, or the tests' own parent outside a user namespace.
func Main() (code int, run bool) {
	if len(os.Args) == 3 && os.Args[1] == childArgument {
		if err := child(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "proxy:", err)
			return 1, false
		}
		return 0, false
	}
	if code, again := unshare(); again {
		return code, false
	}
	removeLeftovers()
	return 0, true
}

// child is the life of a proxy in a process of its own, which ends by being killed.
func child(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "agent.json"))
	if err != nil {
		return err
	}
	var cfg agentConfig
	if err := json.Unmarshal(data, &cfg); err != nil {
		return fmt.Errorf("agent.json: %w", err)
	}
	if cfg.material, err = identity.LoadMaterial(filepath.Join(dir, "material.pem")); err != nil {
		return err
	}
	cfg.dial = func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", loopback(discoveryPort).String())
	}
	if !hasUser() {
		cfg.upstream = markedDialer
	}
	cfg.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(hubAddr().String(), "53"))
	}}
	cfg.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := startAgent(cfg)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", loopback(adminPort).String())
	if err != nil {
		return err
	}
	return http.Serve(l, a.pages()) //nolint:gosec // the kit's own requests, over loopback
}
