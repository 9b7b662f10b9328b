package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"lateen.dev/lateen/source/workload"
)

// DemoOptions are the demo's flags.
type DemoOptions struct {
	Dir         string
	GatewayPort int
	ControlPort int
	// Check tries everything, prints what it saw, and ends.
	Check bool
	Out   io.Writer
}

// demo is the running demonstration: a control plane, a gateway and Bookinfo's
// six programs, all of them processes of this binary that are started as a
// user would start them.
type demo struct {
	DemoOptions
	children []*child
	logs     string
}

// service is one program of Bookinfo.
type service struct{ name, version string }

func bookinfoServices() []service {
	return []service{{"productpage", "v1"}, {"details", "v1"}, {"reviews", "v1"}, {"reviews", "v2"}, {"reviews", "v3"}, {"ratings", "v1"}}
}

func (s service) String() string { return s.name + "-" + s.version }

const (
	// startTimeout bounds how long the demo may take to come up.
	startTimeout = 60 * time.Second
	// stopGrace is how long a process may take to end when asked to; all of them
	// together must be gone within five seconds of Ctrl-C.
	stopGrace = 3 * time.Second
)

// RunDemo runs the demo until ctx ends, or with Check until all was tried.
func RunDemo(ctx context.Context, o DemoOptions) error {
	d := &demo{DemoOptions: o, logs: filepath.Join(o.Dir, "log")}
	if err := d.prepare(); err != nil {
		return err
	}
	defer d.stop()
	started := time.Now()
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	d.say("ready after %.1f s", time.Since(started).Seconds())
	if o.Check {
		return d.check(ctx)
	}
	d.invite()
	return d.wait(ctx)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// markerFile says that a directory belongs to a demo, which may then begin
// afresh in it.
const markerFile = ".lateen-demo"

// prepare makes the demo's directory: fresh configuration, empty logs.
func (d *demo) prepare() error {
	if d.GatewayPort == d.ControlPort {
		return errors.New("--gateway-port and --control-port are the same")
	}
	if err := checkPorts(d.GatewayPort, d.ControlPort); err != nil {
		return err
	}
	marker := filepath.Join(d.Dir, markerFile)
	entries, err := os.ReadDir(d.Dir)
	switch {
	case errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0):
	case err != nil:
		return fmt.Errorf("demo directory: %w", err)
	default:
		if _, err := os.Stat(marker); err != nil {
			return fmt.Errorf("%s holds a mesh that is not a demo's; choose another directory with --dir, or LATEEN_DIR", d.Dir)
		}
	}
	if err := lockFree(d.Dir); err != nil {
		return err
	}
	for _, sub := range []string{configDir, stateDir, "log", "samples"} {
		if err := os.RemoveAll(filepath.Join(d.Dir, sub)); err != nil {
			return fmt.Errorf("demo directory: %w", err)
		}
	}
	for _, sub := range []string{configDir, "log", "samples"} {
		if err := os.MkdirAll(filepath.Join(d.Dir, sub), 0o700); err != nil {
			return fmt.Errorf("demo directory: %w", err)
		}
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		return fmt.Errorf("demo directory: %w", err)
	}
	return d.writeSamples()
}

// checkPorts names the flag of a port that is taken.
func checkPorts(gateway, control int) error {
	ports := []struct {
		port int
		flag string
	}{{gateway, "--gateway-port"}, {control, "--control-port"}, {control + 2, "--control-port"}, {control + 4, "--control-port"}}
	for _, p := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
		if err != nil {
			return fmt.Errorf("port %d is not free: %w; choose another one with %s", p.port, err, p.flag)
		}
		l.Close()
	}
	return nil
}

// start brings the parts up in order: the control plane, then the gateway and
// the programs side by side.
func (d *demo) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	port := strconv.Itoa(d.ControlPort)
	if _, err := d.launch("control", "control", "--dir", d.Dir, "--control-port", port); err != nil {
		return err
	}
	d.say("control plane   discovery on 127.0.0.1:%d (plain) and %d (TLS), pages on http://127.0.0.1:%d", d.ControlPort, d.ControlPort+2, d.ControlPort+4)
	if err := d.waitFor(ctx, "the control plane", d.controlReady); err != nil {
		return err
	}
	if err := d.launchGateway(); err != nil {
		return err
	}
	d.say("gateway         http://127.0.0.1:%d", d.GatewayPort)
	for _, s := range bookinfoServices() {
		if err := d.launchService(s); err != nil {
			return err
		}
		d.say("workload        %-15s its own process, sidecar and identity", s)
	}
	return d.waitFor(ctx, "Bookinfo", d.bookinfoReady)
}

func (d *demo) launch(name string, args ...string) (*child, error) {
	c, err := startChild(name, d.logs, args...)
	if err != nil {
		return nil, err
	}
	d.children = append(d.children, c)
	return c, nil
}

func (d *demo) launchGateway() error {
	_, err := d.launch("gateway", "proxy", "gateway", "--dir", d.Dir, "--http-port", strconv.Itoa(d.GatewayPort))
	return err
}

func (d *demo) launchService(s service) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%s: this program's file: %w", s, err)
	}
	_, err = d.launch(s.String(), "run", "--dir", d.Dir, "--service", s.name, "--version", s.version, "--port", "9080",
		"--service-account", "bookinfo-"+s.name, "--", exe, "sample", "bookinfo", s.name, "--version", s.version, "--port", "9080")
	return err
}

// waitFor polls until ready says nil, or a process has ended, or time is up.
func (d *demo) waitFor(ctx context.Context, what string, ready func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, c := range d.children {
			if gone := c.ended(); gone != nil {
				return gone
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (logs are in %s)", what, err, d.logs)
		case <-tick.C:
		}
	}
}

func (d *demo) controlReady(ctx context.Context) error {
	return getOK(ctx, fmt.Sprintf("http://127.0.0.1:%d/ready", d.ControlPort+4))
}

// bookinfoReady says whether every program takes requests and every proxy
// knows it; the page alone would also come with parts missing.
func (d *demo) bookinfoReady(ctx context.Context) error {
	c := d.api()
	defer c.Close()
	var all workloadsResponse
	if err := c.Call(ctx, http.MethodGet, pathWorkloads, nil, &all); err != nil {
		return fmt.Errorf("workloads: %w", err)
	}
	if want := len(d.children) - 1; len(all.Workloads) < want {
		return fmt.Errorf("%d of %d programs have joined", len(all.Workloads), want)
	}
	for i := range all.Workloads {
		w := &all.Workloads[i]
		if w.Connected.IsZero() || (!w.Ready && !w.Gateway) {
			return fmt.Errorf("%s takes no requests yet", w.Name)
		}
	}
	if _, err := d.waitRevision(ctx, c, workload.Name, all.Revision); err != nil {
		return err
	}
	return getOK(ctx, d.url("/productpage"))
}

func (d *demo) url(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", d.GatewayPort, path)
}

// getOK fails unless the answer is 200.
func getOK(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// invite prints where to look and three things to try.
func (d *demo) invite() {
	samples := filepath.Join(d.Dir, "samples")
	// As the user called it, so that the lines can be pasted.
	lateen := os.Args[0]
	dir := ""
	if d.Dir != defaultDir() {
		dir = " --dir " + d.Dir
	}
	d.say(`
Bookinfo is at  %[1]s

Three things to try, each in another terminal:

  1. Send everybody to reviews v1, then reload the page (no more stars):
     %[2]s apply%[3]s --wait -f %[4]s

  2. Send only jason to v2 (log in as jason to see black stars):
     %[2]s apply%[3]s --wait -f %[5]s

  3. Ask why a request goes where it goes:
     %[2]s explain%[3]s productpage-v1 GET http://reviews:9080/reviews/0 -H end-user:jason

See also: %[2]s proxy-status%[3]s, %[2]s proxy-config route%[3]s productpage-v1. Logs are in %[6]s.
Ctrl-C ends everything.`,
		d.url("/productpage"), lateen, dir, filepath.Join(samples, "virtual-service-all-v1.yaml"),
		filepath.Join(samples, "virtual-service-reviews-test-v2.yaml"), d.logs)
}

// wait returns when ctx ends, or with an error when a process does.
func (d *demo) wait(ctx context.Context) error {
	ended := make(chan *child, len(d.children))
	for _, c := range d.children {
		go func() {
			<-c.done
			ended <- c
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case c := <-ended:
		if ctx.Err() != nil {
			return nil
		}
		return c.ended()
	}
}

// stop ends all processes: the programs and the gateway at the same time, then
// the control plane.
func (d *demo) stop() {
	if len(d.children) == 0 {
		return
	}
	var wg sync.WaitGroup
	for _, c := range d.children[1:] {
		wg.Go(func() { c.stop(stopGrace) })
	}
	wg.Wait()
	d.children[0].stop(stopGrace)
}
