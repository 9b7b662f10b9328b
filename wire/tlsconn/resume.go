package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"slices"
	"time"
)

// isHybrid says whether a key exchange has ML-KEM in it.
func isHybrid(c tls.CurveID) bool {
	return c == tls.X25519MLKEM768 || c == tls.SecP256r1MLKEM768 || c == tls.SecP384r1MLKEM1024
}

// withoutHybrids returns the curves without ML-KEM. ok says that there are some with it, and X25519 among the others.
func withoutHybrids(curves []tls.CurveID) (rest []tls.CurveID, ok bool) {
	rest = slices.DeleteFunc(slices.Clone(curves), isHybrid)
	return rest, len(rest) < len(curves) && slices.Contains(rest, tls.X25519)
}

// resuming returns a configuration without ML-KEM for a client whose session will be resumed and was made with it; see
// session.go. It is certain that the session will be: else the client would get a full handshake without ML-KEM.
func (s *Server) resuming(hello *tls.ClientHelloInfo, alpn bool) *tls.Config {
	m, ok := hello.Conn.(*memory)
	if !ok || s.resume == nil {
		return nil
	}
	o, ok := parseOffer(m.recorded())
	if !ok || len(o.ticket) == 0 || !o.ephemeral || !o.x25519 {
		return nil
	}
	// A client that offers this suite gets it or another one with the same hash, which a session is bound to.
	if !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) || !slices.Contains(hello.CipherSuites, tls.TLS_AES_128_GCM_SHA256) {
		return nil
	}
	state, err := s.open(o.ticket, tls.ConnectionState{})
	if err != nil || state == nil {
		return nil
	}
	st, _ := stampOf(state)
	if s.o.now().Sub(time.Unix(st.mlkem, 0)) >= mlkemLasts || st.suite == tls.TLS_AES_256_GCM_SHA384 {
		return nil
	}
	base := s.resume
	if !alpn {
		base = s.resumeNoALPN
	}
	return s.only(base, o.ticket, state, st.mlkem)
}

var errNotResumed = errors.New("session was not resumed")

// only returns a configuration for one connection, which resumes one session and makes no other handshake.
func (s *Server) only(base *tls.Config, ticket []byte, state *tls.SessionState, mlkem int64) *tls.Config {
	config := base.Clone()
	config.UnwrapSession = func(identity []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
		if !bytes.Equal(identity, ticket) {
			return nil, nil
		}
		once := state
		state, ticket = nil, nil // the configuration lives as long as the connection
		return once, nil
	}
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		if !cs.DidResume {
			return errNotResumed
		}
		return base.VerifyConnection(cs)
	}
	config.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		return s.sealStamped(cs, state, mlkem)
	}
	return config
}
