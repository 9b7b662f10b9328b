package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is the control plane under measurement.
type process struct {
	cmd    *exec.Cmd
	binary string
	dir    string
	config string // shared by replicas; "" for dir/config
	port   int
	exited chan error
	// ready is how long it took from its start until it was ready.
	ready time.Duration
}

// startControl starts the binary's control role on dir, which has config/ in
// it, and waits until it is ready.
func startControl(ctx context.Context, binary, dir string) (*process, error) {
	port, err := freePorts(21010)
	if err != nil {
		return nil, err
	}
	p := &process{binary: binary, dir: dir, port: port}
	return p, p.start(ctx)
}

// start starts it, again if it was stopped or killed, at the same address.
func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(p.dir, "control.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	defer log.Close()
	args := []string{"control", "--dir", p.dir, "--control-port", strconv.Itoa(p.port), "--log-level", "warning"}
	if p.config != "" {
		args = append(args, "--config-dir", p.config)
	}
	p.cmd, p.exited = exec.Command(p.binary, args...), make(chan error, 1)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("control plane: %w (build it with `make build`)", err)
	}
	cmd, exited := p.cmd, p.exited
	go func() { exited <- cmd.Wait() }()
	if err := p.waitReady(ctx); err != nil {
		p.stop()
		return err
	}
	p.ready = time.Since(began)
	return nil
}

// freePorts finds a port P, not below first, such that P, P+2 and P+4 are free
// at the moment.
func freePorts(first int) (int, error) {
	for port := first; port < 29000; port += 10 {
		free := true
		for _, offset := range []int{0, 2, 4} {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+offset)))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return port, nil
		}
	}
	return 0, errors.New("no free ports for the control plane")
}

func (p *process) waitReady(ctx context.Context) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/ready", p.port+4)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("control plane: %w while waiting for %s", ctx.Err(), url)
		case err := <-p.exited:
			p.exited <- err
			text, _ := os.ReadFile(filepath.Join(p.dir, "control.log"))
			return fmt.Errorf("control plane ended: %v: %s", err, text)
		case <-tick.C:
		}
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
}

func (p *process) target() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// kill ends the process without a chance to tidy up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.exited
}

// running reports whether it has not ended.
func (p *process) running() bool {
	select {
	case err := <-p.exited:
		p.exited <- err
		return false
	default:
		return true
	}
}

// cpu is the processor time that the process has used so far, all threads.
func (p *process) cpu() time.Duration {
	// The kernel's name for the processor clock of another process.
	const scheduler = 2
	clock := int32(^p.cmd.Process.Pid<<3 | scheduler)
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// memory reads a line of /proc/PID/status, VmRSS or VmHWM, in bytes.
func (p *process) memory(name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
