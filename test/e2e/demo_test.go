package e2e

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDemo runs the demo until it says that it is ready.
func startDemo(t *testing.T, u user, dir string, control, gateway int) *process {
	t.Helper()
	p := u.start(t, dir, lateen(), "demo", "--dir", dir+"/d", "--control-port", fmt.Sprint(control), "--gateway-port", fmt.Sprint(gateway))
	within(t, time.Minute, "the demo is ready", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the demo has ended: %s", p.errs.String())
		default:
		}
		return strings.Contains(p.out.String(), "Ctrl-C ends everything")
	})
	return p
}

func TestDemoEndsAndBeginsAgain(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		dir := u.home(t)
		control, gateway := freePorts(t)
		p := startDemo(t, u, dir, control, gateway)
		// Another one, or a control plane, is told what is taken.
		for _, c := range []struct{ args, want string }{
			{fmt.Sprintf("demo --dir %s/e --control-port %d --gateway-port %d", dir, control+100, gateway), "--gateway-port"},
			{fmt.Sprintf("demo --dir %s/e --control-port %d --gateway-port %d", dir, control, gateway+1), "--control-port"},
			{fmt.Sprintf("demo --dir %s/d --control-port %d --gateway-port %d", dir, control+100, gateway+1), dir + "/d"},
			{fmt.Sprintf("control --dir %s/e --control-port %d", dir, control), "--control-port"},
			{fmt.Sprintf("control --dir %s/d --control-port %d", dir, control+100), dir + "/d"},
			{fmt.Sprintf("proxy gateway --dir %s/d --http-port %d", dir, gateway), "--http-port"},
		} {
			second := u.start(t, dir, append([]string{lateen()}, strings.Fields(c.args)...)...)
			if code := second.wait(patience); code != 1 || !strings.Contains(second.errs.String(), c.want) {
				t.Errorf("%s: exit code %d, and the message should name %s: %s", c.args, code, c.want, second.errs.String())
			}
		}
		p.signal(syscall.SIGINT)
		if code := p.wait(5 * time.Second); code != 0 {
			t.Errorf("the demo ended with %d: %s", code, p.errs.String())
		}
		nothingLeft(t, dir, time.Second)
		nothingOn(t, control, control+2, control+4, gateway)

		p = startDemo(t, u, dir, control, gateway)
		p.kill()
		nothingLeft(t, dir, 10*time.Second) // programs end in their own time: nobody is left to hurry them
		p = startDemo(t, u, dir, control, gateway)
		p.signal(syscall.SIGTERM)
		if code := p.wait(5 * time.Second); code != 0 {
			t.Errorf("the demo ended with %d: %s", code, p.errs.String())
		}
		nothingLeft(t, dir, time.Second)
	})
}

// nothingOn checks that ports are free.
func nothingOn(t *testing.T, ports ...int) {
	t.Helper()
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
	}
}

func TestTwoMeshesSideBySide(t *testing.T) {
	u := ordinary()
	one, two := newMesh(t, u), newMesh(t, u)
	for name, m := range map[string]*mesh{"one": one, "two": two} {
		m.start("--service web --port 8080", peer(), "serve", "--name", name, "--http", "8080")
		eventually(t, "web is an endpoint", func() bool { return len(m.ready("web")) == 1 })
	}
	for name, m := range map[string]*mesh{"one": one, "two": two} {
		d := m.drive("client", "--port 9999")
		if a := d.get("http://web:8080/", 200); !strings.HasPrefix(a.Body, name+" ") {
			t.Errorf("in mesh %s: %s", name, a.Body)
		}
	}
}
