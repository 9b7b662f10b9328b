package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"lateen.dev/lateen/proxy/plan"
)

// TestStreamFlushTimeout: a client that takes nothing of a response that is complete has the flush timeout, not the idle one.
func TestStreamFlushTimeout(t *testing.T) {
	for name, set := range map[string]func(*plan.HTTPConnectionManager, *plan.RouteAction){
		"the manager's": func(m *plan.HTTPConnectionManager, _ *plan.RouteAction) {
			m.Timeouts.StreamFlush = 50 * time.Millisecond
		},
		"the route's": func(_ *plan.HTTPConnectionManager, a *plan.RouteAction) {
			a.FlushTimeout, a.HasFlushTimeout = 50*time.Millisecond, true
		},
		"the route's idle timeout": func(_ *plan.HTTPConnectionManager, a *plan.RouteAction) {
			a.IdleTimeout, a.HasIdleTimeout = 50*time.Millisecond, true
		},
	} {
		for _, version := range []plan.HTTPVersion{plan.HTTP1, plan.HTTP2} {
			t.Run(fmt.Sprintf("%s, server %d", name, version), func(t *testing.T) {
				b := newBed(t)
				b.cluster("echo", server2(t, echo)).Protocol.Version = version
				r := b.route("/", "echo")
				m := manager(t, r)
				set(m, r.Forward)
				b.listen(m)
				_, fr := b.frames(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
				fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				get2(t, fr, 1, "/")
				answered := false
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						t.Fatal(err)
					}
					switch f.(type) {
					case *http2.MetaHeadersFrame:
						answered = true
						continue
					case *http2.RSTStreamFrame:
						if !answered {
							t.Error("reset before there was an answer")
						}
						return
					}
				}
			})
		}
	}
}

// TestUpstreamLimits are those of a cluster's HTTP protocol options.
func TestUpstreamLimits(t *testing.T) {
	heads := func(w http.ResponseWriter, _ *http.Request) {
		for i := range 150 {
			w.Header().Set(fmt.Sprintf("X-Field-%d", i), "v")
		}
	}
	long := func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 70<<10)) }
	slow := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		set     func(*plan.ProtocolOptions)
		want    string
	}{
		"too many fields":   {heads, func(*plan.ProtocolOptions) {}, "50"},
		"not too many":      {heads, func(p *plan.ProtocolOptions) { p.MaxHeaderCount = 200 }, "200"},
		"a head too long":   {long, func(*plan.ProtocolOptions) {}, "50"},
		"not too long":      {long, func(p *plan.ProtocolOptions) { p.MaxHeadBytes = 100 << 10 }, "200"},
		"the stream's time": {slow, func(p *plan.ProtocolOptions) { p.MaxStreamDuration = 50 * time.Millisecond }, "504"},
	} {
		for _, version := range []plan.HTTPVersion{plan.HTTP1, plan.HTTP2} {
			t.Run(fmt.Sprintf("%s, server %d", name, version), func(t *testing.T) {
				b := newBed(t)
				c := b.cluster("one", server2(t, tc.handler))
				c.Protocol.Version = version
				tc.set(&c.Protocol)
				b.listen(manager(t, b.route("/", "one")))
				if got := b.raw(plainGet, 1); !strings.HasPrefix(got, tc.want) {
					t.Errorf("got %.200q, want %s", got, tc.want)
				}
			})
		}
	}
}

// TestDelayedClose: a client that goes on sending when it has been answered, and told that the connection ends, may do so for
// as long as the delayed close takes.
func TestDelayedClose(t *testing.T) {
	b := newBed(t)
	m := manager(t)
	m.Timeouts.DelayedClose = 50 * time.Millisecond
	b.listen(m)
	nc, br := b.dial()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	resp := send(t, nc, br, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")
	if resp.StatusCode != http.StatusNotFound || !resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := nc.Write([]byte("x")); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection isn't closed")
			}
			return
		}
		<-tick.C
	}
}
