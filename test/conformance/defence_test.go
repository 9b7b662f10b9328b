package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attack is what a hostile client does on a connection of its own.
type attack struct {
	name string
	// send writes until it is stopped by an error; what it wrote after the proxy has hung up is lost.
	send func(nc net.Conn) error
	// want are the ends that are right: a status, "goaway" or "reset" with a code, "closed". The first that comes counts.
	want string
	two  bool
}

// h2flood begins an HTTP/2 connection and repeats what write does.
func h2flood(times int, write func(fr *http2.Framer, i uint32) error) func(net.Conn) error {
	return func(nc net.Conn) error {
		w := bufio.NewWriterSize(nc, 64<<10)
		w.WriteString(http2.ClientPreface) //nolint:errcheck // Flush tells
		fr := http2.NewFramer(w, nil)
		fr.AllowIllegalWrites = true
		if err := fr.WriteSettings(); err != nil {
			return err
		}
		for i := range times {
			if err := write(fr, uint32(i)); err != nil {
				return err
			}
		}
		return w.Flush()
	}
}

func encode(fields ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) //nolint:errcheck // into memory
	}
	return b.Bytes()
}

func text(s string) func(net.Conn) error {
	return func(nc net.Conn) error {
		_, err := io.WriteString(nc, s)
		return err
	}
}

func attacks() []attack {
	get := encode(request("x-field", "v")...)
	bomb := append(encode(request("x-bomb", strings.Repeat("b", 4000))...), bytes.Repeat([]byte{0x80 | 62}, 15_000)...)
	calm := "goaway ENHANCE_YOUR_CALM"
	return []attack{
		{name: "slow head", send: text("GET / HTTP/1.1\r\nHost: a\r\nX-"), want: "408"},
		{name: "slow body", send: text("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"), want: "408"},
		{name: "slow chunks", send: text("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx"), want: "408 504 503"},
		{name: "header bomb", send: text("GET / HTTP/1.1\r\nHost: a\r\nX-Bomb: " + strings.Repeat("b", 1<<20)), want: "431"},
		{name: "many headers", send: text("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a: b\r\n", 10_000)), want: "431"},
		{name: "endless chunk extension", send: text("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("a", 1<<20)), want: "400 431 413"},
		{name: "huge chunk", send: text("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7ffffffffffffff\r\n" + strings.Repeat("a", 4<<20)), want: "408 504 503"},
		{name: "chunk beyond all numbers", send: text("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + strings.Repeat("a", 1<<20)), want: "400"},
		{name: "trailer bomb", send: text("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("a: b\r\n", 100_000)), want: "400 431"},
		{name: "pipelining without reading", send: text(strings.Repeat("GET /large HTTP/1.1\r\nHost: a\r\n\r\n", 1000)), want: "200"},
		{name: "hpack bomb", two: true, want: "reset PROTOCOL_ERROR 431 goaway", send: h2flood(1, func(fr *http2.Framer, _ uint32) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: bomb[:min(len(bomb), 16000)], EndHeaders: true, EndStream: true})
		})},
		{name: "PING flood", two: true, want: calm, send: h2flood(100_000, func(fr *http2.Framer, _ uint32) error { return fr.WritePing(false, [8]byte{}) })},
		{name: "SETTINGS flood", two: true, want: calm, send: h2flood(100_000, func(fr *http2.Framer, _ uint32) error { return fr.WriteSettings() })},
		{name: "PRIORITY flood", two: true, want: calm, send: h2flood(100_000, func(fr *http2.Framer, i uint32) error {
			return fr.WritePriority(2*i+1, http2.PriorityParam{Weight: 1})
		})},
		{name: "CONTINUATION flood", two: true, want: calm, send: h2flood(10_000, func(fr *http2.Framer, i uint32) error {
			if i == 0 {
				return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get})
			}
			return fr.WriteContinuation(1, false, get)
		})},
		{name: "empty CONTINUATION flood", two: true, want: calm, send: h2flood(10_000, func(fr *http2.Framer, i uint32) error {
			if i == 0 {
				return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get})
			}
			return fr.WriteContinuation(1, false, nil)
		})},
		{name: "empty DATA flood", two: true, want: calm, send: h2flood(10_000, func(fr *http2.Framer, i uint32) error {
			if i == 0 {
				return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(post()...), EndHeaders: true})
			}
			return fr.WriteData(1, false, nil)
		})},
		{name: "rapid reset", two: true, want: calm, send: h2flood(20_000, func(fr *http2.Framer, i uint32) error {
			if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: get, EndHeaders: true, EndStream: true}); err != nil {
				return err
			}
			return fr.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		})},
		{name: "faulty stream flood", two: true, want: calm, send: h2flood(20_000, func(fr *http2.Framer, i uint32) error {
			if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: get, EndHeaders: true}); err != nil {
				return err
			}
			return fr.WriteWindowUpdate(2*i+1, 0)
		})},
		{name: "zero windows", two: true, want: "reset closed goaway", send: h2flood(50, func(fr *http2.Framer, i uint32) error {
			if i == 0 {
				if err := fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
					return err
				}
			}
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, EndHeaders: true, EndStream: true, BlockFragment: encode(request(":path", "/large")...)})
		})},
		{name: "slow body by HTTP/2", two: true, want: "408 504 503 reset", send: h2flood(1, func(fr *http2.Framer, _ uint32) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: encode(append(post(), "content-length", "10")...)})
		})},
	}
}

// attackTime bounds how long the proxy may put up with an attack.
const attackTime = 15 * time.Second

// run makes the attack and returns how it ended.
func (a *attack) run(port int) string {
	nc, err := net.Dial("tcp", local(port))
	if err != nil {
		return err.Error()
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(attackTime))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		a.send(nc) //nolint:errcheck // being stopped is what it deserves
	}()
	defer func() {
		nc.Close()
		<-sent
	}()
	if !a.two {
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			return "closed: " + err.Error()
		}
		resp.Body.Close()
		return strconv.Itoa(resp.StatusCode)
	}
	fr := http2.NewFramer(nil, nc)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			if os.IsTimeout(err) {
				return "goes on"
			}
			return "closed: " + err.Error()
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if s := f.PseudoValue("status"); s != "200" {
				return s
			}
		case *http2.RSTStreamFrame:
			if f.ErrCode != http2.ErrCodeNo && !strings.HasPrefix(a.want, "goaway") {
				return "reset " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return "goaway " + f.ErrCode.String()
		}
	}
}

// allowed says whether the end is one of those that are right.
func (a *attack) allowed(end string) bool {
	if strings.HasPrefix(a.want, "goaway ") {
		// A peer that writes on and on may find the connection closed before it reads why.
		return end == a.want || strings.HasPrefix(end, "closed")
	}
	word, _, _ := strings.Cut(strings.ReplaceAll(end, ":", " "), " ")
	return strings.Contains(" "+a.want+" ", " "+word+" ")
}

// process starts a proxy of its own, so that its memory can be measured.
func (c conf) process(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-proxy-bootstrap", c.write(t))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		stdin.Close()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("proxy: %v", err)
			}
		case <-time.After(20 * time.Second):
			cmd.Process.Kill() //nolint:errcheck // it is as good as gone
			<-ended
			t.Error("the proxy doesn't end")
		}
	})
	waitListening(t, c.Plain, ended)
	return cmd
}

// resident is how much memory a process has.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// What the attacks may cost the proxy: with the race detector memory is several times what it is without.
const (
	attackers  = 8
	mostMemory = 384 << 20
)

// TestAttacks makes each attack from several connections at once. The attackers are turned away, others are served in
// the meantime, and the proxy's memory stays bounded.
func TestAttacks(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 1<<20)
	c := newConf(t, cluster{Name: "backend", Port: serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			w.Write(large) //nolint:errcheck // the proxy's matter
			return
		}
		io.Copy(io.Discard, r.Body) //nolint:errcheck // as above
	})})
	c.TLS = 0
	c.HCM = `          request_headers_timeout: 1s
          stream_idle_timeout: 1.5s
          http2_protocol_options: {max_concurrent_streams: 100}`
	proxy := c.process(t)
	good := client(t, false)
	serves := func(t *testing.T) {
		t.Helper()
		began := time.Now()
		if resp, _ := do(t, good, "GET", "http://"+local(c.Plain)+"/", nil); resp.StatusCode != 200 || time.Since(began) > 10*time.Second {
			t.Errorf("a good client waited %v for %d", time.Since(began), resp.StatusCode)
		}
	}
	serves(t)
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			var wg sync.WaitGroup
			for range attackers {
				wg.Go(func() {
					if end := a.run(c.Plain); !a.allowed(end) {
						t.Errorf("ended with %q, want %s", end, a.want)
					}
				})
			}
			for range 5 {
				serves(t)
			}
			wg.Wait()
			serves(t)
			if now := resident(t, proxy.Process.Pid); now > mostMemory {
				t.Errorf("the proxy has %d MiB", now>>20)
			}
		})
	}
	t.Logf("in the end the proxy has %d MiB", resident(t, proxy.Process.Pid)>>20)
}

// TestConnectionFlood: connections beyond the limit are closed, those within it are served, and when they are gone
// others may come.
func TestConnectionFlood(t *testing.T) {
	const limit, flood = 5, 100
	c := newConf(t, cluster{Name: "backend", Port: serve(t, func(http.ResponseWriter, *http.Request) {})})
	c.TLS = 0
	c.Network = `      - name: envoy.filters.network.connection_limit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit
          stat_prefix: limit
          max_connections: 5`
	c.start(t)
	for range 2 {
		served := eventually(t, func() []net.Conn { return admitted(t, c.Plain, flood) }, func(in []net.Conn) bool { return len(in) == limit })
		for _, nc := range served {
			if !ping(nc) {
				t.Error("a connection within the limit is no longer served")
			}
			nc.Close()
		}
	}
}

// eventually repeats what f does until the result will do: a connection that has just been closed may still be counted.
func eventually(t *testing.T, f func() []net.Conn, ok func([]net.Conn) bool) []net.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		in := f()
		if ok(in) {
			return in
		}
		for _, nc := range in {
			nc.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are served", len(in))
		}
	}
}

// admitted opens connections and returns those that get an answer.
func admitted(t *testing.T, port, n int) (in []net.Conn) {
	t.Helper()
	for range n {
		nc, err := net.Dial("tcp", local(port))
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		if ping(nc) {
			in = append(in, nc)
		} else {
			nc.Close()
		}
	}
	return in
}

func ping(nc net.Conn) bool {
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == 200
}
