package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/capture"
	"lateen.dev/lateen/telemetry"
)

type scopesOf = *telemetry.Scopes

// program is what `lateen run` runs, captured or not.
type program interface {
	// fill says how the program's traffic reaches the sidecar, and back.
	fill(c *dataplane.Config, w *workloadRun)
	// release starts it.
	release(ctx context.Context) error
	listening(ctx context.Context, port uint16) error
	signal(s os.Signal) error
	done() <-chan struct{}
	status() capture.ExitStatus
	close()
}

func (w *workloadRun) prepare(ctx context.Context) (program, error) {
	if w.Explicit {
		return newExplicitProgram(w), nil
	}
	ns, err := capture.Start(ctx, capture.Spec{Argv: w.Command, Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Hold: true})
	var missing *capture.StartError
	if errors.As(err, &missing) {
		fmt.Fprintln(os.Stderr, "lateen:", err)
		return nil, &ExitError{Code: missing.ExitCode()}
	}
	if err != nil {
		return nil, err
	}
	return &capturedProgram{ns: ns}, nil
}

// capturedProgram lives in a namespace of its own.
type capturedProgram struct{ ns *capture.Namespace }

func (p *capturedProgram) fill(c *dataplane.Config, _ *workloadRun) {
	c.Outbound = &dataplane.Captured{Listener: p.ns.Outbound(), OriginalDst: capture.OriginalDst}
	for _, packets := range p.ns.DNSPackets() {
		c.DNSPackets = append(c.DNSPackets, packets)
	}
	c.DNSStreams = p.ns.DNSStreams()
	c.DialProgram = p.ns.Dial
}

func (p *capturedProgram) release(ctx context.Context) error {
	err := p.ns.Release(ctx)
	var missing *capture.StartError
	if errors.As(err, &missing) {
		fmt.Fprintln(os.Stderr, "lateen:", err)
		return &ExitError{Code: missing.ExitCode()}
	}
	return err
}

func (p *capturedProgram) listening(ctx context.Context, port uint16) error {
	return p.ns.Listening(ctx, port)
}
func (p *capturedProgram) signal(s os.Signal) error   { return p.ns.Signal(s) }
func (p *capturedProgram) done() <-chan struct{}      { return p.ns.Done() }
func (p *capturedProgram) status() capture.ExitStatus { return p.ns.Wait() }
func (p *capturedProgram) close() {
	if err := p.ns.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "lateen: closing the namespace:", err)
	}
}

// explicitProgram runs in the machine's own network and is told of its sidecar
// by environment variables.
type explicitProgram struct {
	cmd   *exec.Cmd
	ended chan struct{}
	exit  capture.ExitStatus
}

func newExplicitProgram(w *workloadRun) *explicitProgram {
	p := &explicitProgram{cmd: exec.Command(w.Command[0], w.Command[1:]...), ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	p.cmd.SysProcAttr = programAttributes()
	proxy := "http://" + netip.AddrPortFrom(w.joined.Workload.Address, httpProxyPort).String()
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.EqualFold(name, "http_proxy") || strings.EqualFold(name, "no_proxy")
	})
	p.cmd.Env = append(env, "HTTP_PROXY="+proxy, "http_proxy="+proxy, "NO_PROXY=localhost,127.0.0.1,::1", "no_proxy=localhost,127.0.0.1,::1")
	return p
}

func (p *explicitProgram) fill(c *dataplane.Config, w *workloadRun) { explicitTraffic(c, w.joined) }

func (p *explicitProgram) release(context.Context) error {
	started := make(chan error)
	go func() {
		defer close(p.ended)
		// The program's death signal hangs on the thread that starts it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.exit = exitStatus(p.cmd.Wait(), p.cmd.ProcessState)
		}
	}()
	err := <-started
	if err == nil {
		return nil
	}
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = 127
	}
	fmt.Fprintln(os.Stderr, "lateen:", err)
	return &ExitError{Code: code}
}

func exitStatus(err error, state *os.ProcessState) capture.ExitStatus {
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		return capture.ExitStatus{Code: 128 + int(status.Signal()), Signal: status.Signal()}
	case state.Exited():
		return capture.ExitStatus{Code: state.ExitCode()}
	}
	return capture.ExitStatus{Code: 1, Err: err}
}

func (p *explicitProgram) listening(ctx context.Context, port uint16) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", portText(port)), time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return errors.New("the program has ended")
		case <-tick.C:
		}
	}
}

func (p *explicitProgram) signal(s os.Signal) error   { return p.cmd.Process.Signal(s) }
func (p *explicitProgram) done() <-chan struct{}      { return p.ended }
func (p *explicitProgram) status() capture.ExitStatus { return p.exit }
func (p *explicitProgram) close() {
	if p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended: that is what was wanted
	<-p.ended
}
