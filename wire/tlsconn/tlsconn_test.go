package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
)

const (
	idA = "spiffe://cluster.local/ns/default/sa/a"
	idB = "spiffe://cluster.local/ns/default/sa/b"
)

func tcpPair(t testing.TB) (client, server *sock.Conn) {
	a, b := socktest.Pair(t, "tcp")
	return sock.New(a), sock.New(b)
}

type outcome struct {
	r   Result
	err error
}

// shake runs both sides of a handshake.
func shake(client, server *sock.Conn, cl *Client, s *Server) (c, sv outcome) {
	done := make(chan outcome)
	go func() {
		r, err := s.Handshake(server)
		if err != nil {
			server.Close()
		}
		done <- outcome{r, err}
	}()
	r, err := cl.Handshake(client)
	if err != nil {
		client.Close()
	}
	return outcome{r, err}, <-done
}

func mustServer(t testing.TB, o ServerOptions) *Server {
	t.Helper()
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClient(t testing.TB, o ClientOptions) *Client {
	t.Helper()
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mutual(t testing.TB, ca *authority) (*Client, *Server) {
	return mustClient(t, ClientOptions{
			Options:     Options{ALPN: []string{"istio-peer-exchange", "istio"}, Verifier: ca.verifier()},
			ServerName:  "outbound_.9080_._.b.default.svc.cluster.local",
			Certificate: clientCert(ca.leaf(idA, "", time.Hour)), Sessions: 16,
		}), mustServer(t, ServerOptions{
			Options:     Options{ALPN: []string{"istio", "http/1.1"}, Verifier: ca.verifier()},
			Certificate: serverCert(ca.leaf(idB, "", time.Hour)), Tickets: NewTickets(0),
		})
}

func TestMutualHandshake(t *testing.T) {
	ca := newAuthority(t)
	cl, s := mutual(t, ca)
	client, server := tcpPair(t)
	c, sv := shake(client, server, cl, s)
	if c.err != nil || sv.err != nil {
		t.Fatal(c.err, sv.err)
	}
	if c.r.PeerID() != idB || sv.r.PeerID() != idA {
		t.Errorf("peers are %q and %q", c.r.PeerID(), sv.r.PeerID())
	}
	if c.r.ALPN != "istio" || sv.r.ALPN != "istio" || sv.r.SNI != "outbound_.9080_._.b.default.svc.cluster.local" {
		t.Errorf("ALPN %q and %q, SNI %q", c.r.ALPN, sv.r.ALPN, sv.r.SNI)
	}
	if sv.r.Version != tls.VersionTLS13 || sv.r.Resumed {
		t.Errorf("version %x, resumed %v", sv.r.Version, sv.r.Resumed)
	}
	echoOnce(t, client, server, bytes.Repeat([]byte("0123456789"), 10000))
}

// echoOnce sends msg from client to server and back.
func echoOnce(t testing.TB, client, server *sock.Conn, msg []byte) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, len(msg))
		for n := 0; n < len(msg); {
			m, err := server.Read(buf[n:])
			if err != nil {
				done <- err
				return
			}
			n += m
		}
		_, err := server.Write(buf)
		done <- err
	}()
	got := make([]byte, len(msg))
	n, err := client.WriteRead(msg, socktest.Into(got))
	for err == nil && n < len(msg) {
		var m int
		m, err = client.Read(got[n:])
		n += m
	}
	if err != nil || !bytes.Equal(got, msg) {
		t.Fatalf("echo of %d bytes: got %d, %v", len(msg), n, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestResumption(t *testing.T) {
	ca := newAuthority(t)
	cl, s := mutual(t, ca)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for i := range 3 {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		sc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		client, server := sock.New(nc), sock.New(sc)
		c, sv := shake(client, server, cl, s)
		if c.err != nil || sv.err != nil {
			t.Fatal(c.err, sv.err)
		}
		if want := i > 0; c.r.Resumed != want || sv.r.Resumed != want {
			t.Errorf("connection %d: resumed %v and %v", i, c.r.Resumed, sv.r.Resumed)
		}
		if c.r.PeerID() != idB || sv.r.PeerID() != idA {
			t.Errorf("connection %d: peers are %q and %q", i, c.r.PeerID(), sv.r.PeerID())
		}
		echoOnce(t, client, server, []byte("hello"))
		echoOnce(t, client, server, []byte("again"))
		client.Close()
		server.Close()
	}
}

func TestGoodbyeIsEOF(t *testing.T) {
	cl, s := mutual(t, newAuthority(t))
	client, server := tcpPair(t)
	if c, sv := shake(client, server, cl, s); c.err != nil || sv.err != nil {
		t.Fatal(c.err, sv.err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 10)); err != io.EOF {
		t.Errorf("read gives %v, want EOF", err)
	}
	if _, err := server.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := client.Read(buf); err != nil || string(buf[:n]) != "late" {
		t.Errorf("half-closed side reads %q, %v", buf[:n], err)
	}
}

func TestRejections(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.leaf(idB, "b.example", time.Hour)
	tests := []struct {
		name   string
		client ClientOptions
		server ServerOptions
		want   error // of the side that refuses
	}{
		{
			name:   "client of another CA",
			client: ClientOptions{SkipVerify: true, Certificate: clientCert(other.leaf(idA, "", time.Hour))},
			server: ServerOptions{Options: Options{Verifier: ca.verifier()}, Certificate: serverCert(good)},
		},
		{
			name:   "client without a certificate",
			client: ClientOptions{SkipVerify: true},
			server: ServerOptions{Options: Options{Verifier: ca.verifier()}, Certificate: serverCert(good)},
		},
		{
			name: "client of another trust domain",
			client: ClientOptions{SkipVerify: true,
				Certificate: clientCert(ca.leaf("spiffe://elsewhere/ns/x/sa/y", "", time.Hour))},
			server: ServerOptions{Options: Options{Verifier: ca.verifier()}, Certificate: serverCert(good)},
			want:   ErrUntrustedDomain,
		},
		{
			name: "server's name not allowed",
			client: ClientOptions{Options: Options{
				Verifier: ca.verifier(), Authorize: Names{Exact: []string{idA}}.Allow,
			}},
			server: ServerOptions{Certificate: serverCert(good)},
			want:   ErrNotAllowed,
		},
		{
			name:   "server's host name differs",
			client: ClientOptions{Options: Options{Verifier: ca.verifier()}, VerifyHost: "c.example"},
			server: ServerOptions{Certificate: serverCert(good)},
		},
		{
			name:   "expired server",
			client: ClientOptions{Options: Options{Verifier: ca.verifier()}},
			server: ServerOptions{Certificate: serverCert(ca.leaf(idB, "", -time.Second))},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, server := tcpPair(t)
			c, sv := shake(client, server, mustClient(t, tt.client), mustServer(t, tt.server))
			if c.err == nil && sv.err == nil {
				t.Fatal("the handshake succeeded")
			}
			if tt.want != nil && !errors.Is(c.err, tt.want) && !errors.Is(sv.err, tt.want) {
				t.Errorf("errors are %v and %v, want %v", c.err, sv.err, tt.want)
			}
		})
	}
}

func TestUnsharedALPNGoesOnWithout(t *testing.T) {
	ca := newAuthority(t)
	cl := mustClient(t, ClientOptions{SkipVerify: true, Options: Options{ALPN: []string{"foo"}}})
	s := mustServer(t, ServerOptions{
		Options: Options{ALPN: []string{"h2", "http/1.1"}}, Certificate: serverCert(ca.leaf(idB, "", time.Hour)),
	})
	client, server := tcpPair(t)
	c, sv := shake(client, server, cl, s)
	if c.err != nil || sv.err != nil || sv.r.ALPN != "" {
		t.Fatal(c.err, sv.err, sv.r.ALPN)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	ca := newAuthority(t)
	s := mustServer(t, ServerOptions{
		Options: Options{HandshakeTimeout: 20 * time.Millisecond}, Certificate: serverCert(ca.leaf(idB, "", time.Hour)),
	})
	_, server := tcpPair(t)
	if _, err := s.Handshake(server); !errors.Is(err, sock.ErrTimeout) {
		t.Errorf("handshake gives %v", err)
	}
}

func TestClientNeedsVerifierOrLeave(t *testing.T) {
	if _, err := NewClient(ClientOptions{}); err == nil {
		t.Error("a client that verifies nobody was made without being told to")
	}
}
