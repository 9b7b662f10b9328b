package lifecycle

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// balancer sends new connections to the first proxy while that says that it is ready, and to the second afterwards, as
// a load balancer does that checks health. A connection that is refused goes to the other one: nothing was lost with it.
type balancer struct{ first atomic.Bool }

// follow watches the first proxy's health until the test ends.
func follow(t *testing.T, admin int) *balancer {
	b := &balancer{}
	b.first.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			status, _ := ask(admin, "GET", "/ready")
			b.first.Store(status == http.StatusOK)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b
}

func (b *balancer) dialer(first, second int) func(context.Context) (net.Conn, error) {
	one, two := traffic.Dialer(first), traffic.Dialer(second)
	return func(ctx context.Context) (net.Conn, error) {
		if b.first.Load() {
			nc, err := one(ctx)
			if !errors.Is(err, syscall.ECONNREFUSED) {
				return nc, err
			}
		}
		return two(ctx)
	}
}

// TestTerminationLosesNothing ends a proxy under load behind a load balancer. TCP connections and HTTP/2 streams that live
// long are left alone until the deadline.
func TestTerminationLosesNothing(t *testing.T) {
	const limit = 2 * time.Second
	b := backend(t, nil)
	c, d := newConf(t, b), newConf(t, b)
	p := c.start(t, "--termination-drain-duration", limit.String())
	d.start(t)
	lb := follow(t, c.Admin)
	list := loads(t, lb.dialer(c.HTTP, d.HTTP), lb.dialer(c.TCP, d.TCP))
	long, cut := endless(t, lb.dialer(c.HTTP, d.HTTP), lb.dialer(c.TCP, d.TCP))
	list = append(list, long...)
	more(t, list, 100)
	asked := time.Now()
	p.signal(syscall.SIGTERM)
	within(t, "the state DRAINING", func() bool { status, body := p.ask("GET", "/ready"); return status == 503 && body == "DRAINING\n" })
	if code := p.wait(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if took := time.Since(asked); took < limit || took > limit+10*time.Second {
		t.Errorf("it took %v, with a TCP connection that doesn't end and %v to drain", took, limit)
	}
	more(t, list, 100)
	settle(t, list)
	for i, l := range long {
		if at := time.Unix(0, cut[i].Load()); at.Sub(asked) < limit-100*time.Millisecond {
			t.Errorf("%s: one ended after %v", l.Kind(), at.Sub(asked))
		}
	}
}

// TestDrainListeners goes through the admin side's ways to drain.
func TestDrainListeners(t *testing.T) {
	b := backend(t, nil)
	c := newConf(t, b)
	p := c.start(t, "--drain-time-s", "1")
	kept, reader := connect(t, c.HTTP)
	if resp := get(t, kept, reader); resp.Close {
		t.Error("the connection is closed before anything was drained")
	}
	post := func(path string, want int) {
		t.Helper()
		if status, body := p.ask("POST", path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
	ready := func(want int) {
		t.Helper()
		if status, _ := p.ask("GET", "/ready"); status != want {
			t.Errorf("/ready says %d, want %d", status, want)
		}
	}
	post("/healthcheck/fail", 200)
	ready(503)
	if resp := get(t, kept, reader); !resp.Close {
		t.Error("unhealthy, and the connection is kept")
	}
	post("/healthcheck/ok", 200)
	ready(200)
	kept, reader = connect(t, c.HTTP)
	if resp := get(t, kept, reader); resp.Close {
		t.Error("healthy again, and the connection is closed")
	}
	post("/drain_listeners?skip_exit", 400)
	began := time.Now()
	post("/drain_listeners?graceful", 200)
	if resp := get(t, kept, reader); !resp.Close {
		t.Error("drained, and the connection is kept")
	}
	fresh, freshReader := connect(t, c.HTTP)
	if resp := get(t, fresh, freshReader); resp.StatusCode != 200 {
		t.Errorf("a new connection while listeners are drained: %d", resp.StatusCode)
	}
	within(t, "the listener to be closed", func() bool {
		nc, err := net.Dial("tcp", fresh.RemoteAddr().String())
		if err == nil {
			nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if took := time.Since(began); took < time.Second {
		t.Errorf("the listener was closed after %v", took)
	}
	ready(503)
	post("/quitquitquit", 200)
	if code := p.wait(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// TestIdleConnectionsDoNotHoldUpTheEnd: without connections a proxy ends at once, and idle ones don't take the whole time.
func TestIdleConnectionsDoNotHoldUpTheEnd(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, c conf){
		"none": func(*testing.T, conf) {},
		"idle": func(t *testing.T, c conf) { nc, br := connect(t, c.HTTP); get(t, nc, br) },
		"new":  func(t *testing.T, c conf) { connect(t, c.HTTP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConf(t, backend(t, nil))
			p := c.start(t, "--termination-drain-duration", "6s")
			open(t, c)
			began := time.Now()
			p.signal(syscall.SIGTERM)
			if code := p.wait(); code != 0 || time.Since(began) >= 6*time.Second {
				t.Errorf("it ended with %d after %v", code, time.Since(began))
			}
		})
	}
}

func connect(t *testing.T, port int) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := traffic.Dialer(port)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc, bufio.NewReader(nc)
}

func get(t *testing.T, nc net.Conn, br *bufio.Reader) *http.Response {
	t.Helper()
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}
