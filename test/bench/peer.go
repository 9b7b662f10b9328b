package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed peers
var peerFiles embed.FS

// peer is one proxy under test: a process, perhaps with children.
type peer struct {
	name        string
	plain, mtls string // addresses, by what is spoken there
	h2, tcp     string
	admin       string // Envoy and Lateen
	cmd         *exec.Cmd
	log         string
	exited      chan error
	readyAfter  time.Duration
	// next is the other sidecar of a hop, whose usage counts as well.
	next *peer
}

// peerConfig is what the templates under peers/ are filled with.
type peerConfig struct {
	Dir        string
	Admin      int
	Backend    int
	Backend2   int // HTTP/2
	BackendTCP int
	H2, TCP    int
	Next       int // where a client sidecar leads to
	Listeners  []peerListener
	Hosts      []string
	Services   []string // further ones, each with a virtual host and a cluster
	IstioStats bool
}

type peerListener struct {
	Name string
	Port int
	TLS  bool
}

// size is how much configuration a proxy gets.
type size int

const (
	small size = 0   // what the loads need
	large size = 100 // so many services more
)

// start starts a proxy and waits until it is ready. A name may have a suffix: -2 is with two threads instead of one,
// -client is a client's sidecar before the proxy that has no suffix.
func (b *bench) start(ctx context.Context, name string, n size) (*peer, error) {
	p, err := b.startPeer(ctx, name, n)
	if err != nil {
		if p != nil {
			p.stop()
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func (b *bench) startPeer(ctx context.Context, name string, n size) (*peer, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	product, suffix, _ := strings.Cut(name, "-")
	p := &peer{name: name, exited: make(chan error, 1), plain: address(0), mtls: address(1), admin: address(2), h2: address(3), tcp: address(4)}
	if product == nginx || product == haproxy || product == floor {
		p.admin = ""
	}
	config := peerConfig{Dir: b.dir.path, Admin: ports[2], H2: ports[3], TCP: ports[4], IstioStats: product == lateen || product == before,
		Backend: b.backends.http.Port(), Backend2: b.backends.http2Port(), BackendTCP: b.backends.tcp.Port(),
		Hosts:     []string{"svc-a.default.svc.cluster.local", "svc-b.default.svc.cluster.local", "svc-c.default.svc.cluster.local"},
		Listeners: []peerListener{{Name: "plain", Port: ports[0]}, {Name: "mtls", Port: ports[1], TLS: true}}}
	for i := range int(n) {
		config.Services = append(config.Services, fmt.Sprintf("service-%d.default.svc.cluster.local", i))
	}
	if suffix == "client" {
		if p.next, err = b.peer(ctx, product); err != nil {
			return nil, err
		}
		if _, err := fmt.Sscanf(p.next.mtls, "127.0.0.1:%d", &config.Next); err != nil {
			return nil, fmt.Errorf("the next sidecar's address: %w", err)
		}
		p.mtls = ""
	}
	return p, p.launch(ctx, b, config)
}

// launch writes the configuration, starts the process and waits for it.
func (p *peer) launch(ctx context.Context, b *bench, config peerConfig) error {
	template, args, env := peerCommand(p.name, b.o)
	if template == "" {
		return errors.New("there is no such peer; there are lateen, envoy, nginx and haproxy")
	}
	b.dir.files++
	file := filepath.Join(b.dir.path, fmt.Sprintf("%s-%d%s", p.name, b.dir.files, filepath.Ext(template)))
	if err := writeTemplate(file, template, config); err != nil {
		return err
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "CONFIG", file)
	}
	binary, err := findBinary(args[0])
	if err != nil {
		return err
	}
	p.log = file + ".log"
	began := time.Now()
	if err := p.start(binary, args[1:], env); err != nil {
		return err
	}
	if err := p.waitReady(ctx); err != nil {
		return err
	}
	p.readyAfter = time.Since(began)
	return nil
}

// peerCommand is the template and the command line of a peer, with CONFIG for the configuration file's path.
func peerCommand(name string, o options) (template string, args, env []string) {
	product, suffix, _ := strings.Cut(name, "-")
	threads := "1"
	if suffix == "2" {
		threads = "2"
	}
	template = "envoy.yaml"
	if suffix == "client" {
		template = "client.yaml"
	}
	binary := o.lateen
	if product == before {
		binary = o.before
	}
	switch product {
	case lateen, before:
		return template, []string{binary, "-c", "CONFIG", "-l", "warning"}, []string{"GOMAXPROCS=" + threads}
	case envoy:
		return template, []string{o.envoy, "-c", "CONFIG", "--concurrency", threads, "--disable-hot-restart", "-l", "warning"}, nil
	case nginx:
		return "nginx.conf", []string{"nginx", "-c", "CONFIG"}, nil
	case floor:
		return "floor.json", []string{"/proc/self/exe", "-" + floorFlag, "CONFIG"}, []string{"GOMAXPROCS=" + threads}
	case haproxy:
		return "haproxy.cfg", []string{"haproxy", "-db", "-f", "CONFIG"}, nil
	}
	return "", nil, nil
}

func findBinary(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if path, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%s is not installed; test/install-packages.sh and test/install-envoy.sh install the peers, make build builds ours", name)
}

func writeTemplate(file, name string, config peerConfig) error {
	t, err := template.ParseFS(peerFiles, "peers/"+name)
	if err != nil {
		return fmt.Errorf("configuration template: %w", err)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	if err := t.Execute(f, config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return f.Close()
}

func (p *peer) start(binary string, args, env []string) error {
	log, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	defer log.Close()
	p.cmd = exec.Command(binary, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	return nil
}

// pollInterval is how exactly the start is timed.
const pollInterval = time.Millisecond

// waitReady returns when the proxy says that it is ready, or, if it can't say that, when it takes connections.
func (p *peer) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if p.isReady(ctx) {
			return nil
		}
		select {
		case err := <-p.exited:
			p.exited <- err
			return fmt.Errorf("it ended at once: %w\n%s", errors.Join(err, errors.New("its log follows")), p.readLog())
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w\n%s", ctx.Err(), p.readLog())
		case <-tick.C:
		}
	}
}

func (p *peer) isReady(ctx context.Context) bool {
	if p.admin == "" {
		return canDial(p.plain) && canDial(p.mtls)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/ready", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK && canDial(p.plain)
}

func (p *peer) readLog() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

func canDial(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func (p *peer) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(3 * time.Second):
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// freePorts asks the kernel for ports that nobody uses right now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
