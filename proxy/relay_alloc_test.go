//go:build !race

package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/http2"
)

// answering answers every request on a stream with a head, a body and trailers as soon as it is complete, as a gRPC
// server does.
type answering struct{ head, trailers http2.Head }

func (a *answering) ReceiveHead(*http2.Batch, *http2.Stream, *http2.Head, bool) bool { return true }

func (a *answering) ReceiveData(b *http2.Batch, s *http2.Stream, p []byte, end bool) bool {
	s.Consumed(b, len(p))
	if !end {
		return true
	}
	err := s.SendHead(b, &a.head, false)
	if err == nil {
		_, err = s.Send(b, answered, false)
	}
	if err == nil {
		err = s.SendHead(b, &a.trailers, true)
	}
	if err == nil {
		s.Leave(b, http2.NoError)
	}
	return true
}

func (a *answering) ReceiveReset(b *http2.Batch, s *http2.Stream, _ error) { s.Leave(b, http2.Cancel) }

func (a *answering) Sent(*http2.Batch, *http2.Stream, int) {}

var answered = []byte{0, 0, 0, 0, 0}

// calls is a server of unary calls that makes no garbage.
func calls(t testing.TB) string {
	return serveTCP(t, func(nc net.Conn) {
		a := &answering{}
		a.head.Reset()
		a.head.Status = 200
		a.head.Add([]byte("content-type"), []byte("application/grpc"))
		a.trailers.Reset()
		a.trailers.Add([]byte("grpc-status"), []byte("0"))
		c := http2.NewServer(nc, http2.Config{}, nil)
		c.OnStream(func(_ *http2.Batch, s *http2.Stream) { s.Attach(a) })
		c.Run() //nolint:errcheck // ends with the proxy
	})
}

// caller makes unary calls, one after another, with frames that are the same but for the stream's number.
type caller struct {
	nc     net.Conn
	stream uint32
	frames []byte // HEADERS and DATA
	data   int    // where DATA begins
	buf    []byte
	in     []byte
}

func (b *bed) caller() *caller {
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	block := []byte{0x83, 0x86} // POST, http
	literal := func(name, value string) {
		block = append(append(append(block, 0x40, byte(len(name))), name...), byte(len(value)))
		block = append(block, value...)
	}
	literal(":path", "/helloworld.Greeter/SayHello")
	literal(":authority", "svc-a")
	literal("content-type", "application/grpc")
	literal("te", "trailers")
	c := &caller{nc: nc, stream: 1, buf: make([]byte, 16<<10)}
	c.section(block)
	if _, err := io.WriteString(nc, http2.Preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// section makes the frames of a call with this header section.
func (c *caller) section(block []byte) {
	c.frames = append([]byte{0, 0, byte(len(block)), 1, 4, 0, 0, 0, 0}, block...)
	c.data = len(c.frames)
	c.frames = append(c.frames, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// again has the calls after the first refer to what that one has put into the table.
func (c *caller) again() { c.section([]byte{0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62}) }

// call makes one and reads to the end of its stream.
func (c *caller) call(t testing.TB) {
	binary.BigEndian.PutUint32(c.frames[5:], c.stream)
	binary.BigEndian.PutUint32(c.frames[c.data+5:], c.stream)
	if _, err := c.nc.Write(c.frames); err != nil {
		t.Fatal(err)
	}
	for {
		for len(c.in) >= 9 && len(c.in) >= 9+int(c.in[1])<<8+int(c.in[2]) {
			size, kind, flags, id := 9+int(c.in[1])<<8+int(c.in[2]), c.in[3], c.in[4], binary.BigEndian.Uint32(c.in[5:])
			if c.in = c.in[size:]; kind == 3 || kind == 7 {
				t.Fatalf("a frame of type %d", kind)
			}
			if id == c.stream && kind <= 1 && flags&1 != 0 {
				c.stream += 2
				return
			}
		}
		n := copy(c.buf, c.in)
		k, err := c.nc.Read(c.buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		c.in = c.buf[:n+k]
	}
}

func TestRelayHardlyAllocates(t *testing.T) {
	b := newBed(t)
	b.cluster("fixed", calls(t)).Protocol.Version = plan.HTTP2
	m := hot(t, b)
	m.Codec = plan.CodecHTTP2
	b.listen(m)
	c := b.caller()
	c.call(t)
	c.again()
	for range 200 {
		c.call(t)
	}
	const requests = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		c.call(t)
	}
	runtime.ReadMemStats(&after)
	// The server's, too, are in here: it makes a string of each request's id.
	if n := float64(after.Mallocs-before.Mallocs) / requests; n > 2 {
		t.Errorf("%.2f allocations per request", n)
	}
}
