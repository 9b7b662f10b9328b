package compile

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"weak"
)

// shared knows what has been parsed and is still in use: a bootstrap with a hundred clusters that show the same certificate
// and trust the same roots has them parsed once, and holds them once. It keeps nothing alive but certificates of authorities,
// so that no key outlives the resource that named it.
type shared struct {
	mu    sync.Mutex
	pairs map[digest]weak.Pointer[tls.Certificate]
	pools map[digest]pool
}

type digest [sha256.Size]byte

// pool is a pool and what is in it. Nobody adds to it any more.
type pool struct {
	pool  weak.Pointer[x509.CertPool]
	certs []*x509.Certificate
}

// sharedLimit is how much may be known before what isn't in use any more is dropped.
const sharedLimit = 64

// digestOf tells lists of texts apart.
func digestOf(texts ...[]byte) digest {
	h := sha256.New()
	for _, t := range texts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(t)))
		h.Write(length[:])
		h.Write(t)
	}
	return digest(h.Sum(nil))
}

// pair parses a chain and its key. Nobody may change what it returns.
func (s *shared) pair(chain, key []byte) (*tls.Certificate, error) {
	id := digestOf(chain, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.pairs[id].Value(); known != nil {
		return known, nil
	}
	parsed, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	if parsed.Leaf == nil {
		if parsed.Leaf, err = x509.ParseCertificate(parsed.Certificate[0]); err != nil {
			return nil, err
		}
	}
	for id, p := range s.pairs {
		if len(s.pairs) >= sharedLimit && p.Value() == nil {
			delete(s.pairs, id)
		}
	}
	if s.pairs == nil {
		s.pairs = map[digest]weak.Pointer[tls.Certificate]{}
	}
	s.pairs[id] = weak.Make(&parsed)
	return &parsed, nil
}

// roots parses roots. Nobody may change what it returns.
func (s *shared) roots(text []byte) (*x509.CertPool, []*x509.Certificate, error) {
	id := digestOf(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.pools[id]
	if p := known.pool.Value(); p != nil {
		return p, known.certs, nil
	}
	parsed, certs, err := parseRoots(text)
	if err != nil {
		return nil, nil, err
	}
	for id, p := range s.pools {
		if len(s.pools) >= sharedLimit && p.pool.Value() == nil {
			delete(s.pools, id)
		}
	}
	if s.pools == nil {
		s.pools = map[digest]pool{}
	}
	s.pools[id] = pool{pool: weak.Make(parsed), certs: certs}
	return parsed, certs, nil
}
