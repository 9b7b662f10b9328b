package lifecycle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/test/traffic"
)

const (
	requestsAction = "overload.envoy.overload_actions.stop_accepting_requests.active"
	acceptAction   = "overload.envoy.overload_actions.stop_accepting_connections.active"
)

// tryGet makes a request; an error is no failure of the test.
func tryGet(nc net.Conn, br *bufio.Reader) (*http.Response, string, error) {
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// serves says whether a new connection is served within a second.
func serves(port int) bool {
	nc, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Second))
	resp, _, err := tryGet(nc, bufio.NewReader(nc))
	return err == nil && resp.StatusCode == 200
}

// TestOverloadActions puts each action in force by a pressure that is injected, and takes it back.
func TestOverloadActions(t *testing.T) {
	pressure := filepath.Join(t.TempDir(), "pressure")
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(pressure+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(pressure+".new", pressure); err != nil {
			t.Fatal(err)
		}
	}
	set("0")
	b := backend(t, nil)
	c := newConf(t, b)
	c.Top = fmt.Sprintf(`
overload_manager:
  refresh_interval: 0.02s
  resource_monitors:
  - name: envoy.resource_monitors.injected_resource
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: %q}
  actions:
  - {name: envoy.overload_actions.disable_http_keepalive, triggers: [{name: envoy.resource_monitors.injected_resource, threshold: {value: 0.5}}]}
  - {name: envoy.overload_actions.stop_accepting_requests, triggers: [{name: envoy.resource_monitors.injected_resource, threshold: {value: 0.7}}]}
  - {name: envoy.overload_actions.stop_accepting_connections, triggers: [{name: envoy.resource_monitors.injected_resource, threshold: {value: 0.8}}]}
  - {name: envoy.overload_actions.reject_incoming_connections, triggers: [{name: envoy.resource_monitors.injected_resource, threshold: {value: 0.9}}]}
`, pressure)
	p := c.start(t)
	at := func(text string, percent int64) {
		t.Helper()
		set(text)
		within(t, "the pressure "+text, func() bool { return p.stat("overload.envoy.resource_monitors.injected_resource.pressure") == percent })
	}
	kept, reader := connect(t, c.HTTP)
	get(t, kept, reader)
	at("0.5", 50)
	if resp := get(t, kept, reader); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("without keep-alive: %d, close %v", resp.StatusCode, resp.Close)
	}
	kept, reader = connect(t, c.HTTP)
	at("0.7", 70)
	resp, body, err := tryGet(kept, reader)
	if err != nil || resp.StatusCode != 503 || body != "envoy overloaded" {
		t.Errorf("overloaded: %v %q %v", resp, body, err)
	}
	two := traffic.Start(traffic.Options{Kind: traffic.HTTP2, Dial: traffic.Dialer(c.HTTP), Workers: 1, Explain: func(err error) bool {
		var status *traffic.StatusError
		return errors.As(err, &status) && status.Status == 503 && status.Body == "envoy overloaded"
	}})
	more(t, []*traffic.Load{two}, 5)
	two.Stop()
	if failed, why := two.Failed(); failed > 0 || two.Explained() < 5 {
		t.Errorf("by HTTP/2: %d of %d were refused, others failed: %v", two.Explained(), two.Done(), why)
	}
	if p.stat(requestsAction) != 1 || p.stat("http.http.downstream_rq_overload_close") == 0 {
		t.Error("the statistics don't tell")
	}
	at("0.8", 80)
	// The one whose turn it was when it began may be accepted, and is answered.
	within(t, "connections to wait", func() bool { return p.stat(acceptAction) == 1 && hangs(t, c.HTTP) })
	at("0", 0)
	within(t, "connections to be served again", func() bool { return serves(c.HTTP) })
	at("0.9", 90)
	at("0", 0)
	within(t, "requests to be served again", func() bool { return serves(c.HTTP) })
	if p.stat(requestsAction) != 0 {
		t.Error("the statistics don't tell that it is over")
	}
}

// hangs says that a new connection is opened, and that nobody answers on it.
func hangs(t *testing.T, port int) bool {
	t.Helper()
	nc, err := traffic.Dialer(port)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(200 * time.Millisecond))
	_, _, err = tryGet(nc, bufio.NewReader(nc))
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// TestMemoryRunsOut fills the heap with heads that don't end. Requests are answered 503 until the memory is back.
func TestMemoryRunsOut(t *testing.T) {
	b := backend(t, nil)
	c := newConf(t, b)
	c.Top = `
overload_manager:
  refresh_interval: 0.02s
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 50331648}
  actions:
  - {name: envoy.overload_actions.shrink_heap, triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.85}}]}
  - {name: envoy.overload_actions.stop_accepting_requests, triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.95}}]}
`
	p := c.start(t)
	kept, reader := connect(t, c.HTTP)
	get(t, kept, reader)
	head := "GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 58<<10)
	var flood []net.Conn
	for p.stat(requestsAction) == 0 {
		for range 50 {
			nc, _ := connect(t, c.HTTP)
			if _, err := io.WriteString(nc, head); err != nil {
				t.Fatal(err)
			}
			flood = append(flood, nc)
		}
		if len(flood) > 5000 {
			t.Fatalf("%d connections, and the memory suffices: %d %%", len(flood), p.stat("overload.envoy.resource_monitors.fixed_heap.pressure"))
		}
	}
	if resp, body, err := tryGet(kept, reader); err != nil || resp.StatusCode != 503 || body != "envoy overloaded" {
		t.Errorf("without memory: %v %q %v", resp, body, err)
	}
	for _, nc := range flood {
		nc.Close()
	}
	within(t, "requests to be served again", func() bool { return p.stat(requestsAction) == 0 && serves(c.HTTP) })
	t.Logf("%d connections were too many", len(flood))
}

// TestDescriptorsRunOut opens more connections than the process may have files. Those that are there are served, to
// servers that connections must be opened to, and others when there is room again.
func TestDescriptorsRunOut(t *testing.T) {
	b := backend(t, nil)
	c := newConf(t, b)
	inner := binary
	limited := filepath.Join(t.TempDir(), "limited")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n 200\nexec %s \"$@\"\n", inner)
	if err := os.WriteFile(limited, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	p := c.startBinary(t, limited)
	kept, reader := connect(t, c.HTTP)
	get(t, kept, reader)
	var flood []net.Conn
	for range 400 {
		nc, _ := connect(t, c.HTTP)
		flood = append(flood, nc)
	}
	within(t, "connections to wait", func() bool { return p.stat(acceptAction) == 1 })
	for range 20 {
		if resp, body, err := tryGet(kept, reader); err != nil || resp.StatusCode != 200 {
			t.Fatalf("a connection that was there before: %v %q %v", resp, body, err)
		} else if resp.Close {
			break // it was asked to make room
		}
	}
	if strings.Contains(p.log.String(), "too many open files") {
		t.Errorf("it ran out of descriptors:\n%s", p.log)
	}
	for _, nc := range flood {
		nc.Close()
	}
	within(t, "new connections to be served", func() bool { return p.stat(acceptAction) == 0 && serves(c.HTTP) })
}

// TestGlobalConnections: beyond Envoy's limit over all listeners connections are closed at once.
func TestGlobalConnections(t *testing.T) {
	for name, top := range map[string]string{
		"runtime": `layered_runtime: {layers: [{name: static, static_layer: {overload: {global_downstream_max_connections: 5}}}]}`,
		"monitor": `overload_manager: {resource_monitors: [{name: envoy.resource_monitors.global_downstream_max_connections, typed_config:
  {"@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 5}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := backend(t, nil)
			c := newConf(t, b)
			c.Top = top
			p := c.start(t)
			var open []net.Conn
			for range 5 {
				nc, br := connect(t, c.HTTP)
				get(t, nc, br)
				open = append(open, nc)
			}
			nc, br := connect(t, c.TCP)
			if _, err := br.ReadByte(); err == nil {
				t.Error("one too many is accepted")
			}
			nc.Close()
			if p.stat("listener.tcp.downstream_global_cx_overflow") != 1 {
				t.Error("the statistics don't tell")
			}
			open[0].Close()
			within(t, "room for another one", func() bool { return serves(c.HTTP) })
		})
	}
}
