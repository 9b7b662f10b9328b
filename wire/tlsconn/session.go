package tlsconn

import (
	"bytes"
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

// stampSize is the length of an epoch and the second until which the peer's chain is valid.
const stampSize = sha256.Size + 8

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

// stamp is what a session carries. Nothing is known of the validity of a peer without certificates.
func (o *Options) stamp(until time.Time) []byte {
	epoch := o.epoch()
	return binary.BigEndian.AppendUint64(epoch[:], uint64(max(0, until.Unix())))
}

// fresh says whether a session bears a stamp of this epoch and its peer's certificates are still valid.
func (o *Options) fresh(s *tls.SessionState) bool {
	epoch := o.epoch()
	for _, e := range s.Extra {
		if len(e) == stampSize && bytes.Equal(e[:len(epoch)], epoch[:]) {
			return o.now().Unix() < int64(binary.BigEndian.Uint64(e[len(epoch):]))
		}
	}
	return false
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
	state.Extra = append(state.Extra, s.o.stamp(validUntil(cs.PeerCertificates)))
	return s.config.EncryptTicket(cs, state)
}

// open reads a ticket. One that can't be used leads to a full handshake, not to an error.
func (s *Server) open(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	state, err := s.config.DecryptTicket(ticket, cs)
	if err != nil || state == nil || !s.o.fresh(state) {
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
	state.Extra = append(state.Extra, c.o.stamp(c.until))
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
