package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lateen.dev/lateen/test/conf"
	"lateen.dev/lateen/test/traffic"
)

// mesh is a mesh of its own, as users have one: `lateen control`, and programs that `lateen run` runs in it: one that
// serves and one that sends, whose sidecars speak mutual TLS, and others that come and go. The control plane is killed
// and started again.
type mesh struct {
	o       options
	dir     string
	lateen  string
	outside []*traffic.Backend // servers that are not in the mesh

	control *controlPlane
	server  *workload
	driver  *driver
	sidecar map[string]string // its pages, by service
	witness *witness

	files, applied, come int // changes so far
}

// The names of services.
const (
	webService   = "web"
	driveService = "drive"
	outside      = "shop.test"
)

func newMesh(o options) (*mesh, error) {
	m := &mesh{o: o, lateen: o.lateen, sidecar: map[string]string{}}
	var err error
	if m.dir, err = os.MkdirTemp("/tmp", "soak-"); err != nil { // a short path: it holds a socket
		return nil, fmt.Errorf("mesh: %w", err)
	}
	for range 3 {
		b, err := traffic.Serve(nil)
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.outside = append(m.outside, b)
	}
	return m, nil
}

// start implements part.
func (m *mesh) start(ctx context.Context) error {
	if m.lateen == "" {
		m.lateen = filepath.Join(m.dir, "lateen")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", m.lateen, "lateen.dev/lateen/cmd/lateen")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building lateen: %w\n%s", err, out)
		}
	}
	if err := os.MkdirAll(filepath.Join(m.dir, "config"), 0o700); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	var err error
	if m.witness, err = newWitness(m.dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.dir, "config", "mesh.yaml"), fmt.Appendf(nil, meshConfig, m.witness.path), 0o600); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := m.save(); err != nil {
		return err
	}
	// Renewed several times during a soak, and long enough to live while the control plane is away.
	ttl := min(max(m.o.duration/15, 20*time.Second), time.Minute)
	if m.control, err = newControlPlane(m.lateen, m.dir, ttl); err != nil {
		return err
	}
	if err := m.control.start(ctx); err != nil {
		return err
	}
	if m.server, err = m.serve(ctx, "v1"); err != nil {
		return err
	}
	c, err := m.run(driveService, "v1", driveFlag, 9999)
	if err != nil {
		return err
	}
	m.driver = &driver{c}
	for _, service := range []string{webService, driveService} {
		if err := m.find(ctx, service); err != nil {
			return err
		}
	}
	_, err = m.driver.order(order{Op: "end"}) // it answers as soon as it runs
	return err
}

// find waits until a service has a sidecar, and remembers its page.
func (m *mesh) find(ctx context.Context, service string) error {
	return eventually(ctx, service+" is in the mesh", func() error {
		addresses, err := m.control.addresses(ctx, service, false)
		if err != nil {
			return err
		}
		if len(addresses) == 0 {
			return errors.New("nobody has joined as " + service)
		}
		m.sidecar[service] = fmt.Sprintf("http://%s:15000/stats/prometheus", addresses[0])
		return nil
	})
}

// run runs this program in the mesh.
func (m *mesh) run(service, version, flag string, ports ...any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	argv := []string{"run", "--dir", m.dir, "--service", service, "--version", version}
	for _, p := range ports {
		argv = append(argv, "--port", fmt.Sprint(p))
	}
	cmd := exec.Command(m.lateen, append(argv, "--", self, "-"+flag)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return startChild(service+" "+version+" in the mesh", cmd)
}

// workload is a process of serveMain.
type workload struct{ *child }

// serve adds a server, and waits until it is an endpoint.
func (m *mesh) serve(ctx context.Context, version string) (*workload, error) {
	before, err := m.control.addresses(ctx, webService, true)
	if err != nil {
		return nil, err
	}
	c, err := m.run(webService, version, serveFlag, fmt.Sprintf("%d:http", webPort), fmt.Sprintf("%d:http2", web2Port), fmt.Sprintf("%d:tcp", bytesPort))
	if err != nil {
		return nil, err
	}
	w := &workload{c}
	err = eventually(ctx, c.what+" is an endpoint", func() error {
		now, err := m.control.addresses(ctx, webService, true)
		if err == nil && len(now) <= len(before) {
			err = errors.New("it is not")
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// close asks a server to end.
func (w *workload) close() error {
	if w == nil {
		return nil
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", w.what, err)
	}
	return w.child.close()
}

func (m *mesh) begin(rates []float64, share float64) error {
	_, err := m.driver.order(order{Op: "begin", Rates: rates, Share: share})
	return err
}

func (m *mesh) end() ([]outcome, error) { return m.driver.order(order{Op: "end"}) }

// trouble implements part. The last third of the time belongs to one life of the control plane, so that it is seen
// whether that grows.
func (m *mesh) trouble(ctx context.Context, d time.Duration) error {
	saved := make(chan error, 1)
	go func() { saved <- m.churn(ctx) }()
	began := time.Now()
	err := m.happen(ctx, func() bool { return time.Since(began) < d*2/3 }, min(max(d/10, time.Second), 30*time.Second))
	return errors.Join(err, <-saved)
}

// happen kills the control plane, and has servers come and go, one after the other: who comes while there is no control
// plane cannot join.
func (m *mesh) happen(ctx context.Context, mayKill func() bool, pause time.Duration) error {
	// What has begun is brought to its end.
	whole := context.WithoutCancel(ctx)
	for {
		sleep(ctx, pause/2)
		if ctx.Err() != nil {
			return nil
		}
		w, err := m.serve(whole, "extra")
		if err != nil {
			return err
		}
		m.come++
		sleep(ctx, pause/4)
		if err := w.close(); err != nil {
			return err
		}
		if !mayKill() {
			continue
		}
		if err := m.control.kill(); err != nil {
			return err
		}
		sleep(ctx, min(pause/4, 3*time.Second))
		if err := m.control.start(whole); err != nil {
			return err
		}
	}
}

// churn saves changed files, and applies some through the API when there is a control plane.
func (m *mesh) churn(ctx context.Context) error {
	const perApply = 10
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := m.save(); err != nil {
			return err
		}
		if i%perApply == 0 && m.control.apply(ctx, fmt.Sprintf(applied, i)) == nil {
			m.applied++
		}
	}
}

// save writes the next version of the configuration: routes, settings, and a service with two of three endpoints.
func (m *mesh) save() error {
	m.files++
	var endpoints []string
	for i, b := range m.outside {
		if i != m.files%len(m.outside) {
			endpoints = append(endpoints, fmt.Sprintf("{address: 127.0.0.1, ports: {http: %d}}", b.HTTP))
		}
	}
	text := fmt.Sprintf(saved, strings.Join(endpoints, ", ")) + "---" + conf.Web(m.files, ", http: {idleTimeout: 1s, maxRequestsPerConnection: 25}")
	name := filepath.Join(m.dir, "config", "churn.yaml")
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

// meshConfig has proxies log.
const meshConfig = `
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec: {accessLogFile: %q}
`

const saved = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [%s]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  trafficPolicy: {connectionPool: {http: {idleTimeout: 1s}}}
`

const applied = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  http:
  - match: [{headers: {churn: {exact: "%d"}}}]
    route: [{destination: {host: shop.test}}]
  - route: [{destination: {host: shop.test}}]
`

// samples implements part.
func (m *mesh) samples(ctx context.Context, exact bool) ([]sample, error) {
	var list []sample
	for _, p := range []struct{ what, page string }{{"control plane", m.control.metrics()}, {"sidecar of web", m.sidecar[webService]},
		{"sidecar of drive", m.sidecar[driveService]}} {
		s, err := scrape(ctx, p.page, exact)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.what, err)
		}
		s.Name = p.what
		list = append(list, s)
	}
	return list, nil
}

func (m *mesh) note() string {
	return fmt.Sprintf("files saved in the mesh: %d, changes through the API: %d, servers that came and went: %d, the control plane was killed %d times",
		m.files, m.applied, m.come, m.control.kills)
}

// close ends everything.
func (m *mesh) close() error {
	var err error
	if m.driver != nil {
		err = m.driver.close()
	}
	err = errors.Join(err, m.server.close(), m.control.close(), m.witness.close())
	for _, b := range m.outside {
		b.Close()
	}
	return errors.Join(err, os.RemoveAll(m.dir))
}
