package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/xds"
)

// tallied keeps how long changes took to their last client.
type tallied struct {
	NoMetrics
	mu   sync.Mutex
	took []time.Duration
}

func (m *tallied) Distributed(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = append(m.took, d)
}

// begin announces a change and offers it, as the control plane does.
func begin(s *Server, p *fakeProvider, revision uint64, version string) {
	s.Ledger().Begin(revision, time.Now())
	p.set(revision, version)
}

// A change has come to its end when the last client that was there has answered
// it, taken or refused, or has left; newcomers don't count, and neither does what
// nobody lacked.
func TestTimeToTheLastClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &tallied{}
		s, p, _ := newFake(Limits{})
		s.ledger.changes.metrics = m
		quick, slow, leaves := open(t.Context(), s), open(t.Context(), s), open(t.Context(), s)
		for i, w := range []*wire{quick, slow, leaves} {
			w.ask(string(rune('a'+i)), xds.ClusterType, "")
			w.ask("", xds.ClusterType, (<-w.out).Nonce)
		}
		synctest.Wait()
		begin(s, p, 2, "2")
		time.Sleep(time.Second)
		newcomer := open(t.Context(), s)
		newcomer.ask("d", xds.ClusterType, "")
		<-newcomer.out
		quick.ask("", xds.ClusterType, (<-quick.out).Nonce)
		synctest.Wait()
		begin(s, p, 3, "3")
		quick.ask("", xds.ClusterType, (<-quick.out).Nonce)
		time.Sleep(time.Second)
		slow.ask("", xds.ClusterType, (<-slow.out).Nonce) // 2; 3 follows
		synctest.Wait()
		if len(m.took) != 0 {
			t.Errorf("before the last client has answered: %v", m.took)
		}
		leaves.done()
		synctest.Wait()
		if !slices.Equal(m.took, []time.Duration{2 * time.Second}) {
			t.Errorf("change 2 took %v", m.took)
		}
		time.Sleep(time.Second)
		slow.refuse(xds.ClusterType, (<-slow.out).Nonce, "a is bad")
		synctest.Wait()
		if !slices.Equal(m.took, []time.Duration{2 * time.Second, 2 * time.Second}) {
			t.Errorf("change 3 took %v", m.took)
		}
		begin(s, p, 3, "3")
		if open := s.ledger.changes.open; len(open) != 0 {
			t.Errorf("still open: %+v", open)
		}
		s.Close()
		for _, w := range []*wire{quick, slow, leaves, newcomer} {
			<-w.err
		}
	})
}

// A client that never answers keeps a bounded number of changes open.
func TestOpenChangesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &tallied{}
		s, p, _ := newFake(Limits{})
		s.ledger.changes.metrics = m
		w := open(t.Context(), s)
		w.ask("a", xds.ClusterType, "")
		w.ask("", xds.ClusterType, (<-w.out).Nonce)
		synctest.Wait()
		for r := range uint64(maxOpen + 10) {
			begin(s, p, r+2, "2")
		}
		if open := len(s.ledger.changes.open); open != maxOpen || len(m.took) != 10 {
			t.Errorf("%d open, %d over", open, len(m.took))
		}
		w.done()
		<-w.err
		if open := len(s.ledger.changes.open); open != 0 || len(m.took) != maxOpen+10 {
			t.Errorf("after it has left: %d open, %d over", open, len(m.took))
		}
		s.Close()
	})
}

func TestDifferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, _ := newFake(Limits{})
		w := open(t.Context(), s)
		w.ask("a", xds.ClusterType, "")
		w.ask("", xds.ClusterType, (<-w.out).Nonce)
		synctest.Wait()
		stream := s.Ledger().Clients()[0].Stream
		if list, total, err := s.Ledger().Differences(stream, 10); err != nil || total != 0 || len(list) != 0 {
			t.Errorf("in sync: %v, %d, %v", list, total, err)
		}
		p.set(2, "2")
		<-w.out
		list, total, err := s.Ledger().Differences(stream, 10)
		if err != nil || total != 1 || list[0].Name != "a" || list[0].Wanted.Version != "2" || list[0].Has.Version != "1" || !list[0].Sent || list[0].Refused {
			t.Errorf("on the way: %+v, %d, %v", list, total, err)
		}
		w.done()
		<-w.err
		if _, _, err := s.Ledger().Differences(stream, 10); err != ErrGone {
			t.Errorf("of a client that is gone: %v", err)
		}
		s.Close()
	})
}

// It is known since when a client has a revision: exactly of the newest, and never
// earlier than it was of older ones.
func TestHistoryIsThinned(t *testing.T) {
	c := ClientStatus{}
	at := time.Unix(0, 0)
	for r := range uint64(10_000) {
		c.History = append(thinned(c.History), Reached{Revision: r + 1, Time: at.Add(time.Duration(r+1) * time.Second)})
	}
	if len(c.History) > maxHistory {
		t.Fatalf("%d entries", len(c.History))
	}
	for revision := uint64(1); revision <= 10_000; revision++ {
		since, has := c.HasSince(revision)
		late := since.Sub(at.Add(time.Duration(revision) * time.Second))
		if age := time.Duration(10_000-revision) * time.Second; !has || late < 0 || late > age*3/4 {
			t.Fatalf("revision %d of 10,000: %v late, %v", revision, late, has)
		}
	}
	if _, has := c.HasSince(10_001); has {
		t.Error("it has what has not been made")
	}
}

// Who waits for a revision is told of the refusals that it may have caused, each
// with the words that go with it, and of no others.
func TestWaitTellsWhatTheRevisionCaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, _ := newFake(Limits{})
		w := open(t.Context(), s)
		w.ask("a", xds.ClusterType, "")
		w.ask("", xds.ClusterType, (<-w.out).Nonce)
		synctest.Wait()
		for i, reason := range []string{"a: not this", "a: nor that"} {
			revision := uint64(i + 2)
			p.set(revision, fmt.Sprint(revision))
			w.refuse(xds.ClusterType, (<-w.out).Nonce, reason)
			synctest.Wait()
			got, err := s.Ledger().WaitRevision(t.Context(), revision)
			if err != nil || len(got.Refused) != 1 || got.Refused[0].Nack.Reason != reason || !slices.Equal(got.Refused[0].Nack.Names, []string{"a"}) ||
				got.Refused[0].Nack.Revision != revision || got.Refused[0].Nack.Time.IsZero() {
				t.Errorf("revision %d: %+v, %v", revision, got, err)
			}
		}
		if got, err := s.Ledger().WaitRevision(t.Context(), 1); err != nil || len(got.Refused) != 0 || got.Acked != 1 {
			t.Errorf("of what it took it refused %+v, %v", got, err)
		}
		w.done()
		<-w.err
		s.Close()
	})
}

// Revisions that bring a client nothing are acknowledged as soon as it has all of the one before, whether that is so when
// they come or later, and it isn't blamed on them what it refuses afterwards.
func TestStatesThatLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &tallied{}
		s, p, _ := newFake(Limits{})
		s.ledger.changes.metrics = m
		last := func(revision uint64) {
			s.Ledger().Begin(revision, time.Now())
			p.last(revision)
			s.Ledger().Settle()
		}
		acked := func(revision uint64, refused int) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got, err := s.Ledger().WaitRevision(ctx, revision)
			if err != nil || got.Acked != 1 || len(got.Refused) != refused {
				t.Errorf("revision %d: %+v, %v", revision, got, err)
			}
		}
		w := open(t.Context(), s)
		w.ask("a", xds.ClusterType, "")
		f := <-w.out
		last(2) // while the first response is under way
		w.ask("", xds.ClusterType, f.Nonce)
		synctest.Wait()
		acked(2, 0)
		last(3) // at rest
		acked(3, 0)
		if line := s.Ledger().Clients()[0].Types[0]; line.Status() != Synced || line.AckedRevision != 3 {
			t.Errorf("%+v", line)
		}
		begin(s, p, 5, "5")
		w.refuse(xds.ClusterType, (<-w.out).Nonce, "a: no")
		synctest.Wait()
		acked(3, 0)
		acked(4, 1) // it came with 5
		acked(5, 1)
		last(6)
		acked(6, 0)
		if len(m.took) != 3 {
			t.Errorf("%d of 3 changes have come to their end", len(m.took))
		}
		w.done()
		<-w.err
		s.Close()
	})
}
