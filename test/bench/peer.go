package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	cmd         *exec.Cmd
	log         string
	exited      chan error
}

// peerConfig is what the templates under peers/ are filled with.
type peerConfig struct {
	Dir        string
	Admin      int
	Backend    int
	Backend2   int // HTTP/2
	BackendTCP int
	H2, TCP    int
	Listeners  []peerListener
	Hosts      []string
	IstioStats bool
}

type peerListener struct {
	Name string
	Port int
	TLS  bool
}

// startPeers starts the chosen proxies, each limited to one thread. On an
// error it returns those that run, for the caller to stop.
func startPeers(ctx context.Context, o options, dir string, b *backends) ([]*peer, error) {
	var peers []*peer
	for _, name := range strings.Split(o.peers, ",") {
		p, err := startPeer(ctx, name, o, dir, b)
		if p != nil {
			peers = append(peers, p)
		}
		if err != nil {
			return peers, fmt.Errorf("%s: %w", name, err)
		}
	}
	return peers, nil
}

func startPeer(ctx context.Context, name string, o options, dir string, b *backends) (*peer, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	config := peerConfig{Dir: dir, Admin: ports[2], Backend: b.http.Port(), Backend2: b.http2Port(), BackendTCP: b.tcp.Port(), H2: ports[3], TCP: ports[4],
		IstioStats: name == "lateen",
		Hosts:      []string{"svc-a.default.svc.cluster.local", "svc-b.default.svc.cluster.local", "svc-c.default.svc.cluster.local"},
		Listeners:  []peerListener{{Name: "plain", Port: ports[0]}, {Name: "mtls", Port: ports[1], TLS: true}}}
	template, args, env := peerCommand(name, o)
	if template == "" {
		return nil, fmt.Errorf("there is no such peer; there are lateen, envoy, nginx and haproxy")
	}
	file := filepath.Join(dir, name+filepath.Ext(template))
	if err := writeTemplate(file, template, config); err != nil {
		return nil, err
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "CONFIG", file)
	}
	binary, err := findBinary(args[0])
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, log: filepath.Join(dir, name+".log"), exited: make(chan error, 1),
		plain: fmt.Sprintf("127.0.0.1:%d", ports[0]), mtls: fmt.Sprintf("127.0.0.1:%d", ports[1]),
		h2: fmt.Sprintf("127.0.0.1:%d", ports[3]), tcp: fmt.Sprintf("127.0.0.1:%d", ports[4])}
	if err := p.start(binary, args[1:], env); err != nil {
		return nil, err
	}
	return p, p.waitReady(ctx)
}

// peerCommand is the template and the command line of a peer, with CONFIG for
// the configuration file's path.
func peerCommand(name string, o options) (template string, args, env []string) {
	switch name {
	case "lateen":
		return "envoy.yaml", []string{o.lateen, "-c", "CONFIG"}, []string{"GOMAXPROCS=1"}
	case "envoy":
		return "envoy.yaml", []string{o.envoy, "-c", "CONFIG", "--concurrency", "1", "--disable-hot-restart", "-l", "warning"}, nil
	case "nginx":
		return "nginx.conf", []string{"nginx", "-c", "CONFIG"}, nil
	case "haproxy":
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

// waitReady returns when both listeners take connections.
func (p *peer) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if canDial(p.plain) && canDial(p.mtls) {
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

func stopPeers(peers []*peer) {
	for _, p := range peers {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(3 * time.Second):
			p.cmd.Process.Kill()
			<-p.exited
		}
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

// usage is what a process tree has used so far.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

// usage sums CPU time and resident memory over the peer's process and its
// children.
func (p *peer) usage() (usage, error) {
	var sum usage
	for _, pid := range processTree(p.cmd.Process.Pid) {
		u, err := processUsage(pid)
		if err != nil {
			return usage{}, err
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
	}
	return sum, nil
}

func processTree(pid int) []int {
	tree := []int{pid}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return tree
	}
	for _, field := range strings.Fields(string(b)) {
		if child, err := strconv.Atoi(field); err == nil {
			tree = append(tree, processTree(child)...)
		}
	}
	return slices.Compact(tree)
}

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which Linux
// fixes at 100.
const clockTick = 10 * time.Millisecond

// processUsage reads utime, stime and rss; see proc_pid_stat(5).
func processUsage(pid int) (usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("process usage: %w", err)
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 22 {
		return usage{}, fmt.Errorf("process usage: /proc/%d/stat is not understood", pid)
	}
	var n [3]int64
	for i, at := range [...]int{11, 12, 21} {
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return usage{}, fmt.Errorf("process usage: %w", err)
		}
	}
	return usage{cpu: time.Duration(n[0]+n[1]) * clockTick, rss: n[2] * int64(os.Getpagesize())}, nil
}
