package tlsconn

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotAllowed is what the functions of this file return for a peer whose names don't match.
var ErrNotAllowed = errors.New("no name of the peer is allowed")

// Names is a list of allowed names, as DestinationRule's subjectAltNames and Envoy's match_typed_subject_alt_names
// have them. An empty list allows everybody.
type Names struct {
	Exact  []string
	Prefix []string
	Suffix []string
}

// Allow is a function for Options.Authorize.
func (n Names) Allow(p *Peer) error {
	if len(n.Exact)+len(n.Prefix)+len(n.Suffix) == 0 {
		return nil
	}
	for _, names := range [2][]string{p.URIs, p.DNSNames} {
		for _, name := range names {
			if n.match(name) {
				return nil
			}
		}
	}
	return fmt.Errorf("peer %q: %w", append(append([]string(nil), p.URIs...), p.DNSNames...), ErrNotAllowed)
}

func (n Names) match(name string) bool {
	for _, want := range n.Exact {
		if name == want {
			return true
		}
	}
	for _, want := range n.Prefix {
		if strings.HasPrefix(name, want) {
			return true
		}
	}
	for _, want := range n.Suffix {
		if strings.HasSuffix(name, want) {
			return true
		}
	}
	return false
}
