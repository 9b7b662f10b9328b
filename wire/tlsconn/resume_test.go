package tlsconn

import (
	"bytes"
	"crypto/tls"
	"math"
	"net"
	"testing"
	"time"

	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
)

// revisit is a server with a clock of its own, and a client of crypto/tls's that comes again and again.
type revisit struct {
	t      *testing.T
	o      ServerOptions
	server *Server
	client *tls.Config
	later  time.Duration
	// forgetful: the server has its client's tickets only.
	forgetful bool
	pieces    int // the client's writes are cut into so many bytes; 0 is not at all
}

func newRevisit(t *testing.T) *revisit {
	ca := newAuthority(t)
	leaf := ca.leaf(idA, "", 5*time.Hour)
	v := &revisit{t: t, client: &tls.Config{ServerName: "server", InsecureSkipVerify: true, Certificates: []tls.Certificate{*leaf},
		NextProtos: []string{"h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
	ca.cert.NotAfter = time.Now().Add(5 * time.Hour)
	v.o = ServerOptions{Tickets: NewTickets(0), Certificate: serverCert(ca.leaf(idB, "", 5*time.Hour)),
		Options: Options{ALPN: []string{"h2"}, Verifier: NewVerifier(func() *Trust { return &Trust{Version: 1, Roots: ca.pool()} }, 0),
			Time: func() time.Time { return time.Now().Add(v.later) }}}
	return v
}

// pieces cuts writes.
type pieces struct {
	net.Conn
	size int
}

// Write implements net.Conn.
func (p *pieces) Write(b []byte) (int, error) {
	for i := 0; p.size > 0 && len(b)-i > p.size; i += p.size {
		if n, err := p.Conn.Write(b[i : i+p.size]); err != nil {
			return i + n, err
		}
		if len(b)-i-p.size <= p.size {
			n, err := p.Conn.Write(b[i+p.size:])
			return i + p.size + n, err
		}
	}
	return p.Conn.Write(b)
}

// come makes a connection, exchanges bytes over it, and returns what the server says of the handshake.
func (v *revisit) come() Result {
	v.t.Helper()
	if v.server == nil {
		v.server = mustServer(v.t, v.o)
	}
	if v.forgetful {
		v.o.Tickets.recall.forget(math.MaxUint64)
	}
	near, far := socktest.Pair(v.t, "tcp")
	defer near.Close()
	server := sock.New(far)
	defer server.Close()
	done := make(chan outcome, 1)
	go func() {
		r, err := v.server.Handshake(server)
		buf := make([]byte, 16)
		n := 0
		if err == nil {
			n, err = server.Read(buf)
		}
		if err == nil {
			_, err = server.Write(buf[:n])
		}
		done <- outcome{r, err}
	}()
	client := tls.Client(&pieces{Conn: near, size: v.pieces}, v.client)
	near.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 16)
	_, err := client.Write([]byte("again"))
	if err == nil {
		var n int
		if n, err = client.Read(buf); string(buf[:n]) != "again" {
			v.t.Errorf("got %q", buf[:n])
		}
	}
	s := <-done
	if err != nil || s.err != nil {
		v.t.Fatal(err, s.err)
	}
	if s.r.PeerID() != idA {
		v.t.Errorf("the peer is %q", s.r.PeerID())
	}
	return s.r
}

func (v *revisit) expect(resumed bool, curve tls.CurveID) {
	v.t.Helper()
	if r := v.come(); r.Resumed != resumed || r.Curve != curve {
		v.t.Errorf("resumed is %v, want %v; key exchange is %v, want %v", r.Resumed, resumed, r.Curve, curve)
	}
}

// TestMLKEMSessionsAreResumedWithX25519 looks at the key exchanges of sessions that were made under ML-KEM.
func TestMLKEMSessionsAreResumedWithX25519(t *testing.T) {
	for name, change := range map[string]func(*revisit){
		"as usual":                   func(*revisit) {},
		"a hello in pieces":          func(v *revisit) { v.pieces = 300 },
		"no ALPN at the server":      func(v *revisit) { v.o.ALPN = nil },
		"no protocol in common":      func(v *revisit) { v.client.NextProtos = []string{"spdy"} },
		"another protocol than last": func(v *revisit) { v.o.ALPN = []string{"http/1.1", "h2"} },
		"the ticket alone":           func(v *revisit) { v.forgetful = true },
	} {
		t.Run(name, func(t *testing.T) {
			v := newRevisit(t)
			change(v)
			v.expect(false, tls.X25519MLKEM768)
			for range 3 {
				v.expect(true, tls.X25519)
			}
		})
	}
}

// TestMLKEMIsRenewed has the clock go on while a session is resumed over and over.
func TestMLKEMIsRenewed(t *testing.T) {
	for _, forgetful := range []bool{false, true} {
		v := newRevisit(t)
		v.forgetful = forgetful
		v.renewed()
	}
}

func (v *revisit) renewed() {
	v.expect(false, tls.X25519MLKEM768)
	v.later = mlkemLasts / 2
	v.expect(true, tls.X25519)
	v.later = mlkemLasts
	v.expect(true, tls.X25519MLKEM768)
	v.later = mlkemLasts * 3 / 2
	v.expect(true, tls.X25519)
}

// TestMLKEMIsKept has cases in which a connection would be without ML-KEM altogether, or the operator wants it each time.
func TestMLKEMIsKept(t *testing.T) {
	t.Run("the session was made without", func(t *testing.T) {
		v := newRevisit(t)
		v.client.CurvePreferences = []tls.CurveID{tls.X25519}
		v.expect(false, tls.X25519)
		v.client.CurvePreferences = nil
		v.expect(true, tls.X25519MLKEM768)
		v.expect(true, tls.X25519)
	})
	t.Run("the session is not resumed", func(t *testing.T) {
		v := newRevisit(t)
		v.expect(false, tls.X25519MLKEM768)
		v.o.Tickets.keys = nil
		v.expect(false, tls.X25519MLKEM768)
		v.server, v.o.Shown = nil, func() [32]byte { return [32]byte{1} }
		v.expect(false, tls.X25519MLKEM768)
	})
	t.Run("X25519 is not allowed", func(t *testing.T) {
		v := newRevisit(t)
		v.o.Curves = []tls.CurveID{tls.X25519MLKEM768}
		v.expect(false, tls.X25519MLKEM768)
		v.expect(true, tls.X25519MLKEM768)
	})
	t.Run("the client sends no half of X25519", func(t *testing.T) {
		v := newRevisit(t)
		v.client.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768}
		v.expect(false, tls.X25519MLKEM768)
		v.expect(true, tls.X25519MLKEM768)
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		v := newRevisit(t)
		v.o.MaxVersion = tls.VersionTLS12
		v.expect(false, tls.X25519)
		v.expect(true, tls.X25519) // that of the session
	})
}

// helloBytes is what a client sends first.
func helloBytes(t testing.TB, config *tls.Config) []byte {
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		tls.Client(near, config).Handshake() //nolint:errcheck // nobody answers
	}()
	buf := make([]byte, 16<<10)
	n, err := far.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	return buf[:n]
}

func TestParseOffer(t *testing.T) {
	hello := helloBytes(t, &tls.Config{ServerName: "x", ClientSessionCache: tls.NewLRUClientSessionCache(1)})
	o, ok := parseOffer(hello)
	if !ok || o.ticket != nil || !o.ephemeral || !o.x25519 {
		t.Errorf("a usual hello: %+v %v", o, ok)
	}
	if o, ok := parseOffer(helloBytes(t, &tls.Config{ServerName: "x", CurvePreferences: []tls.CurveID{tls.CurveP256}})); !ok || o.x25519 {
		t.Errorf("a hello without X25519: %+v %v", o, ok)
	}
	for n := range hello {
		if _, ok := parseOffer(hello[:n]); ok {
			t.Errorf("%d of %d bytes were enough", n, len(hello))
		}
	}
}

// FuzzParseOffer only wants no panic and no views outside of the input.
func FuzzParseOffer(f *testing.F) {
	f.Add(helloBytes(f, &tls.Config{ServerName: "x"}))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, ok := parseOffer(b); ok && len(o.ticket) > 0 && !bytes.Contains(b, o.ticket) {
			t.Errorf("a ticket that is not in the hello")
		}
	})
}
