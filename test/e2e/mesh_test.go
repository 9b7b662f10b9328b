package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// mesh is a control plane of a test's own.
type mesh struct {
	t       *testing.T
	user    user
	dir     string
	port    int
	options []string
	control *process
}

// lastPort keeps the tests of this process apart.
var lastPort atomic.Int32

// freePorts finds four ports in a row of which every second is free: a control
// plane's three, and one for a gateway.
func freePorts(t *testing.T) (control, gateway int) {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		return l.Close() == nil
	}
	for range 500 {
		port := 20000 + (os.Getpid()*220+int(lastPort.Add(11)))%9000
		if free(port) && free(port+2) && free(port+4) && free(port+6) {
			return port, port + 6
		}
	}
	t.Fatal("no free ports")
	return 0, 0
}

// newMesh starts a control plane and waits until it is ready.
func newMesh(t *testing.T, u user, options ...string) *mesh {
	t.Helper()
	m := &mesh{t: t, user: u, dir: u.home(t), options: options}
	m.port, _ = freePorts(t)
	m.startControl()
	t.Cleanup(func() {
		if t.Failed() {
			m.showLogs()
		}
	})
	return m
}

func (m *mesh) showLogs() {
	logs, err := filepath.Glob(filepath.Join(m.dir, "log", "*"))
	if err != nil {
		m.t.Error(err)
	}
	for _, name := range logs {
		if b, err := os.ReadFile(name); err == nil {
			m.t.Logf("-- %s\n%s", name, clip(string(b)))
		}
	}
}

func (m *mesh) startControl() {
	m.t.Helper()
	argv := append([]string{lateen(), "control", "--dir", m.dir, "--control-port", strconv.Itoa(m.port)}, m.options...)
	m.control = m.user.start(m.t, m.dir, argv...)
	eventually(m.t, "the control plane is ready", func() bool {
		select {
		case <-m.control.ended:
			m.t.Fatalf("the control plane has ended: %s", m.control.errs.String())
		default:
		}
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", m.port+4))
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// apply applies YAML and waits until every proxy has it.
func (m *mesh) apply(yaml string) {
	m.t.Helper()
	cmd := m.user.command(m.dir, lateen(), "--dir", m.dir, "apply", "--wait", "-f", "-")
	cmd.Stdin = strings.NewReader(yaml)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("apply: %v\n%s", err, out)
	}
}

// runArgs is the beginning of a `lateen run` command line.
func (m *mesh) runArgs(flags string, command ...string) []string {
	argv := append([]string{lateen(), "run", "--dir", m.dir}, strings.Fields(flags)...)
	return append(append(argv, "--"), command...)
}

// start runs a program in the mesh.
func (m *mesh) start(flags string, command ...string) *process {
	m.t.Helper()
	return m.user.start(m.t, m.dir, m.runArgs(flags, command...)...)
}

// serve runs `peer serve` as a service and waits until it is an endpoint.
func (m *mesh) serve(service, version, flags, serve string) *process {
	m.t.Helper()
	before := len(m.ready(service))
	flags = "--service " + service + " --version " + version + " " + flags
	p := m.start(flags, append([]string{peer(), "serve", "--name", service + "-" + version}, strings.Fields(serve)...)...)
	eventually(m.t, service+" "+version+" is an endpoint", func() bool {
		select {
		case <-p.ended:
			m.t.Fatalf("%s has ended: %s", p.name, p.errs.String())
		default:
		}
		return len(m.ready(service)) > before
	})
	return p
}

// registration is a part of what the local API tells of a workload.
type registration struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	Address string `json:"address"`
	Ready   bool   `json:"ready"`
}

// registrations asks the control plane's socket.
func (m *mesh) registrations() []registration {
	m.t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: dialSocket(filepath.Join(m.dir, "control.sock"))}}
	r, err := client.Get("http://local/v1/workloads")
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Body.Close()
	var all struct {
		Workloads []registration `json:"workloads"`
	}
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		m.t.Fatal(err)
	}
	return all.Workloads
}

// ready lists a service's endpoints, in the order of their names.
func (m *mesh) ready(service string) []registration {
	m.t.Helper()
	var list []registration
	for _, r := range m.registrations() {
		if r.Service == service && r.Ready {
			list = append(list, r)
		}
	}
	return list
}

// serial is the number of the certificate that a service's first proxy has.
func (m *mesh) serial(service string) string {
	m.t.Helper()
	r, err := http.Get("http://" + m.ready(service)[0].Address + ":15000/certs")
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Body.Close()
	var page struct {
		Certificates []struct {
			Chain []struct {
				Serial string `json:"serial_number"`
			} `json:"cert_chain"`
		} `json:"certificates"`
	}
	if err := json.NewDecoder(r.Body).Decode(&page); err != nil {
		m.t.Fatal(err)
	}
	for _, c := range page.Certificates {
		if len(c.Chain) > 0 {
			return c.Chain[0].Serial
		}
	}
	return ""
}
