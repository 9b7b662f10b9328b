package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"lateen.dev/lateen/test/e2e/line"
)

func dialSocket(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// command and answer are the lines that are exchanged.
type (
	command = line.Command
	answer  = line.Answer
)

// driver is a program in the mesh that sends what a test wants.
type driver struct {
	*process
	t   *testing.T
	in  io.Writer
	out io.Closer

	mu      sync.Mutex // guards all below
	last    int
	waiting map[int]chan answer
}

// drive runs `peer drive` in the mesh as a service without a port that serves.
func (m *mesh) drive(service, flags string) *driver {
	m.t.Helper()
	argv := m.runArgs("--service "+service+" --version v1 "+flags, peer(), "drive")
	return newDriver(m.t, m.user, m.dir, argv)
}

func newDriver(t *testing.T, u user, home string, argv []string) *driver {
	t.Helper()
	d := &driver{t: t, waiting: map[int]chan answer{}}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.process = u.startWith(t, home, w, argv...)
	w.Close()
	d.in, d.out = d.process.in, r
	t.Cleanup(func() {
		d.process.kill()
		r.Close()
	})
	go d.read(r)
	return d
}

// read hands out answers until the program has ended.
func (d *driver) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a answer
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue // the test that waits for it says so
		}
		d.mu.Lock()
		ch := d.waiting[a.ID]
		delete(d.waiting, a.ID)
		d.mu.Unlock()
		if ch != nil {
			ch <- a
		}
	}
}

func (d *driver) do(c command) answer {
	d.t.Helper()
	ch := make(chan answer, 1)
	d.mu.Lock()
	d.last++
	c.ID = d.last
	d.waiting[c.ID] = ch
	b, err := json.Marshal(c)
	if err == nil {
		_, err = d.in.Write(append(b, '\n'))
	}
	d.mu.Unlock()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", d.name, err, d.errs.String())
	}
	select {
	case a := <-ch:
		return a
	case <-d.ended:
		d.t.Fatalf("%s has ended: %v\n%s", d.name, d.cmd.ProcessState, d.errs.String())
	case <-time.After(30 * time.Second):
		d.t.Fatalf("%s does not answer %s", d.name, b)
	}
	return answer{}
}

// get fetches a URL, which must answer with a status.
func (d *driver) get(url string, status int, headers ...string) answer {
	d.t.Helper()
	a := d.try(url, headers...)
	if a.Err != "" || a.Status != status {
		d.t.Fatalf("%s: status %d (want %d), error %q\n%s", url, a.Status, status, a.Err, a.Body)
	}
	return a
}

func (d *driver) try(url string, headers ...string) answer {
	d.t.Helper()
	h := map[string]string{}
	for _, one := range headers {
		name, value, _ := strings.Cut(one, ":")
		h[name] = strings.TrimSpace(value)
	}
	return d.do(command{Op: "http", URL: url, Headers: h})
}

// load is a load that runs in the mesh.
type load struct {
	d    *driver
	id   int
	what string
}

// start starts a load.
func (d *driver) load(c command) *load {
	d.t.Helper()
	c.Op = "start"
	a := d.do(c)
	return &load{d: d, id: a.ID, what: strings.TrimSpace(c.Kind + " " + c.URL + c.Host)}
}

func (l *load) seen() answer {
	l.d.t.Helper()
	return l.d.do(command{Op: "seen", Load: l.id})
}

// more waits until n further requests have been answered.
func (l *load) more(n int) {
	l.d.t.Helper()
	want := l.seen().Total + n
	eventually(l.d.t, l.what+" goes on", func() bool { return l.seen().Total >= want })
}

// stop ends the load, which must not have had a failure.
func (l *load) stop() answer {
	l.d.t.Helper()
	a := l.d.do(command{Op: "stop", Load: l.id})
	if a.Failed > 0 || a.Total == 0 {
		l.d.t.Errorf("%s: %d of %d failed: %s", l.what, a.Failed, a.Total, strings.Join(a.Errors, "\n  "))
	}
	l.d.t.Logf("%s: %d requests, %d failed, %v", l.what, a.Total, a.Failed, a.Hits)
	return a
}
