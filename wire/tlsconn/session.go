package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"time"
)

// A session is resumed only in the epoch that it was made in: while the same is trusted and the same certificates are
// shown. Otherwise a ticket would carry a peer's or our own old certificate past its replacement, or, where that no
// longer verifies, make connections fail that a full handshake would let succeed. What is resumed is verified again all
// the same, in VerifyConnection.

//
// A session that was made under ML-KEM is resumed with X25519 alone, for as long as mlkemLasts: the session's own secret,
// which goes into the new keys, is one that quantum computers don't get from recorded traffic, and X25519 sees to it that
// a stolen ticket key doesn't open it. That saves the resumed handshake a third of its time. It happens only where the
// configuration allows X25519 at all.

// mlkemLasts is how long after an agreement by ML-KEM its sessions, and those that they were resumed to, do without
// another one.
const mlkemLasts = time.Hour

// stamp is what a session carries.
type stamp struct {
	epoch [sha256.Size]byte
	until int64 // the second in which the first of the peer's certificates expires
	// mlkem is the second of the last agreement by ML-KEM that went into the session's secret; 0 is never.
	mlkem int64
	suite uint16
}

const stampSize = sha256.Size + 8 + 8 + 2

func (s *stamp) encode() []byte {
	b := append(make([]byte, 0, stampSize), s.epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(max(0, s.until)))
	b = binary.BigEndian.AppendUint64(b, uint64(max(0, s.mlkem)))
	return binary.BigEndian.AppendUint16(b, s.suite)
}

// stampOf returns the stamp that a session bears.
func stampOf(s *tls.SessionState) (stamp, bool) {
	for _, e := range s.Extra {
		if len(e) != stampSize {
			continue
		}
		out := stamp{until: int64(binary.BigEndian.Uint64(e[sha256.Size:])), mlkem: int64(binary.BigEndian.Uint64(e[sha256.Size+8:])),
			suite: binary.BigEndian.Uint16(e[sha256.Size+16:])}
		copy(out.epoch[:], e)
		return out, true
	}
	return stamp{}, false
}

// epoch identifies what sessions depend on.
func (o *Options) epoch() [sha256.Size]byte {
	var b [8 + sha256.Size]byte
	if o.Verifier != nil {
		binary.BigEndian.PutUint64(b[:], o.Verifier.trust().Version)
	}
	if o.Shown != nil {
		shown := o.Shown()
		copy(b[8:], shown[:])
	}
	return sha256.Sum256(b[:])
}

// fresh says whether a session bears a stamp of this epoch and its peer's certificates are still valid.
func (o *Options) fresh(s *tls.SessionState) bool {
	st, ok := stampOf(s)
	return ok && st.epoch == o.epoch() && o.now().Unix() < st.until
}

// validUntil is when the first certificate of a chain expires.
func validUntil(chain []*x509.Certificate) time.Time {
	until := time.Unix(1<<40, 0)
	for _, c := range chain {
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return until
}

// seal makes the ticket of a session.
func (s *Server) seal(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	var mlkem int64
	if isHybrid(cs.CurveID) {
		mlkem = s.o.now().Unix()
	}
	return s.sealStamped(cs, state, mlkem)
}

func (s *Server) sealStamped(cs tls.ConnectionState, state *tls.SessionState, mlkem int64) ([]byte, error) {
	st := stamp{epoch: s.o.epoch(), until: validUntil(cs.PeerCertificates).Unix(), mlkem: mlkem, suite: cs.CipherSuite}
	state.Extra = append(state.Extra, st.encode())
	generation := s.tickets.sealing()
	ticket, err := s.config.EncryptTicket(cs, state)
	if err == nil && cs.Version >= tls.VersionTLS13 {
		s.o.Tickets.recall.remember(ticket, state, generation) // crypto/tls has no more use for it
	}
	return ticket, err
}

// open finds a ticket's session. One that can't be used leads to a full handshake, not to an error.
func (s *Server) open(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	state := s.o.Tickets.recall.find(ticket)
	if state == nil {
		var err error
		if state, err = s.config.DecryptTicket(ticket, cs); err != nil || state == nil {
			return nil, nil
		}
	}
	if !s.o.fresh(state) {
		return nil, nil
	}
	return state, nil
}

// sessions is what one connection sees of its client's sessions: those of the address that it goes to.
type sessions struct {
	o       *Options
	below   tls.ClientSessionCache
	key     string
	until   time.Time // of the server's chain; set before the server's tickets come
	offered bool
}

// Get implements tls.ClientSessionCache.
func (c *sessions) Get(string) (*tls.ClientSessionState, bool) {
	s, ok := c.below.Get(c.key)
	if !ok || s == nil {
		return nil, false
	}
	if _, state, err := s.ResumptionState(); err != nil || state == nil || !c.o.fresh(state) {
		c.forget()
		return nil, false
	}
	c.offered = true
	return s, true
}

// Put implements tls.ClientSessionCache.
func (c *sessions) Put(_ string, s *tls.ClientSessionState) {
	if s == nil {
		c.forget()
		return
	}
	ticket, state, err := s.ResumptionState()
	if err != nil || state == nil {
		return
	}
	st := stamp{epoch: c.o.epoch(), until: c.until.Unix()}
	state.Extra = append(state.Extra, st.encode())
	if s, err = tls.NewResumptionState(ticket, state); err == nil {
		c.below.Put(c.key, s)
	}
}

func (c *sessions) forget() { c.below.Put(c.key, nil) }

// resuming returns a configuration for one connection, which resumes the sessions of an address. Endpoints of a cluster
// share the server name but not their ticket keys.
func (cl *Client) resuming(address string) (*tls.Config, *sessions) {
	kept := &sessions{o: &cl.o.Options, below: cl.config.ClientSessionCache, key: address}
	config := cl.config.Clone()
	config.ClientSessionCache = kept
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		kept.until = validUntil(cs.PeerCertificates)
		return cl.config.VerifyConnection(cs)
	}
	return config, kept
}
