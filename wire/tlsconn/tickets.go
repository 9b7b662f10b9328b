package tlsconn

import (
	"crypto/rand"
	"crypto/tls"
	"sync"
	"time"
)

// ticketKeysKept is how many generations of keys can still decrypt tickets.
const ticketKeysKept = 3

// Tickets holds the keys of session tickets and makes a new one from time to time. Tickets of the last two keys before
// it are still accepted. Beside the keys it holds the sessions of the tickets that were made last. One Tickets may serve many
// Servers: what a ticket remembers is verified again by the server that it is shown to.
type Tickets struct {
	every  time.Duration
	recall recall // of tickets that its keys can decrypt

	mu         sync.Mutex
	keys       [][32]byte
	generation uint64
	made       time.Time
}

// NewTickets returns keys that are replaced each time that every has passed; 0 means an hour.
func NewTickets(every time.Duration) *Tickets {
	if every <= 0 {
		every = time.Hour
	}
	return &Tickets{every: every}
}

// current returns the keys, newest first, and their generation, after making a new one if it is time.
func (t *Tickets) current(now time.Time) ([][32]byte, uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) == 0 || now.Sub(t.made) >= t.every {
		var key [32]byte
		if _, err := rand.Read(key[:]); err != nil {
			return nil, 0, err
		}
		old := t.keys[:min(len(t.keys), ticketKeysKept-1)]
		t.keys = append([][32]byte{key}, old...)
		t.made = now
		t.generation++
		t.recall.forget(t.generation + 1 - uint64(len(t.keys)))
	}
	return t.keys, t.generation, nil
}

// ticketUser keeps the keys of some configurations up to date.
type ticketUser struct {
	source  *Tickets
	configs []*tls.Config

	mu         sync.Mutex
	generation uint64
}

// sealing is the generation of the key that tickets are sealed with, or the one before it while it changes.
func (u *ticketUser) sealing() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.generation
}

func (u *ticketUser) refresh(now time.Time) error {
	if u.source == nil {
		return nil
	}
	keys, generation, err := u.source.current(now)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if generation == u.generation {
		return nil
	}
	for _, c := range u.configs {
		c.SetSessionTicketKeys(keys)
	}
	u.generation = generation
	return nil
}
