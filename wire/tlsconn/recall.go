package tlsconn

import (
	"crypto/tls"
	"sync"
)

// recalledSessions bounds what a recall holds: so many sessions in each of its two generations.
const recalledSessions = 512

// ticketID tells tickets apart: the end of a ticket is a MAC of all the rest, which begins with random bytes. Somebody who
// puts a known end on other bytes gets the session that he could have had with the right ones, and lacks its secret.
type ticketID [32]byte

func identify(ticket []byte) (id ticketID, ok bool) {
	if len(ticket) <= len(id) {
		return id, false
	}
	copy(id[:], ticket[len(ticket)-len(id):])
	return id, true
}

// recall remembers the sessions that tickets were made of, so that a ticket that comes back needn't be decrypted, nor its
// certificates be parsed. The ticket itself says all the same, for when its session isn't remembered any more. Sessions are
// looked at before they are resumed as those out of tickets are.
type recall struct {
	mu sync.Mutex
	// Two generations, as in Verifier.
	young, old map[ticketID]recalled
}

// recalled is a session that nobody changes, and the generation of the key that its ticket was sealed with.
type recalled struct {
	state      *tls.SessionState
	generation uint64
}

// remember takes a session over. It must not be changed any more.
func (r *recall) remember(ticket []byte, state *tls.SessionState, generation uint64) {
	id, ok := identify(ticket)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(id, recalled{state: state, generation: generation})
}

func (r *recall) putLocked(id ticketID, s recalled) {
	if r.young == nil || len(r.young) >= recalledSessions {
		r.old, r.young = r.young, make(map[ticketID]recalled)
	}
	r.young[id] = s
}

// find returns a session of one's own, or nil.
func (r *recall) find(ticket []byte) *tls.SessionState {
	id, ok := identify(ticket)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.young[id]
	if !ok {
		if s, ok = r.old[id]; !ok {
			return nil
		}
		r.putLocked(id, s)
	}
	own := *s.state
	return &own
}

// forget drops the sessions of keys before a generation.
func (r *recall) forget(before uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range [2]map[ticketID]recalled{r.young, r.old} {
		for id, s := range m {
			if s.generation < before {
				delete(m, id)
			}
		}
	}
}
