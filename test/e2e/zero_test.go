package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lateen.dev/lateen/test/conf"
)

// TestNoRequestFails sends without pause while everything changes around it,
// and counts.
func TestNoRequestFails(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		m.serve("web", "v1", "--port 8080 --port 7000:tcp", "--http 8080 --tcp 7000")
		d := m.drive("client", "--port 9999")
		loads := func() []*load {
			return []*load{d.load(command{URL: "http://web:8080/", Workers: 2}), d.load(command{URL: "http://web:8080/", Kind: "fresh"})}
		}
		kept := []*load{d.load(command{Kind: "one", URL: "http://web:8080/"}), d.load(command{Kind: "tcp", Host: "web:7000"}),
			d.load(command{Kind: "ws", URL: "http://web:8080/ws"})}
		t.Run("configuration", func(t *testing.T) { m.churnConfiguration(loads()) })
		t.Run("workloads", func(t *testing.T) { m.churnWorkloads(loads()) })
		t.Run("control plane", func(t *testing.T) { m.churnControl(loads()) })
		for _, l := range kept {
			l.more(5)
			l.stop()
		}
	})
}

// churnConfiguration saves a change ten times a second.
func (m *mesh) churnConfiguration(loads []*load) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	file := filepath.Join(m.dir, "config", "churn.yaml")
	for i := range 30 {
		yaml := conf.Web(i, "")
		if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
			m.t.Fatal(err)
		}
		<-tick.C
	}
	for _, l := range loads {
		l.stop()
	}
}

// churnWorkloads adds instances and ends them, as a deployment does.
func (m *mesh) churnWorkloads(loads []*load) {
	for i := range 5 {
		p := m.serve("web", fmt.Sprintf("extra%d", i), "--port 8080 --port 7000:tcp", "--http 8080 --tcp 7000")
		loads[0].more(20)
		loads[1].more(10)
		p.signal(syscall.SIGTERM)
		if code := p.wait(patience); code != 0 {
			m.t.Errorf("the instance ended with %d: %s", code, p.errs.String())
		}
	}
	for _, l := range loads {
		l.stop()
	}
}

// churnControl kills the control plane and starts it again.
func (m *mesh) churnControl(loads []*load) {
	for range 2 {
		m.control.kill()
		loads[0].more(30)
		m.startControl()
		loads[1].more(30)
		if list := m.ready("web"); len(list) != 1 {
			m.t.Errorf("endpoints after the restart: %v", list)
		}
	}
	m.apply(conf.Web(99, "")) // the proxies are back: they acknowledge
	for _, l := range loads {
		l.more(5)
		l.stop()
	}
}

func TestCertificatesAreRenewed(t *testing.T) {
	u := ordinary()
	m := newMesh(t, u, "--workload-cert-ttl", "5s")
	m.apply(strict)
	m.serve("web", "v1", "--port 8080 --port 7000:tcp", "--http 8080 --tcp 7000")
	d := m.drive("client", "--port 9999")
	loads := []*load{d.load(command{Kind: "one", URL: "http://web:8080/"}), d.load(command{Kind: "tcp", Host: "web:7000"}),
		d.load(command{Kind: "ws", URL: "http://web:8080/ws"}), d.load(command{Kind: "fresh", URL: "http://web:8080/"}),
		d.load(command{URL: "http://web:8080/", Workers: 2})}
	serials := map[string]bool{}
	within(t, 30*time.Second, "three certificates one after the other", func() bool {
		serials[m.serial("web")] = true
		return len(serials) >= 4
	})
	for _, l := range loads {
		l.more(5)
		l.stop()
	}
}
