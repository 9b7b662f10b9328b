package kit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// process is a proxy in a process of its own, with admin pages on the host's loopback device.
type process struct {
	host *Host
	cmd  *exec.Cmd
	out  *output
	dir  string
	// ended is closed when the process has ended, for the reason in err.
	ended chan struct{}
	err   error
}

func (p *process) start() error {
	// A pipe of our own, because the proxy opens /dev/stdout by its name, as its own user.
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	defer w.Close()
	if hasUser() {
		if err := w.Chown(proxyUser, proxyUser); err != nil {
			return errors.Join(fmt.Errorf("pipe: %w", err), r.Close())
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.host.place.Start(p.cmd); err != nil {
		return errors.Join(fmt.Errorf("starting the proxy: %w", err), r.Close())
	}
	go func() {
		defer close(p.ended)
		// The pipe ends with the process.
		_, _ = io.Copy(p.out, r)
		_ = r.Close()
		p.err = p.cmd.Wait()
	}()
	return nil
}

func (p *process) stop() {
	// It may have ended by itself.
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = os.RemoveAll(p.dir)
}

func (p *process) log() string { return p.out.String() }

// ready waits until the proxy has everything that it was sent.
func (p *process) ready(ctx context.Context) error {
	return poll(ctx, func() error {
		select {
		case <-p.ended:
			return fatal{fmt.Errorf("the proxy ended: %w", errors.Join(errors.New("its process is gone"), p.err))}
		default:
		}
		text, err := p.admin(ctx, "/ready")
		if err == nil && !strings.Contains(text, "LIVE") {
			err = errors.New("not ready: " + strings.TrimSpace(text))
		}
		return err
	})
}

// admin implements proxyOnHost.
func (p *process) admin(ctx context.Context, path string) (string, error) {
	return adminPage(ctx, p.host, loopback(adminPort), path)
}

// adminPage asks an admin page on a host.
func adminPage(ctx context.Context, h *Host, at netip.AddrPort, path string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return h.place.Dial(ctx, at)
	}}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+path, nil)
	if err != nil {
		return "", fmt.Errorf("admin page %s: %w", path, err)
	}
	r, err := transport.RoundTrip(q)
	if err != nil {
		return "", fmt.Errorf("admin page %s of %s: %w", path, h.Name, err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	return string(data), err
}

// output keeps what a proxy writes.
type output struct {
	mu   sync.Mutex
	data bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.Write(p)
}

// String returns all that was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}

// fatal is an error that waiting doesn't mend.
type fatal struct{ error }

// Unwrap returns the cause.
func (f fatal) Unwrap() error { return f.error }

// pollEvery is how often poll looks.
const pollEvery = 20 * time.Millisecond

// poll calls f until it succeeds; when ctx ends first, it returns f's last error.
func poll(ctx context.Context, f func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := f()
		var stop fatal
		if err == nil || errors.As(err, &stop) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
