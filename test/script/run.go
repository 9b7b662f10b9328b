package script

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/test/kit"
)

const (
	// startTime bounds the start of a mesh, and changeTime the time until a change is in force everywhere.
	startTime  = 30 * time.Second
	changeTime = 10 * time.Second
	// settleTime is how long after a change a check may be made again.
	settleTime = 3 * time.Second
)

// run is a script running in a mode.
type run struct {
	t      *testing.T
	script *Script
	mode   Mode
	mesh   *kit.Mesh

	started bool
	// changed is when the last change was made.
	changed time.Time
	// services have been made, by namespace/name.
	services map[string]bool
	vips     int

	// sent is the last send, with what came of it.
	sent    *kit.Request
	from    *kit.Host
	got     []kit.Response
	skipped []string
}

// Run runs a script in a mode. A mistake in the script fails the test at its line, and so does what isn't as expected.
func Run(t *testing.T, s *Script, m Mode) {
	t.Helper()
	r := &run{t: t, script: s, mode: m, services: map[string]bool{}}
	var n kit.Network
	if m.Network != nil {
		var err error
		if n, err = m.Network(); err != nil {
			t.Fatal(err)
		}
	}
	r.mesh = kit.NewMesh(t, n)
	r.initial()
	lines := r.applicable()
	for i := 0; i < len(lines); i++ {
		if lines[i].Words[0] != "send" {
			r.must(lines[i], r.command(lines[i]))
			continue
		}
		last := i
		for last+1 < len(lines) && lines[last+1].Words[0] == "expect" {
			last++
		}
		r.step(lines[i], lines[i+1:last+1])
		i = last
	}
	if len(r.skipped) > 0 {
		t.Logf("mode %s left out:\n%s", m.Name, strings.Join(r.skipped, "\n"))
	}
}

// applicable are the lines that count in the mode.
func (r *run) applicable() []Line {
	var out []Line
	for _, l := range r.script.Lines {
		ok := true
		for _, c := range l.When {
			holds, known := r.mode.holds(c)
			if !known {
				r.t.Fatalf("%s.txtar:%d: no condition %q", r.script.Name, l.Number, c)
			}
			if !holds {
				ok = false
				r.skip(l, "only where "+c)
				break
			}
		}
		if ok {
			out = append(out, l)
		}
	}
	return out
}

func (r *run) skip(l Line, reason string) {
	r.skipped = append(r.skipped, fmt.Sprintf("  line %d: %s (%s)", l.Number, l, reason))
}

func (r *run) must(l Line, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%s.txtar:%d: %s\n%v", r.script.Name, l.Number, l, err)
	}
}

// initial applies the files that are there from the beginning.
func (r *run) initial() {
	for _, name := range []string{"mesh.yaml", "config.yaml"} {
		if data, ok := r.script.Files[name]; ok {
			if err := r.apply(name, data); err != nil {
				r.t.Fatalf("%s.txtar: %v", r.script.Name, err)
			}
		}
	}
}

func (r *run) apply(name, data string) error {
	f := kit.File{Name: name, Data: data}
	objects, err := f.Decode()
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.Kind == config.Service {
			r.services[o.Namespace+"/"+o.Name] = true
		}
	}
	return r.mesh.Control.Apply(f)
}

func (r *run) command(l Line) error {
	switch l.Words[0] {
	case "host":
		return r.host(l.Words[1:])
	case "workload":
		return r.workload(l.Words[1:])
	case "dns":
		return r.dns(l.Words[1:])
	}
	if err := r.start(); err != nil {
		return err
	}
	switch l.Words[0] {
	case "expect":
		return r.eventually(func() error { return r.expect(l) })
	case "apply":
		return r.change(func() error {
			data, ok := r.script.Files[l.Words[1]]
			if !ok {
				return fmt.Errorf("the archive has no file %s", l.Words[1])
			}
			return r.apply(l.Words[1], data)
		})
	case "delete":
		return r.change(func() error { return r.delete(l.Words[1:]) })
	case "kill":
		return r.change(func() error { return r.kill(l.Words[1:]) })
	}
	return fmt.Errorf("no command %q", l.Words[0])
}

// start starts the proxies of all hosts, once.
func (r *run) start() error {
	if r.started {
		return nil
	}
	r.started, r.changed = true, time.Now()
	ctx, cancel := context.WithTimeout(r.t.Context(), startTime)
	defer cancel()
	if err := r.mesh.Start(ctx, r.mesh.Hosts()...); err != nil {
		return err
	}
	return r.mesh.Control.Wait(ctx)
}

// change makes a change and waits until it is in force.
func (r *run) change(f func() error) error {
	if err := f(); err != nil {
		return err
	}
	r.changed = time.Now()
	ctx, cancel := context.WithTimeout(r.t.Context(), changeTime)
	defer cancel()
	return r.mesh.Control.Wait(ctx)
}

// eventually calls f until it succeeds or the last change is old.
func (r *run) eventually(f func() error) error {
	until := r.changed.Add(settleTime)
	if soon := time.Now().Add(settleTime / 3); soon.After(until) && r.mode.Network != nil {
		until = soon
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || time.Now().After(until) || r.mode.Network == nil {
			return err
		}
		<-tick.C
	}
}

// step sends, and checks what is expected of it.
func (r *run) step(send Line, expects []Line) {
	r.t.Helper()
	r.must(send, r.start())
	var failed Line
	before := len(r.skipped)
	until := r.changed.Add(settleTime)
	for {
		r.skipped = r.skipped[:before]
		failed = send
		err := r.send(send.Words[1:])
		for _, e := range expects {
			if err != nil {
				break
			}
			failed = e
			if aside(e) {
				err = r.eventually(func() error { return r.expect(e) })
			} else {
				err = r.expect(e)
			}
		}
		if err == nil {
			return
		}
		if time.Now().After(until) || r.mode.Network == nil {
			r.t.Errorf("%s.txtar:%d: %s\n%v\n%s", r.script.Name, failed.Number, failed, err, r.logs())
			return
		}
	}
}

// logs are the last lines of every proxy's log.
func (r *run) logs() string {
	var b strings.Builder
	for _, h := range r.mesh.Hosts() {
		log := h.Log()
		if len(log) > 3000 {
			log = "…" + log[len(log)-3000:]
		}
		if log != "" {
			fmt.Fprintf(&b, "--- %s (%s):\n%s\n", h.Name, h.Engine, log)
		}
	}
	return b.String()
}

func (r *run) send(words []string) error {
	q := &kit.Request{Header: http.Header{}}
	var plain []string
	var set []string
	for _, w := range words {
		if k, _, ok := strings.Cut(w, "="); ok && !strings.Contains(k, "/") || w == "chunked" || w == "expect-continue" || w == "new-connections" {
			set = append(set, w)
			continue
		}
		plain = append(plain, w)
	}
	if len(plain) != 2 {
		return fmt.Errorf("send: METHOD and URL, not %q", plain)
	}
	s := parseSettings(set)
	if err := s.only("from", "to", "header", "body", "chunked", "expect-continue", "times", "parallel", "new-connections", "timeout"); err != nil {
		return err
	}
	from := r.mesh.Host(s.get("from", ""))
	if from == nil {
		return fmt.Errorf("no host %q", s.get("from", ""))
	}
	if err := r.request(q, s); err != nil {
		return err
	}
	q.Method, q.URL = plain[0], plain[1]
	switch q.Method {
	case "GRPC", "WEBSOCKET", "TCP":
		q.Protocol = strings.ToLower(q.Method)
	case "GREETING":
		q.Protocol = "tcp"
	case "H2GET":
		q.Protocol, q.Method = "http2", http.MethodGet
	}
	if q.Protocol == "websocket" {
		q.Method = http.MethodGet
	}
	if !strings.Contains(q.URL, "://") {
		q.URL = "tcp://" + q.URL
	}
	r.sent, r.from = q, from
	if r.mode.Network == nil {
		r.got = from.Decide(*q)
	} else {
		r.got = from.Send(r.t.Context(), *q)
	}
	return nil
}

// request fills in what the settings of a send say.
func (r *run) request(q *kit.Request, s settings) error {
	for _, h := range s.values["header"] {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("header %q has no value", h)
		}
		q.Header.Add(name, value)
	}
	q.Body, q.Chunked, q.ExpectContinue, q.NewConnections = s.get("body", ""), s.has("chunked"), s.has("expect-continue"), s.has("new-connections")
	var err error
	if q.Times, err = strconv.Atoi(s.get("times", "1")); err != nil {
		return err
	}
	if q.Parallel, err = strconv.Atoi(s.get("parallel", "1")); err != nil {
		return err
	}
	if q.Timeout, err = time.ParseDuration(s.get("timeout", "10s")); err != nil {
		return err
	}
	if to := s.get("to", ""); to != "" {
		name, port, _ := strings.Cut(to, ":")
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return fmt.Errorf("to=%s: %w", to, err)
		}
		addr, err := netip.ParseAddr(name)
		if h := r.mesh.Host(name); h != nil {
			addr, err = h.Addr, nil
		}
		if err != nil {
			return fmt.Errorf("to=%s: no such host", to)
		}
		q.To = netip.AddrPortFrom(addr, uint16(n))
	}
	return nil
}

func (r *run) delete(words []string) error {
	if len(words) != 2 {
		return fmt.Errorf("delete KIND NAMESPACE/NAME, not %q", words)
	}
	key, err := config.ParseKey(words[0] + "/" + words[1])
	if err != nil {
		return err
	}
	return r.mesh.Control.Delete(key)
}

func (r *run) kill(words []string) error {
	h := r.mesh.Host(words[0])
	if h == nil {
		return fmt.Errorf("no host %q", words[0])
	}
	h.Kill(false)
	if len(words) > 1 && words[1] == "leave" {
		return h.Leave()
	}
	return nil
}
