package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"testing"
	"time"

	"lateen.dev/lateen/wire/sock"
)

// mesh is a client and a server whose certificates and trust can be changed between connections.
type mesh struct {
	t               *testing.T
	ln              net.Listener
	client          *Client
	server          *Server
	clientLeaf      *tls.Certificate
	serverLeaf      *tls.Certificate
	atClient, atSrv *Trust
	allowed         Names // by the server
	tickets         *Tickets
	later           time.Duration // the client's clock is so far ahead
	forgetful       bool          // the server has its clients' tickets only
}

func newMesh(t *testing.T, ca *authority) *mesh {
	m := &mesh{t: t, clientLeaf: ca.leaf(idA, "", time.Hour), serverLeaf: ca.leaf(idB, "", time.Hour),
		atClient: ca.trust(), atSrv: ca.trust(), tickets: NewTickets(0)}
	var err error
	if m.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.ln.Close() })
	m.client = mustClient(t, ClientOptions{Sessions: 4,
		Options: Options{Verifier: NewVerifier(func() *Trust { return m.atClient }, 0), Time: func() time.Time { return time.Now().Add(m.later) },
			Shown: func() [sha256.Size]byte { return sha256.Sum256(m.clientLeaf.Certificate[0]) }},
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.clientLeaf, nil }})
	m.server = mustServer(t, ServerOptions{Tickets: m.tickets,
		Options: Options{Verifier: NewVerifier(func() *Trust { return m.atSrv }, 0), Authorize: func(p *Peer) error { return m.allowed.Allow(p) },
			Shown: func() [sha256.Size]byte { return sha256.Sum256(m.serverLeaf.Certificate[0]) }},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.serverLeaf, nil }})
	return m
}

// connect makes a connection and takes the server's ticket.
func (m *mesh) connect() (c, s outcome) {
	m.t.Helper()
	if m.forgetful {
		m.tickets.recall.forget(math.MaxUint64)
	}
	nc, err := net.Dial("tcp", m.ln.Addr().String())
	if err != nil {
		m.t.Fatal(err)
	}
	sc, err := m.ln.Accept()
	if err != nil {
		m.t.Fatal(err)
	}
	client, server := sock.New(nc), sock.New(sc)
	defer client.Close()
	defer server.Close()
	c, s = shake(client, server, m.client, m.server)
	if c.err == nil && s.err == nil {
		echoOnce(m.t, client, server, []byte("hello"))
	}
	return c, s
}

func (m *mesh) expect(resumed bool, clientID, serverID string) {
	m.t.Helper()
	c, s := m.connect()
	if c.err != nil || s.err != nil {
		m.t.Fatal(c.err, s.err)
	}
	if c.r.Resumed != resumed || s.r.Resumed != resumed {
		m.t.Errorf("resumed is %v and %v, want %v", c.r.Resumed, s.r.Resumed, resumed)
	}
	if c.r.PeerID() != serverID || s.r.PeerID() != clientID {
		m.t.Errorf("peers are %q and %q, want %q and %q", c.r.PeerID(), s.r.PeerID(), serverID, clientID)
	}
}

func TestSessionsDontOutliveWhatTheyDependOn(t *testing.T) {
	const idC = "spiffe://cluster.local/ns/default/sa/c"
	newer := func(ca *authority) *Trust {
		t := ca.trust()
		t.Version = 2
		return t
	}
	for name, change := range map[string]func(m *mesh, ca *authority) (clientID, serverID string){
		"the server's roots": func(m *mesh, ca *authority) (string, string) { m.atSrv = newer(ca); return idA, idB },
		"the client's roots": func(m *mesh, ca *authority) (string, string) { m.atClient = newer(ca); return idA, idB },
		"the client's certificate": func(m *mesh, ca *authority) (string, string) {
			m.clientLeaf = ca.leaf(idC, "", time.Hour)
			return idC, idB
		},
		"the server's certificate": func(m *mesh, ca *authority) (string, string) {
			m.serverLeaf = ca.leaf(idC, "", time.Hour)
			return idA, idC
		},
		"all ticket keys": func(m *mesh, _ *authority) (string, string) {
			m.tickets.keys = nil
			return idA, idB
		},
	} {
		for _, forgetful := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, forgetful %v", name, forgetful), func(t *testing.T) {
				ca := newAuthority(t)
				m := newMesh(t, ca)
				m.forgetful = forgetful
				m.expect(false, idA, idB)
				m.expect(true, idA, idB)
				clientID, serverID := change(m, ca)
				m.expect(false, clientID, serverID)
				m.expect(true, clientID, serverID)
			})
		}
	}
}

// TestNewAuthority has everybody move to another CA: sessions of the old one neither go on nor stand in the way.
func TestNewAuthority(t *testing.T) {
	old, ca := newAuthority(t), newAuthority(t)
	m := newMesh(t, old)
	m.expect(false, idA, idB)
	m.expect(true, idA, idB)
	m.atSrv = ca.trust()
	m.atSrv.Version = 2
	if c, s := m.connect(); s.err == nil || s.r.Resumed {
		t.Errorf("a client of the old CA is let in: %+v %+v", c, s)
	}
	m.clientLeaf, m.serverLeaf = ca.leaf(idA, "", time.Hour), ca.leaf(idB, "", time.Hour)
	m.atClient = ca.trust()
	m.atClient.Version = 2
	m.expect(false, idA, idB)
	m.expect(true, idA, idB)
}

// TestResumedPeersAreAuthorized changes the names that the server allows, under the feet of its sessions.
func TestResumedPeersAreAuthorized(t *testing.T) {
	m := newMesh(t, newAuthority(t))
	m.expect(false, idA, idB)
	m.expect(true, idA, idB)
	m.allowed = Names{Exact: []string{idB}}
	if _, s := m.connect(); !errors.Is(s.err, ErrNotAllowed) {
		t.Errorf("a name that is no longer allowed: %v", s.err)
	}
	m.allowed = Names{Exact: []string{idA}}
	m.connect() // with TLS 1.3 a client hears of a refusal after its handshake, so it may offer the session once more
	m.expect(true, idA, idB)
}

// TestExpiredServersSessionIsNotOffered keeps the client from resuming into a certificate that has run out.
func TestExpiredServersSessionIsNotOffered(t *testing.T) {
	ca := newAuthority(t)
	m := newMesh(t, ca)
	m.server.o.Shown = nil // the server itself doesn't mind
	m.serverLeaf = ca.leaf(idB, "", 10*time.Minute)
	m.expect(false, idA, idB)
	m.expect(true, idA, idB)
	m.later = 20 * time.Minute
	m.serverLeaf = ca.leaf(idB, "", time.Hour)
	m.expect(false, idA, idB)
}
