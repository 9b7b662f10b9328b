package tlsconn

import (
	"crypto/tls"
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

func ticketNumber(i int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 64), uint64(i))
}

func TestRecallIsBounded(t *testing.T) {
	var r recall
	used := ticketNumber(1 << 40)
	r.remember(used, &tls.SessionState{}, 1)
	for i := range 10 * recalledSessions {
		r.remember(ticketNumber(i), &tls.SessionState{}, 1)
		if i%100 == 0 && r.find(used) == nil {
			t.Fatalf("a session that is in use is forgotten after %d others", i)
		}
	}
	if n := len(r.young) + len(r.old); n > 2*recalledSessions {
		t.Errorf("%d sessions", n)
	}
	if r.find(ticketNumber(0)) != nil {
		t.Error("the first session is still there")
	}
	r.remember(make([]byte, 32), &tls.SessionState{}, 1)
	if r.find(make([]byte, 32)) != nil || r.find(nil) != nil {
		t.Error("what is no longer than a MAC is no ticket")
	}
}

// TestRecalledSessionsAreOnesOwn changes one and finds the next as it was.
func TestRecalledSessionsAreOnesOwn(t *testing.T) {
	var r recall
	r.remember(ticketNumber(1), &tls.SessionState{}, 1)
	first := r.find(ticketNumber(1))
	first.EarlyData = true
	if second := r.find(ticketNumber(1)); second == first || second.EarlyData {
		t.Error("two connections share a session's state")
	}
}

func TestRecallGoesWithTheKeys(t *testing.T) {
	tickets := NewTickets(time.Hour)
	now := time.Unix(1e9, 0)
	for i := range 6 {
		_, generation, err := tickets.current(now.Add(time.Duration(i) * time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		tickets.recall.remember(ticketNumber(i), &tls.SessionState{}, generation)
		for j := range i + 1 {
			if got, want := tickets.recall.find(ticketNumber(j)) != nil, j > i-ticketKeysKept; got != want {
				t.Errorf("after %d keys the session of key %d is there: %v", i+1, j+1, got)
			}
		}
	}
}

// TestSessionsAreResumedAtTheSameTime has many connections resume one session, which is remembered.
func TestSessionsAreResumedAtTheSameTime(t *testing.T) {
	v := newRevisit(t)
	v.expect(false, tls.X25519MLKEM768)
	kept, _ := v.client.ClientSessionCache.Get("server")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			mine := *v
			mine.client = v.client.Clone()
			mine.client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			mine.client.ClientSessionCache.Put("server", kept)
			for range 4 {
				mine.expect(true, tls.X25519)
			}
		})
	}
	wg.Wait()
}
