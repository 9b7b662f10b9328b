package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lateen.dev/lateen/source/api"
)

// controlPlane is a process of `lateen control`.
type controlPlane struct {
	lateen, dir string
	port        int
	ttl         time.Duration // of workloads' certificates
	cmd         *exec.Cmd
	log         *os.File
	api         *api.Client
	socket      *http.Client
	kills       int
}

func newControlPlane(lateen, dir string, ttl time.Duration) (*controlPlane, error) {
	c := &controlPlane{lateen: lateen, dir: dir, ttl: ttl, api: api.NewClient(filepath.Join(dir, "control.sock"))}
	c.socket = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(dir, "control.sock"))
		}}}
	var err error
	if c.log, err = os.Create(filepath.Join(dir, "control.log")); err != nil {
		return nil, fmt.Errorf("control plane's log: %w", err)
	}
	c.port, err = freePorts()
	return c, err
}

// freePorts finds a port whose second and fourth neighbours are free, too.
func freePorts() (int, error) {
	free := func(port int) bool {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err == nil && l.Close() == nil
	}
	for port := 17000 + os.Getpid()%2000; port < 20000; port += 7 {
		if free(port) && free(port+2) && free(port+4) {
			return port, nil
		}
	}
	return 0, errors.New("no free ports for the control plane")
}

// start starts the process, and waits until it is ready.
func (c *controlPlane) start(ctx context.Context) error {
	c.cmd = exec.Command(c.lateen, "control", "--dir", c.dir, "--control-port", strconv.Itoa(c.port), "--workload-cert-ttl", c.ttl.String())
	c.cmd.Stderr = c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	return eventually(ctx, "the control plane is ready", func() error {
		_, err := page(ctx, fmt.Sprintf("http://127.0.0.1:%d/ready", c.port+4))
		return err
	})
}

// kill ends the process as nobody should.
func (c *controlPlane) kill() error {
	c.kills++
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing the control plane: %w", err)
	}
	_ = c.cmd.Wait() // it says that the process was killed
	return nil
}

func (c *controlPlane) close() error {
	if c == nil {
		return nil
	}
	c.api.Close()
	if c.cmd != nil && c.cmd.Process != nil && c.cmd.ProcessState == nil {
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("ending the control plane: %w", err)
		}
		if err := c.cmd.Wait(); err != nil {
			return fmt.Errorf("the control plane did not end in order: %w", err)
		}
	}
	return c.log.Close()
}

func (c *controlPlane) metrics() string { return fmt.Sprintf("http://127.0.0.1:%d/metrics", c.port+4) }

// apply applies YAML.
func (c *controlPlane) apply(ctx context.Context, text string) error {
	_, err := c.api.Apply(ctx, api.ApplyRequest{Files: []api.File{{Name: "applied.yaml", Data: text}}})
	return err
}

// addresses are a service's workloads, those that are endpoints or all.
func (c *controlPlane) addresses(ctx context.Context, service string, ready bool) ([]string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://local/v1/workloads", nil)
	if err != nil {
		return nil, err
	}
	r, err := c.socket.Do(q)
	if err != nil {
		return nil, fmt.Errorf("workloads: %w", err)
	}
	defer r.Body.Close()
	var all struct {
		Workloads []struct {
			Service, Address string
			Ready            bool
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		return nil, fmt.Errorf("workloads: %w", err)
	}
	var list []string
	for _, w := range all.Workloads {
		if w.Service == service && (w.Ready || !ready) {
			list = append(list, w.Address)
		}
	}
	return list, nil
}

// patience is how long anything may take that has no limit of its own.
const patience = time.Minute

// eventually waits until f succeeds.
func eventually(ctx context.Context, what string, f func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// page reads a page that must be there.
func page(ctx context.Context, address string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, r.Status)
	}
	return b, err
}

// scrape takes a sample from a page of metrics. To be exact, it is read until the garbage that this makes has been collected
// twice: the first collection may have begun while something was still alive.
func scrape(ctx context.Context, address string, exact bool) (sample, error) {
	const most = 2000
	s := sample{}
	collections := -1.0
	for range most {
		b, err := page(ctx, address)
		if err != nil {
			return s, err
		}
		m := metrics(b)
		heap := uint64(m["go_memstats_heap_alloc_bytes"])
		if s.Heap == 0 || heap < s.Heap {
			s.Heap = heap
		}
		s.Goroutines, s.Descriptors = int(m["go_goroutines"]), int(m["process_open_fds"])
		switch count := m["go_gc_duration_seconds_count"]; {
		case !exact:
			return s, nil
		case collections < 0:
			collections = count
		case count >= collections+2:
			return s, nil
		}
	}
	return s, fmt.Errorf("%s: no garbage has been collected", address)
}

// metrics are those of a page that have no labels.
func metrics(text []byte) map[string]float64 {
	m := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			m[name] = v
		}
	}
	return m
}
