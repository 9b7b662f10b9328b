package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines answers each line with itself; "more\n" needs four further bytes, which it reads by itself.
type lines struct {
	c        *sock.Conn
	buf      [4096]byte
	n        int
	detached int
}

func (s *lines) Space() []byte { return s.buf[s.n:] }

func (s *lines) Serve(n int) sock.Next {
	s.n += n
	for {
		end := bytes.IndexByte(s.buf[:s.n], '\n') + 1
		if end == 0 {
			return sock.Wait
		}
		if string(s.buf[:end]) == "more\n" {
			if end += 4; s.n < end && !s.c.CanRead() {
				s.detached++
				return sock.Detach
			}
			for s.n < end {
				m, err := s.c.Read(s.buf[s.n:end])
				if err != nil {
					return sock.Close
				}
				s.n += m
			}
		}
		if _, err := s.c.Write(s.buf[:end]); err != nil {
			return sock.Close
		}
		s.n = copy(s.buf[:], s.buf[end:s.n])
	}
}

func (s *lines) Park()                {}
func (s *lines) Wake(error) sock.Next { return sock.Close }

// serveTLS handshakes and serves on c.
func serveTLS(c *sock.Conn, srv *Server, s *lines) <-chan error {
	done := make(chan error, 1)
	s.c = c
	go func() {
		defer c.Close()
		if _, err := srv.Handshake(c); err != nil {
			done <- err
			return
		}
		done <- c.Serve(s)
	}()
	return done
}

// forConns runs a test over raw and portable connections.
func forConns(t *testing.T, f func(t *testing.T, wrap func(net.Conn) *sock.Conn)) {
	t.Run("raw", func(t *testing.T) { f(t, sock.New) })
	t.Run("portable", func(t *testing.T) { f(t, sock.NewPortable) })
}

func TestServeOverTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		forConns(t, func(t *testing.T, wrap func(net.Conn) *sock.Conn) {
			cl, srv := mutual(t, newAuthority(t))
			cl.config.MaxVersion = version
			near, far := socktest.Pair(t, "tcp")
			var s lines
			done := serveTLS(wrap(far), srv, &s)
			client := wrap(near)
			if r, err := cl.Handshake(client); err != nil || r.Version != version {
				t.Fatal(r.Version, err)
			}
			client.SetReadDeadline(sock.Now().Add(20 * time.Second))
			buf := make([]byte, 4096)
			for i := range 200 {
				if n, err := client.WriteRead([]byte("hello\n"), socktest.Into(buf)); err != nil || string(buf[:n]) != "hello\n" {
					t.Fatalf("exchange %d: %q, %v", i, buf[:n], err)
				}
			}
			// Many records in one write, more than the session's memory takes at once.
			big := bytes.Repeat([]byte("0123456789abcde\n"), 4000)
			go func() {
				for i := 0; i < len(big); i += 320 {
					client.Write(big[i : i+320])
				}
			}()
			got := make([]byte, len(big))
			for n := 0; n < len(got); {
				m, err := client.Read(got[n:])
				if err != nil {
					t.Fatalf("after %d bytes: %v", n, err)
				}
				n += m
			}
			if !bytes.Equal(got, big) {
				t.Error("the echo differs")
			}
			for range 50 {
				client.Write([]byte("more\nab"))
				client.Write([]byte("cdx\n"))
				for n := 0; n < len("more\nabcdx\n"); {
					m, err := client.Read(buf)
					if err != nil {
						t.Fatal(err)
					}
					n += m
				}
			}
			client.Close()
			if err := <-done; err != io.EOF {
				t.Error(err)
			}
		})
	}
}

// holder holds back what is written, once told to.
type holder struct {
	net.Conn
	hold bool
	held []byte
}

func (h *holder) Write(p []byte) (int, error) {
	if h.hold {
		h.held = append(h.held, p...)
		return len(p), nil
	}
	n, err := h.Conn.Write(p)
	h.hold = true // the ClientHello goes out, all that follows is held
	return n, err
}

// TestReadAheadOfTheHandshake sends the first request in one segment with the end of the handshake: no further edge
// tells of it.
func TestReadAheadOfTheHandshake(t *testing.T) {
	forConns(t, func(t *testing.T, wrap func(net.Conn) *sock.Conn) {
		ca := newAuthority(t)
		srv := mustServer(t, ServerOptions{Certificate: serverCert(ca.leaf(idB, "", time.Hour))})
		near, far := socktest.Pair(t, "tcp")
		near.SetDeadline(time.Now().Add(20 * time.Second))
		var s lines
		done := serveTLS(wrap(far), srv, &s)
		h := &holder{Conn: near}
		client := tls.Client(h, &tls.Config{InsecureSkipVerify: true})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("early\nmore\n1")); err != nil {
			t.Fatal(err)
		}
		if _, err := near.Write(h.held); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := io.ReadFull(client, buf[:6]); err != nil || string(buf[:n]) != "early\n" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		h.hold, h.held = true, nil
		client.Write([]byte("234"))
		near.Write(h.held)
		if n, err := io.ReadFull(client, buf[:9]); err != nil || string(buf[:n]) != "more\n1234" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		near.Close()
		<-done
	})
}

// TestEveryByteAlone feeds records byte by byte.
func TestEveryByteAlone(t *testing.T) {
	ca := newAuthority(t)
	srv := mustServer(t, ServerOptions{Certificate: serverCert(ca.leaf(idB, "", time.Hour))})
	near, far := net.Pipe()
	defer near.Close()
	c := sock.New(far)
	var s lines
	done := serveTLS(c, srv, &s)
	h := &holder{Conn: near}
	client := tls.Client(h, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	msg := bytes.Repeat([]byte("0123456789abcde\n"), 200)
	client.Write(msg)
	go func() {
		for i := range h.held {
			near.Write(h.held[i : i+1])
		}
	}()
	got := make([]byte, len(msg))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, msg) {
		t.Error("the echo differs", err)
	}
	near.Close()
	<-done
}

func TestStaleEncryptedConnection(t *testing.T) {
	cl, srv := mutual(t, newAuthority(t))
	near, far := socktest.Pair(t, "tcp")
	var s lines
	server := sock.New(far)
	done := serveTLS(server, srv, &s)
	client := sock.New(near)
	if _, err := cl.Handshake(client); err != nil {
		t.Fatal(err)
	}
	// The session tickets that lie there don't make it stale.
	buf := make([]byte, 100)
	for range 3 {
		if _, err := client.WriteRead([]byte("a\n"), socktest.Into(buf)); err != nil {
			t.Fatal(err)
		}
		if err := client.Fresh(); err != nil {
			t.Fatal(err)
		}
	}
	server.Interrupt() // its session closes
	<-done
	_, err := client.WriteRead([]byte("a\n"), socktest.Into(buf))
	var e *sock.Error
	if !errors.As(err, &e) || e.Seen || !e.Retryable() {
		t.Errorf("error is %+v (%v)", e, err)
	}
}

func TestCertificateSwap(t *testing.T) {
	ca := newAuthority(t)
	first, second := ca.leaf(idA, "", time.Hour), ca.leaf(idB, "", time.Hour)
	current := first
	srv := mustServer(t, ServerOptions{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current, nil },
	})
	cl := mustClient(t, ClientOptions{Options: Options{Verifier: ca.verifier()}})
	c1, s1 := tcpPair(t)
	if c, sv := shake(c1, s1, cl, srv); c.err != nil || sv.err != nil || c.r.PeerID() != idA {
		t.Fatal(c.err, sv.err, c.r.PeerID())
	}
	current = second
	c2, s2 := tcpPair(t)
	if c, sv := shake(c2, s2, cl, srv); c.err != nil || sv.err != nil || c.r.PeerID() != idB {
		t.Fatal(c.err, sv.err, c.r.PeerID())
	}
	echoOnce(t, c1, s1, []byte("the old connection lives on"))
	echoOnce(t, c2, s2, []byte("hello"))
}

func TestHybridKeyExchangeComesFirst(t *testing.T) {
	ca := newAuthority(t)
	near, far := net.Pipe()
	defer near.Close()
	srv := mustServer(t, ServerOptions{Certificate: serverCert(ca.leaf(idB, "", time.Hour))})
	c := sock.New(far)
	var s lines
	done := serveTLS(c, srv, &s)
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if id := client.ConnectionState().CurveID; id != tls.X25519MLKEM768 {
		t.Errorf("key exchange is %v", id)
	}
	near.Close()
	<-done
}
