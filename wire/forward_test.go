//go:build !race

package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
	"lateen.dev/lateen/wire/tlsconn"
)

// This file is the smallest proxy that can be made of the room's parts, over real loopback sockets, so that a loss of
// speed or a new allocation in any of them shows.

const clientRequest = "GET /api/v1/users?id=42 HTTP/1.1\r\nHost: svc-a.default.svc.cluster.local\r\n" +
	"User-Agent: load/1\r\nAccept: */*\r\nX-Request-Id: 3f0a2b1c-9d8e-4f7a-8b6c-5d4e3f2a1b0c\r\n\r\n"

var serverResponse = append([]byte("HTTP/1.1 200 OK\r\nServer: app\r\nContent-Type: text/plain\r\n"+
	"Content-Length: 1024\r\n\r\n"), make([]byte, 1024)...)

// scratch is what a busy connection holds.
type scratch struct {
	in, up   []byte
	reply    sock.Reply // into up
	n        int
	out      []byte
	req, res http1.Head
}

var scratches = sync.Pool{New: func() any {
	up := make([]byte, 16<<10)
	return &scratch{in: make([]byte, 16<<10), up: up, reply: socktest.Into(up), out: make([]byte, 0, 16<<10)}
}}

// answerer is the server: it answers every request with the same bytes.
type answerer struct {
	c *sock.Conn
	s *scratch
}

func (a *answerer) Space() []byte { return space(&a.s) }
func (a *answerer) Park()         { park(&a.s) }

func space(s **scratch) []byte {
	if *s == nil {
		*s = scratches.Get().(*scratch)
		(*s).n = 0
	}
	return (*s).in[(*s).n:]
}

func park(s **scratch) {
	if *s != nil && (*s).n == 0 {
		scratches.Put(*s)
		*s = nil
	}
}

func (a *answerer) Wake(error) sock.Next { return sock.Close }

func (a *answerer) Serve(n int) sock.Next {
	s := a.s
	s.n += n
	for {
		n, err := http1.ParseRequest(&s.req, s.in[:s.n], nil)
		if err != nil {
			return sock.Close
		}
		if n == 0 {
			return sock.Wait
		}
		s.n = copy(s.in, s.in[n:s.n])
		if _, err := a.c.Write(serverResponse); err != nil {
			return sock.Close
		}
	}
}

// forwarder is the proxy.
type forwarder struct {
	c    *sock.Conn
	s    *scratch
	pool *upstreams
}

// upstreams is a pool of idle connections.
type upstreams struct {
	dial func() (*sock.Conn, error)
	mu   sync.Mutex
	idle []*sock.Conn
}

func (u *upstreams) get() (*sock.Conn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := len(u.idle); n > 0 {
		c := u.idle[n-1]
		u.idle = u.idle[:n-1]
		return c, nil
	}
	return u.dial()
}

func (u *upstreams) put(c *sock.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.idle = append(u.idle, c)
}

func (f *forwarder) Space() []byte        { return space(&f.s) }
func (f *forwarder) Park()                { park(&f.s) }
func (f *forwarder) Wake(error) sock.Next { return sock.Close }

func (f *forwarder) Serve(n int) sock.Next {
	s := f.s
	s.n += n
	for {
		n, err := http1.ParseRequest(&s.req, s.in[:s.n], nil)
		if err != nil || s.req.HasBody() {
			return sock.Close
		}
		if n == 0 {
			return sock.Wait
		}
		if err := f.exchange(); err != nil {
			return sock.Close
		}
		s.n = copy(s.in, s.in[n:s.n])
		f.c.SetReadDeadline(sock.Now().Add(time.Hour))
	}
}

func (f *forwarder) exchange() error {
	s := f.s
	up, err := f.pool.get()
	if err != nil {
		return err
	}
	up.SetReadDeadline(sock.Now().Add(15 * time.Second))
	up.Watch(f.c)
	s.out = http1.AppendEnd(http1.AppendRequest(s.out[:0], &s.req))
	got, err := up.WriteRead(s.out, s.reply)
	head := 0
	for err == nil {
		if head, err = http1.ParseResponse(&s.res, s.up[:got], s.req.Method, nil); head > 0 || err != nil {
			break
		}
		var m int
		m, err = up.Read(s.up[got:])
		got += m
	}
	for err == nil && got < head+int(s.res.ContentLength) {
		var m int
		m, err = up.Read(s.up[got:])
		got += m
	}
	if err != nil {
		up.Close()
		return err
	}
	up.Watch(nil)
	f.pool.put(up)
	s.out = http1.AppendEnd(http1.AppendResponse(s.out[:0], &s.res))
	return f.c.Write2(s.out, s.up[head:got])
}

// world is client — proxy — server on loopback.
type world struct {
	proxy, server net.Listener
	wrap          func(net.Conn) *sock.Conn
	direct        bool        // clients go to the server
	tls           *encryption // of the clients' connections; nil leaves them plain
	pool          upstreams
	wg            sync.WaitGroup
	mu            sync.Mutex
	conns         []*sock.Conn
}

// encryption is both sides of TLS without verification.
type encryption struct {
	server *tlsconn.Server
	client *tlsconn.Client
}

func newEncryption(t testing.TB) *encryption {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server, err := tlsconn.NewServer(tlsconn.ServerOptions{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := tlsconn.NewClient(tlsconn.ClientOptions{SkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return &encryption{server: server, client: client}
}

func (e *encryption) accept(c *sock.Conn) error {
	if e == nil {
		return nil
	}
	_, err := e.server.Handshake(c)
	return err
}

func newWorld(t testing.TB, wrap func(net.Conn) *sock.Conn, e *encryption) *world {
	w := &world{wrap: wrap, tls: e}
	w.pool.dial = func() (*sock.Conn, error) {
		nc, err := net.Dial("tcp", w.server.Addr().String())
		if err != nil {
			return nil, err
		}
		return w.own(w.wrap(nc)), nil
	}
	w.server = w.listen(t, func(nc net.Conn) {
		a := &answerer{c: w.own(sock.New(nc))}
		if w.direct && w.tls.accept(a.c) != nil {
			return
		}
		_ = a.c.Serve(a)
	})
	w.proxy = w.listen(t, func(nc net.Conn) {
		f := &forwarder{c: w.own(w.wrap(nc)), pool: &w.pool}
		if w.tls.accept(f.c) == nil {
			_ = f.c.Serve(f)
		}
	})
	return w
}

func (w *world) own(c *sock.Conn) *sock.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, c)
	return c
}

func (w *world) listen(t testing.TB, serve func(net.Conn)) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { serve(nc) })
		}
	})
	return ln
}

func (w *world) close() {
	w.proxy.Close()
	w.server.Close()
	w.mu.Lock()
	for _, c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}

// client makes requests one after the other.
type client struct {
	c     *sock.Conn
	buf   []byte
	reply sock.Reply // into buf
}

func (w *world) dial(t testing.TB) *client {
	addr := w.proxy.Addr()
	if w.direct {
		addr = w.server.Addr()
	}
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{c: sock.New(nc), buf: make([]byte, 4096)}
	c.reply = socktest.Into(c.buf)
	if w.tls != nil {
		if _, err := w.tls.client.Handshake(c.c); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

var clientRequestBytes = []byte(clientRequest)

func (c *client) request(t testing.TB) {
	got, err := c.c.WriteRead(clientRequestBytes, c.reply)
	for err == nil && got < 1024+60 {
		var n int
		n, err = c.c.Read(c.buf[got:])
		got += n
	}
	if err != nil {
		t.Error(err)
	}
}

func TestForwardAllocatesNothing(t *testing.T) {
	w := newWorld(t, sock.New, nil)
	defer w.close()
	c := w.dial(t)
	defer c.c.Close()
	for range 200 {
		c.request(t)
	}
	if n := testing.AllocsPerRun(2000, func() { c.request(t) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

// cpuTime is what this process has used so far.
func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkForward has 16 clients. "direct" is without a proxy between: what it costs is the clients' and the
// server's, so the proxy's cost per request is the difference of cpu-µs/op. With TLS the proxy ends it.
func BenchmarkForward(b *testing.B) {
	e := newEncryption(b)
	for _, bb := range []struct {
		name   string
		wrap   func(net.Conn) *sock.Conn
		tls    *encryption
		direct bool
	}{
		{"plain/direct", sock.New, nil, true},
		{"plain/raw", sock.New, nil, false},
		{"plain/portable", sock.NewPortable, nil, false},
		{"tls/direct", sock.New, e, true},
		{"tls/raw", sock.New, e, false},
		{"tls/portable", sock.NewPortable, e, false},
	} {
		b.Run(bb.name, func(b *testing.B) {
			w := newWorld(b, bb.wrap, bb.tls)
			w.direct = bb.direct
			defer w.close()
			var wg sync.WaitGroup
			const clients = 16
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime(b)
			for i := range clients {
				c := w.dial(b)
				wg.Go(func() {
					defer c.c.Close()
					for range (b.N + i) / clients {
						c.request(b)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}
