package http2

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"lateen.dev/lateen/wire/header"
)

// pipe is a TCP connection over loopback.
func pipe(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// serve runs our server on one end and returns the other.
func serve(t *testing.T, cfg Config, handler func(*Stream)) (net.Conn, *Conn, chan error) {
	t.Helper()
	client, server := pipe(t)
	c := NewServer(server, cfg, handler)
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	t.Cleanup(func() {
		client.Close()
		select {
		case err := <-done:
			done <- err
		case <-time.After(10 * time.Second):
			t.Error("the server's Run does not return")
		}
	})
	return client, c, done
}

// echo answers with what it got, trailers included.
func echo(s *Stream) {
	var h Head
	h.Reset()
	h.Status = 200
	h.Add([]byte("x-path"), s.Head().Path)
	h.Add([]byte("X-Case"), []byte("kept low"))
	if s.WriteHead(&h, false) != nil {
		return
	}
	buf := make([]byte, 10000)
	for {
		n, err := s.Read(buf)
		if n > 0 {
			if _, err := s.Write(buf[:n]); err != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return
		}
	}
	h.Reset()
	h.Add([]byte("x-trailer"), []byte("end"))
	if tr := s.Trailers(); tr != nil {
		for _, f := range tr.Fields {
			h.Add(f.Name, f.Value)
		}
	}
	s.WriteHead(&h, true)
}

// theirClient is x/net's client over one connection.
//
//lint:ignore SA1019 it is the peer that many still have
func theirClient(t *testing.T, conn net.Conn) *http2.ClientConn {
	t.Helper()
	//lint:ignore SA1019 it is the peer that many still have
	cc, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(conn)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

func TestServerWithOtherClient(t *testing.T) {
	conn, _, _ := serve(t, Config{}, echo)
	cc := theirClient(t, conn)
	body := make([]byte, 3<<20) // many windows
	rand.Read(body)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			path := fmt.Sprintf("/p%d", i)
			req, err := http.NewRequest("POST", "http://reviews"+path, bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Trailer = http.Header{"X-Sent": {"t"}}
			resp, err := cc.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("echo of %d bytes: %d, %v", len(body), len(got), err)
			}
			if resp.Header.Get("X-Path") != path || resp.Trailer.Get("X-Trailer") != "end" || resp.Trailer.Get("X-Sent") != "t" {
				t.Errorf("headers %v, trailers %v", resp.Header, resp.Trailer)
			}
		})
	}
	wg.Wait()
}

func TestClientWithOtherServer(t *testing.T) {
	client, server := pipe(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" && r.Header.Get("Cookie") != "a=b" {
			t.Errorf("headers %v", r.Header)
		}
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(201)
		n, err := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, err))
	})
	//lint:ignore SA1019 it is the peer that many still have
	go (&http2.Server{}).ServeConn(server, &http2.ServeConnOpts{Handler: handler})
	c := NewClient(client, Config{})
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { exchange(t, c, 1<<20+i) })
	}
	wg.Wait()
	if c.Streams() != 0 {
		t.Errorf("%d streams are left", c.Streams())
	}
	c.Drain()
	if err := <-done; err != nil {
		t.Errorf("a drained client ends with %v", err)
	}
	if _, err := c.Open(request("GET", "/"), true); !errors.Is(err, ErrRefused) {
		t.Errorf("a drained client opens a stream: %v", err)
	}
}

func request(method, path string) *Head {
	h := new(Head)
	h.Reset()
	h.Method, h.Scheme, h.Authority, h.Path = []byte(method), []byte("http"), []byte("reviews:9080"), []byte(path)
	return h
}

// exchange posts size bytes and expects them back.
func exchange(t *testing.T, c *Conn, size int) {
	h := request("POST", "/x")
	h.Add([]byte("Cookie"), []byte("a=b"))
	s, err := c.Open(h, false)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Release()
	sent := make(chan error, 1)
	go func() {
		if _, err := s.Write(bytes.Repeat([]byte{'x'}, size)); err != nil {
			sent <- err
			return
		}
		sent <- s.WriteEnd(nil)
	}()
	s.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, head, err := s.ReadHead()
	if err != nil || head.Status != 201 {
		t.Errorf("response %+v, %v", head, err)
		return
	}
	n, err := io.Copy(io.Discard, s)
	if err != nil || int(n) != size {
		t.Errorf("%d of %d bytes, %v", n, size, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if tr := s.Trailers(); tr == nil || string(tr.Value(header.NewName("x-sum"))) != fmt.Sprint(size)+" <nil>" {
		t.Errorf("trailers %v", tr)
	}
}

func TestDrainLosesNoStream(t *testing.T) {
	release := make(chan struct{})
	conn, c, done := serve(t, Config{}, func(s *Stream) {
		<-release
		var h Head
		h.Reset()
		h.Status = 200
		s.WriteHead(&h, true)
	})
	cc := theirClient(t, conn)
	result := make(chan error, 1)
	go func() {
		req, err := http.NewRequest("GET", "http://a/", nil)
		if err == nil {
			var resp *http.Response
			if resp, err = cc.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}
		result <- err
	}()
	waitUntil(t, func() bool { return c.Streams() == 1 })
	c.Drain()
	waitUntil(t, func() bool { return !cc.CanTakeNewRequest() })
	close(release)
	if err := <-result; err != nil {
		t.Errorf("the open stream was lost: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run after a drain: %v", err)
	}
	done <- nil
}

func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("it does not happen")
		case <-tick.C:
		}
	}
}

func TestResetReachesTheHandler(t *testing.T) {
	seen := make(chan error, 1)
	conn, _, _ := serve(t, Config{}, func(s *Stream) {
		_, err := s.Read(make([]byte, 1))
		seen <- err
	})
	raw := newRaw(t, conn)
	raw.headers(1, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a")
	raw.must(raw.fr.WriteRSTStream(1, http2.ErrCodeCancel))
	var fault *StreamError
	if err := <-seen; !errors.As(err, &fault) || !fault.Remote || fault.Code != Cancel {
		t.Errorf("the handler sees %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	conn, _, _ := serve(t, Config{}, func(s *Stream) {
		s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := s.Read(make([]byte, 1))
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("reading ends with %v", err)
		}
		var h Head
		h.Reset()
		h.Status = 504
		s.WriteHead(&h, true)
	})
	raw := newRaw(t, conn)
	raw.headers(1, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a")
	raw.expectHeaders(1, "504")
}

// raw speaks frames, for what no honest client does.
type raw struct {
	t    *testing.T
	conn net.Conn
	fr   *http2.Framer
	enc  *hpack.Encoder
	buf  bytes.Buffer
	// attacker says that write errors end the sending goroutine instead of
	// failing the test: the server hangs up on it.
	attacker bool
}

func newRaw(t *testing.T, conn net.Conn) *raw {
	t.Helper()
	r := &raw{t: t, conn: conn, fr: http2.NewFramer(conn, conn)}
	r.fr.AllowIllegalWrites = true
	r.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.enc = hpack.NewEncoder(&r.buf)
	if _, err := io.WriteString(conn, Preface); err != nil {
		t.Fatal(err)
	}
	r.must(r.fr.WriteSettings())
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return r
}

func (r *raw) must(err error) {
	r.t.Helper()
	if err != nil && r.attacker {
		runtime.Goexit()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) block(fields ...string) []byte {
	r.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		r.must(r.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return r.buf.Bytes()
}

func (r *raw) headers(stream uint32, end bool, fields ...string) {
	r.t.Helper()
	r.must(r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: r.block(fields...), EndStream: end, EndHeaders: true}))
}

// next reads frames until f wants one.
func (r *raw) next(what string, f func(http2.Frame) bool) {
	r.t.Helper()
	for {
		frame, err := r.fr.ReadFrame()
		if err != nil {
			r.t.Fatalf("waiting for %s: %v", what, err)
		}
		if f(frame) {
			return
		}
	}
}

func (r *raw) expectHeaders(stream uint32, status string) {
	r.t.Helper()
	r.next("headers", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == stream && h.PseudoValue("status") == status
	})
}

func (r *raw) expectReset(stream uint32, code http2.ErrCode) {
	r.t.Helper()
	r.next("RST_STREAM", func(f http2.Frame) bool {
		x, ok := f.(*http2.RSTStreamFrame)
		if ok && x.ErrCode != code {
			r.t.Errorf("RST_STREAM with %v, want %v", x.ErrCode, code)
		}
		return ok && x.StreamID == stream
	})
}

func (r *raw) expectGoAway(code http2.ErrCode) {
	r.t.Helper()
	r.next("GOAWAY", func(f http2.Frame) bool {
		x, ok := f.(*http2.GoAwayFrame)
		if ok && x.ErrCode != code {
			r.t.Errorf("GOAWAY with %v (%s), want %v", x.ErrCode, x.DebugData(), code)
		}
		return ok
	})
}

func TestMalformedRequestsAreReset(t *testing.T) {
	get := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"}
	with := func(extra ...string) []string { return append(append([]string{}, get...), extra...) }
	for name, fields := range map[string][]string{
		"capital letters":               with("X-Up", "1"),
		"connection field":              with("connection", "close"),
		"transfer-encoding":             with("transfer-encoding", "chunked"),
		"te other than trailers":        with("te", "gzip"),
		"unknown pseudo field":          with(":nope", "1"),
		"pseudo field after regular":    {":method", "GET", ":scheme", "http", "x", "y", ":path", "/"},
		"no path":                       {":method", "GET", ":scheme", "http", ":authority", "a"},
		"empty path":                    {":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"},
		"two paths":                     with(":path", "/b"),
		"status in a request":           with(":status", "200"),
		"path with a space":             {":method", "GET", ":scheme", "http", ":path", "/a HTTP/1.1", ":authority", "a"},
		"path with a line end":          {":method", "GET", ":scheme", "http", ":path", "/a\r\nx: y", ":authority", "a"},
		"path with a fragment":          {":method", "GET", ":scheme", "http", ":path", "/a#b", ":authority", "a"},
		"method with a space":           {":method", "GET /x", ":scheme", "http", ":path", "/", ":authority", "a"},
		"authority with user":           {":method", "GET", ":scheme", "http", ":path", "/", ":authority", "u@a"},
		"authority with line end":       {":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a\r\nx: y"},
		"scheme with a line end":        {":method", "GET", ":scheme", "http\r\n", ":path", "/", ":authority", "a"},
		"host against authority":        with("host", "b"),
		"value with a line end":         with("x", "a\r\nb: c"),
		"value with NUL":                with("x", "a\x00b"),
		"value with space at its end":   with("x", "a "),
		"name with a colon":             with("x:y", "a"),
		"content-length without a body": with("content-length", "5"),
		"content-length that is none":   with("content-length", "+5"),
		"two content-lengths":           with("content-length", "0", "content-length", "1"),
		"two equal content-lengths":     with("content-length", "0", "content-length", "0"),
		"two hosts":                     with("host", "a", "host", "b"),
		"CONNECT with a path":           {":method", "CONNECT", ":path", "/", ":authority", "a:1"},
		"protocol without being asked":  {":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, _, _ := serve(t, Config{}, func(s *Stream) { t.Errorf("the handler got %+v", s.Head()) })
			r := newRaw(t, conn)
			r.headers(1, true, fields...)
			r.expectReset(1, http2.ErrCodeProtocol)
		})
	}
}

func TestBodyLongerThanContentLength(t *testing.T) {
	conn, _, _ := serve(t, Config{}, echo)
	r := newRaw(t, conn)
	r.headers(1, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a", "content-length", "2")
	r.must(r.fr.WriteData(1, false, []byte("abc")))
	r.expectReset(1, http2.ErrCodeProtocol)
}

func TestConnectionErrors(t *testing.T) {
	for name, c := range map[string]struct {
		code http2.ErrCode
		send func(r *raw)
	}{
		"DATA on stream 0":        {http2.ErrCodeProtocol, func(r *raw) { r.must(r.fr.WriteRawFrame(http2.FrameData, 0, 0, []byte("x"))) }},
		"DATA on an idle stream":  {http2.ErrCodeProtocol, func(r *raw) { r.must(r.fr.WriteData(5, false, []byte("x"))) }},
		"even stream":             {http2.ErrCodeProtocol, func(r *raw) { r.headers(2, true, ":method", "GET") }},
		"PING of 7 bytes":         {http2.ErrCodeFrameSize, func(r *raw) { r.must(r.fr.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7))) }},
		"SETTINGS of 5 bytes":     {http2.ErrCodeFrameSize, func(r *raw) { r.must(r.fr.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5))) }},
		"ENABLE_PUSH of 2":        {http2.ErrCodeProtocol, func(r *raw) { r.must(r.fr.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2})) }},
		"a window that overflows": {http2.ErrCodeFlowControl, func(r *raw) { r.must(r.fr.WriteWindowUpdate(0, 1<<31-1)) }},
		"PUSH_PROMISE":            {http2.ErrCodeProtocol, func(r *raw) { r.must(r.fr.WriteRawFrame(http2.FramePushPromise, 4, 1, []byte{0, 0, 0, 2})) }},
		"a frame too large":       {http2.ErrCodeFrameSize, func(r *raw) { r.must(r.fr.WriteData(1, false, make([]byte, 16385))) }},
		"broken compression": {http2.ErrCodeCompression, func(r *raw) {
			r.must(r.fr.WriteRawFrame(http2.FrameHeaders, 4, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
		}},
		"interrupted headers": {http2.ErrCodeProtocol, func(r *raw) {
			r.must(r.fr.WriteRawFrame(http2.FrameHeaders, 0, 1, r.block(":method", "GET")))
			r.must(r.fr.WritePing(false, [8]byte{}))
		}},
		"CONTINUATION flood": {http2.ErrCodeEnhanceYourCalm, func(r *raw) {
			r.must(r.fr.WriteRawFrame(http2.FrameHeaders, 0, 1, r.block(":method", "GET")))
			for range maxFragments + 1 {
				r.must(r.fr.WriteContinuation(1, false, r.block("x", "y")))
			}
		}},
		"empty frames": {http2.ErrCodeEnhanceYourCalm, func(r *raw) {
			r.headers(1, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a")
			for range 20 {
				r.must(r.fr.WriteData(1, false, nil))
			}
		}},
		"PING flood": {http2.ErrCodeEnhanceYourCalm, func(r *raw) {
			for range 1100 {
				if r.fr.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
		}},
		"rapid reset": {http2.ErrCodeEnhanceYourCalm, func(r *raw) {
			for id := uint32(1); id < 3000; id += 2 {
				r.headers(id, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a")
				r.must(r.fr.WriteRSTStream(id, http2.ErrCodeCancel))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, _, done := serve(t, Config{}, echo)
			r := newRaw(t, conn)
			r.attacker = true
			var sending sync.WaitGroup
			sending.Go(func() { c.send(r) })
			r.expectGoAway(c.code)
			sending.Wait()
			var fault *ConnError
			if err := <-done; !errors.As(err, &fault) || fault.Remote {
				t.Errorf("Run ends with %v", err)
			}
			done <- nil
		})
	}
}

func TestHeaderBomb(t *testing.T) {
	conn, _, _ := serve(t, Config{}, func(s *Stream) { t.Error("the handler got it") })
	r := newRaw(t, conn)
	fields := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"}
	for range 101 {
		fields = append(fields, "x", "y")
	}
	r.headers(1, true, fields...)
	r.expectReset(1, http2.ErrCodeProtocol)
}

func TestTooManyStreamsAreRefused(t *testing.T) {
	release := make(chan struct{})
	conn, _, _ := serve(t, Config{MaxConcurrentStreams: 2}, func(*Stream) { <-release })
	defer close(release)
	r := newRaw(t, conn)
	for id := uint32(1); id <= 5; id += 2 {
		r.headers(id, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	}
	r.expectReset(5, http2.ErrCodeRefusedStream)
}

func TestZeroWindowHoldsOnlyItsStream(t *testing.T) {
	conn, _, _ := serve(t, Config{}, func(s *Stream) {
		var h Head
		h.Reset()
		h.Status = 200
		s.WriteHead(&h, false)
		s.SetWriteDeadline(time.Now().Add(5 * time.Second))
		s.WriteEnd([]byte(strings.Repeat("x", 100)))
	})
	r := newRaw(t, conn)
	r.must(r.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	r.headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	r.headers(3, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	r.expectHeaders(3, "200")
	r.must(r.fr.WriteWindowUpdate(3, 100))
	r.next("the other stream's body", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok && d.StreamID == 1 {
			t.Error("DATA without a window")
		}
		return ok && d.StreamID == 3 && len(d.Data()) == 100
	})
}

// TestWindowUpdatesThatAnswerDataAreNoFlood has a reader that takes a long body in small pieces, and says so late.
func TestWindowUpdatesThatAnswerDataAreNoFlood(t *testing.T) {
	const frames, each = 512, 8
	conn, _, _ := serve(t, Config{}, func(s *Stream) {
		var h Head
		h.Reset()
		h.Status = 200
		s.WriteHead(&h, false)
		s.SetWriteDeadline(time.Now().Add(5 * time.Second))
		for range frames {
			s.Write(make([]byte, 16<<10))
		}
		s.WriteEnd(nil)
	})
	r := newRaw(t, conn)
	r.must(r.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
	r.must(r.fr.WriteWindowUpdate(0, 1<<30))
	r.headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	r.next("the end of the body", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		return ok && d.StreamEnded()
	})
	for range frames * each {
		r.must(r.fr.WriteWindowUpdate(0, 1))
	}
	r.headers(3, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	r.expectHeaders(3, "200")
}

func TestGoAwayRefusesLaterStreams(t *testing.T) {
	client, server := pipe(t)
	c := NewClient(client, Config{})
	done := make(chan error, 1)
	go func() { done <- c.Run() }()
	fr := http2.NewFramer(server, server)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	one, err := c.Open(request("GET", "/1"), true)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Open(request("GET", "/2"), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := fr.WriteGoAway(one.ID(), http2.ErrCodeNo, nil); err != nil {
		t.Fatal(err)
	}
	var fault *StreamError
	if _, _, err := two.ReadHead(); !errors.As(err, &fault) || fault.Code != RefusedStream {
		t.Errorf("the stream behind GOAWAY ends with %v", err)
	}
	two.Release()
	var block bytes.Buffer
	if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "204"}); err != nil {
		t.Fatal(err)
	}
	if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: one.ID(), BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	if _, h, err := one.ReadHead(); err != nil || h.Status != 204 {
		t.Errorf("the stream before GOAWAY: %v", err)
	}
	one.Release()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestLateStreamIsIgnored opens a stream behind the last GOAWAY, with a body, while another one is still served.
func TestLateStreamIsIgnored(t *testing.T) {
	conn, c, _ := serve(t, Config{}, echo)
	r := newRaw(t, conn)
	post := []string{":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a"}
	r.headers(1, false, post...)
	r.expectHeaders(1, "200")
	c.Drain()
	r.next("the announcement's PING", func(f http2.Frame) bool {
		p, ok := f.(*http2.PingFrame)
		if ok {
			r.must(r.fr.WritePing(true, p.Data))
		}
		return ok
	})
	r.expectGoAway(http2.ErrCodeNo)
	r.headers(3, false, post...)
	r.must(r.fr.WriteData(3, true, []byte("late")))
	r.must(r.fr.WriteData(1, true, []byte("in time")))
	r.next("the end of the first stream", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == 1 && h.StreamEnded()
	})
}

func FuzzServer(f *testing.F) {
	var seed bytes.Buffer
	seed.WriteString(Preface)
	fr := http2.NewFramer(&seed, nil)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, kv := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]}); err != nil {
			f.Fatal(err)
		}
	}
	for _, err := range []error{fr.WriteSettings(), fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		fr.WriteData(1, true, []byte("hello")), fr.WritePing(false, [8]byte{}), fr.WriteWindowUpdate(0, 5), fr.WriteRSTStream(1, 8)} {
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(seed.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) {
		t := &memoryTransport{in: bytes.NewReader(b)}
		_ = NewServer(t, Config{}, func(s *Stream) {
			s.SetReadDeadline(time.Now().Add(time.Second))
			echo(s)
		}).Run()
	})
}

// memoryTransport gives bytes and then ends; what is written is dropped.
type memoryTransport struct{ in *bytes.Reader }

func (m *memoryTransport) Read(p []byte) (int, error)  { return m.in.Read(p) }
func (m *memoryTransport) Write(p []byte) (int, error) { return len(p), nil }
func (m *memoryTransport) Close() error                { return nil }
