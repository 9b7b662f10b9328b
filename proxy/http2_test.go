package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"lateen.dev/lateen/proxy/plan"
)

// frames is an HTTP/2 client that does nothing by itself.
func (b *bed) frames(settings ...http2.Setting) (net.Conn, *http2.Framer) {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		b.t.Fatal(err)
	}
	fr := http2.NewFramer(nc, nc)
	if err := fr.WriteSettings(settings...); err != nil {
		b.t.Fatal(err)
	}
	return nc, fr
}

// get2 writes a request.
func get2(t *testing.T, fr *http2.Framer, stream uint32, path string) {
	t.Helper()
	var block []byte
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}} {
		block = append(block, 0, byte(len(f[0])))
		block = append(append(append(block, f[0]...), byte(len(f[1]))), f[1]...)
	}
	if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
}

// TestSlowClientHoldsUpNobody: a client that takes none of what the server sends holds up its own streams, and not those
// of another client on the same connection to the server.
func TestSlowClientHoldsUpNobody(t *testing.T) {
	const large = 1 << 20
	b := newBedWith(t, func(o *Options) { o.Shards = 1 })
	var connections sync.Map
	c := b.cluster("large", server2(t, func(w http.ResponseWriter, r *http.Request) {
		connections.Store(r.RemoteAddr, true)
		w.Write(make([]byte, large)) //nolint:errcheck // the client may go
	}))
	c.Protocol.Version = plan.HTTP2
	c.Protocol.HTTP2.InitialStreamWindow, c.Protocol.HTTP2.InitialConnectionWindow = 1<<16, 1<<16
	b.listen(manager(t, b.route("/", "large")))
	quick := client(t, true)
	get := func() {
		t.Helper()
		resp, err := quick.Get("http://" + b.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); n != large || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	get() // and there is a connection to the server
	_, fr := b.frames(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for stream := uint32(1); stream <= 5; stream += 2 {
		get2(t, fr, stream, "/")
	}
	for answered := 0; answered < 3; {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := f.(*http2.MetaHeadersFrame); ok {
			answered++
		}
	}
	for range 3 {
		get()
	}
	n := 0
	connections.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d connections to the server; the clients were to share one", n)
	}
}

// TestPingsAreNoActivity: a client that only sends PINGs is idle. It is told before its connection ends.
func TestPingsAreNoActivity(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server2(t, echo))
	m := manager(t, b.route("/", "echo"))
	m.Timeouts.Idle, m.Timeouts.Drain = 300*time.Millisecond, 300*time.Millisecond
	b.listen(m)
	_, fr := b.frames()
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	get2(t, fr, 1, "/")
	over := make(chan struct{})
	var pinging sync.WaitGroup
	defer pinging.Wait()
	defer close(over)
	pinging.Go(func() {
		for tick := time.Tick(20 * time.Millisecond); ; {
			select {
			case <-over:
				return
			case <-tick:
				if fr.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
		}
	})
	pings, told := 0, false
	for {
		f, err := fr.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the connection is still open after %d answers to PINGs", pings)
		}
		if err != nil {
			break
		}
		switch f := f.(type) {
		case *http2.PingFrame:
			pings++
		case *http2.GoAwayFrame:
			told = f.ErrCode == http2.ErrCodeNo
		}
	}
	if pings == 0 {
		t.Error("no PING was answered")
	}
	if !told {
		t.Error("the connection ended without a GOAWAY")
	}
}
