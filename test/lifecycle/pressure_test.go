package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// pressed starts a proxy with an action that the pressure that set writes sets off, wholly from 0.9 on.
func pressed(t *testing.T, c conf, action string) (p *process, set func(string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pressure")
	set = func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	set("0")
	c.Top = fmt.Sprintf(`
overload_manager:
  refresh_interval: 0.02s
  buffer_factory_config: {minimum_account_to_track_power_of_two: 16}
  resource_monitors:
  - name: envoy.resource_monitors.injected_resource
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: %q}
  actions:
  - {name: %s, triggers: [{name: envoy.resource_monitors.injected_resource, scaled: {scaling_threshold: 0.5, saturation_threshold: 0.9}}]}
`, file, action)
	return c.start(t), set
}

const reduce = `envoy.overload_actions.reduce_timeouts, typed_config: {"@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig,
      timer_scale_factors: [{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.05s}, {timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 0.05s}]}`

// streams is an HTTP/2 client that opens no window and sends nothing by itself.
func streams(t *testing.T, port int) (net.Conn, *http2.Framer) {
	t.Helper()
	nc, _ := connect(t, port)
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(nc, nc)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	return nc, fr
}

// ask2 begins a request whose response starts.
func ask2(t *testing.T, fr *http2.Framer, stream uint32, path string) {
	t.Helper()
	var block []byte
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}} {
		block = append(append(append(append(block, 0, byte(len(f[0]))), f[0]...), byte(len(f[1]))), f[1]...)
	}
	if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := f.(*http2.MetaHeadersFrame); ok && h.StreamID == stream {
			return
		}
	}
}

// resetOf waits until a stream is reset.
func resetOf(t *testing.T, fr *http2.Framer) (uint32, http2.ErrCode) {
	t.Helper()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			return r.StreamID, r.ErrCode
		}
	}
}

// TestTimeoutsAreReducedUnderPressure: connections and streams that have been idle for a while end when the pressure comes,
// and others last when it has gone.
func TestTimeoutsAreReducedUnderPressure(t *testing.T) {
	hold := make(chan struct{})
	b := backend(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/h2/hold" {
			return false
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		return true
	})
	defer close(hold)
	c := newConf(t, b)
	_, set := pressed(t, c, reduce)
	one, oneReader := connect(t, c.HTTP)
	get(t, one, oneReader)
	two, fr := streams(t, c.HTTP)
	ask2(t, fr, 1, "/h2/first") // a connection to the server is made for it
	ask2(t, fr, 3, "/h2/hold")
	idle, _ := streams(t, c.HTTP)
	set("0.95")
	if _, err := oneReader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("an idle HTTP/1 connection: %v", err)
	}
	for id := uint32(0); id != 3; { // the first one's end isn't taken either
		id, _ = resetOf(t, fr)
	}
	if _, err := io.Copy(io.Discard, idle); err != nil {
		t.Errorf("an idle HTTP/2 connection: %v", err)
	}
	two.Close()
	set("0")
	within(t, "connections to last again", func() bool {
		nc, br := connect(t, c.HTTP)
		defer nc.Close()
		if resp, _, err := tryGet(nc, br); err != nil || resp.StatusCode != 200 {
			return false
		}
		nc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := br.ReadByte()
		return errors.Is(err, os.ErrDeadlineExceeded)
	})
}

// TestHeavyStreamsAreResetUnderPressure: of two streams whose client takes nothing the one ends that holds much.
func TestHeavyStreamsAreResetUnderPressure(t *testing.T) {
	b := backend(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/h2/large" {
			w.Write(make([]byte, 1<<20)) //nolint:errcheck // the client doesn't take it
			return true
		}
		return false
	})
	c := newConf(t, b)
	p, set := pressed(t, c, "envoy.overload_actions.reset_high_memory_stream")
	_, fr := streams(t, c.HTTP)
	ask2(t, fr, 1, "/h2/small") // a connection to the server is made for it
	ask2(t, fr, 3, "/h2/large")
	set("0.95")
	if id, code := resetOf(t, fr); id != 3 || code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("stream %d is reset: %v", id, code)
	}
	within(t, "the statistics to tell", func() bool {
		return p.stat("overload.envoy.overload_actions.reset_high_memory_stream.count") == 1
	})
	if !serves(c.HTTP) {
		t.Error("others aren't served")
	}
	set("0")
	ask2(t, fr, 5, "/h2/large")
}
