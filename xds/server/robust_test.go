package server

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// slowAttach makes the first configuration of each new client take its time.
type slowAttach struct {
	*fakeProvider
	takes time.Duration
}

func (p slowAttach) Attach(ctx context.Context, c Client) (Session, error) {
	select {
	case <-time.After(p.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.fakeProvider.Attach(ctx, c)
}

// While a thousand clients reconnect at once, those that are served already get
// a change at once, and the thousand are served in the order of their arrival.
func TestReconnectStormStallsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const newcomers, admitted, takes = 1000, 8, 100 * time.Millisecond
		s, p, _ := newFake(Limits{Admitted: admitted})
		served := open(t.Context(), s)
		served.ask("served", xds.ClusterType, "")
		f := <-served.out
		served.ask("", xds.ClusterType, f.Nonce)
		s.cfg.Provider = slowAttach{p, takes}
		all := make([]*wire, newcomers)
		for i := range all {
			all[i] = open(t.Context(), s)
			all[i].ask(fmt.Sprint(i), xds.ClusterType, "")
			synctest.Wait()
			go all[i].follow()
		}
		for round := range 50 {
			time.Sleep(takes / 3)
			began := time.Now()
			version := fmt.Sprint(round + 2)
			p.set(uint64(round+2), version)
			f := <-served.out
			if took := time.Since(began); took != 0 || f.Resources[0].Version != version {
				t.Fatalf("in the storm, a change took %v and brought %s", took, f.Resources[0].Version)
			}
			served.ask("", xds.ClusterType, f.Nonce)
		}
		time.Sleep(newcomers / admitted * takes)
		synctest.Wait()
		p.mu.Lock()
		attached := p.attached[1:]
		p.mu.Unlock()
		if len(attached) != newcomers {
			t.Fatalf("%d of %d were admitted", len(attached), newcomers)
		}
		for i, name := range attached {
			// Those that are admitted together may finish in any order.
			if n := number(name); n < i-admitted || n > i+admitted {
				t.Fatalf("client %s was admitted as number %d", name, i)
			}
		}
		s.Close()
		for _, w := range append(all, served) {
			<-w.err
		}
	})
}

// follow acknowledges everything.
func (w *wire) follow() {
	for {
		select {
		case f := <-w.out:
			m := &message{}
			m.TypeURL, m.Nonce = f.TypeURL, f.Nonce
			select {
			case w.in <- m:
			case <-w.ctx.Done():
				return
			}
		case <-w.ctx.Done():
			return
		}
	}
}

func number(name string) (n int) {
	_, _ = fmt.Sscan(name, &n)
	return n
}

// Clients that connect and then do nothing keep a newcomer waiting for a moment
// only.
func TestIdleClientsDoNotHoldUpAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newFake(Limits{Admitted: 1, AdmittedIdle: 100 * time.Millisecond})
		var idle []*wire
		for i := range 20 {
			w := open(t.Context(), s)
			w.ask(fmt.Sprint("idle", i), xds.ClusterType, "")
			synctest.Wait()
			idle = append(idle, w)
		}
		began := time.Now()
		w := open(t.Context(), s)
		w.ask("honest", xds.ClusterType, "")
		<-w.out
		if took := time.Since(began); took > 20*100*time.Millisecond {
			t.Errorf("it waited %v", took)
		}
		s.Close()
		for _, w := range append(idle, w) {
			<-w.err
		}
	})
}

// A client that asks without end is read no faster than it may ask, and others
// are not slowed down.
func TestFloodingClientIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newFake(Limits{Requests: 10})
		w := open(t.Context(), s)
		w.ask("flood", xds.EndpointType, "", "x")
		go func() {
			for range w.out { //nolint:revive // frames are of no interest here
			}
		}()
		began := time.Now()
		for i := range 500 {
			w.ask("", xds.EndpointType, "", fmt.Sprint(i%10))
		}
		// 10 a second after a burst of 50; the last are on their way.
		if took := time.Since(began).Round(time.Second); took < 44*time.Second || took > 46*time.Second {
			t.Errorf("500 requests took %v", took)
		}
		w.done()
		<-w.err
		close(w.out)
		s.Close()
	})
}

func TestLongNamesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newFake(Limits{})
		long := strings.Repeat("x", 2000)
		messages := []*message{{}, {}, {}, {}, {}}
		messages[0].TypeURL = long
		messages[1].Subscribe = []string{long}
		messages[2].Unsubscribe = []string{long}
		messages[3].Names = []string{"a", long}
		messages[4].Initial = map[string]string{"a": long}
		for i, m := range messages {
			w := open(t.Context(), s)
			w.in <- m
			if err := <-w.err; status.Code(err) != codes.InvalidArgument {
				t.Errorf("message %d: %v", i, err)
			}
		}
		s.Close()
	})
}

// One identity can't use up the streams of all.
func TestStreamsOfOneIdentityAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newFake(Limits{StreamsOfOne: 2})
		s.cfg.Authenticate = func(_ context.Context, n *xds.Node) (Peer, error) {
			return Peer{ID: "spiffe://cluster.local/ns/default/sa/" + n.ID[:1], Source: "certificate", Addr: &net.UnixAddr{}}, nil
		}
		connect := func(name string) *wire {
			w := open(t.Context(), s)
			w.ask(name, xds.ClusterType, "")
			return w
		}
		a1, a2 := connect("a1"), connect("a2")
		<-a1.out
		<-a2.out
		if err := <-connect("a3").err; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("third stream of one: %v", err)
		}
		b := connect("b1")
		<-b.out
		a1.done()
		<-a1.err
		a4 := connect("a4")
		<-a4.out
		s.Close()
		for _, w := range []*wire{a2, b, a4} {
			<-w.err
		}
	})
}

// What all clients together subscribe to is bounded. Who asks for more is sent
// away, those who have theirs stay, and what goes makes room.
func TestSubscriptionsOfAllAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 100 << 10
		s, _, _ := newFake(Limits{HeldBytes: limit})
		million := func(w *wire, node string) error {
			for i := range 1000 {
				names := make([]string, 1000)
				for k := range names {
					names[k] = fmt.Sprintf("%s-%d-%d", node, i, k)
				}
				m := &message{Request: machine.Request{TypeURL: xds.EndpointType, Subscribe: names}, node: &corev3.Node{Id: node}}
				select {
				case w.in <- m:
				case err := <-w.err:
					return err
				}
			}
			return nil
		}
		calm := open(t.Context(), s)
		calm.ask("calm", xds.EndpointType, "", "x", "y")
		<-calm.out
		greedy := open(t.Context(), s)
		if err := million(greedy, "greedy"); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("who asks for too much ended with %v", err)
		}
		calm.ask("", xds.EndpointType, "", "z")
		synctest.Wait()
		if held := s.held.Load(); held <= 0 || held > 1000 {
			t.Errorf("%d bytes are held for three names", held)
		}
		calm.done()
		<-calm.err
		if held := s.held.Load(); held != 0 {
			t.Errorf("%d bytes are held for nobody", held)
		}
		s.Close()
	})
}

// TestStarvedClientsStay: a client that is alive but slow is given up by nothing sooner than by the limit that is meant
// for slow clients, which grows with what it has to take.
func TestStarvedClientsStay(t *testing.T) {
	l := Default()
	if pingTimeout < 2*l.SendTimeout {
		t.Errorf("a connection is closed after %v without an answer, a client may take %v for a response", pingTimeout, l.SendTimeout)
	}
	if l.HelloTimeout <= l.SendTimeout {
		t.Errorf("a client must say hello within %v, and may take %v for a response", l.HelloTimeout, l.SendTimeout)
	}
	if clientPingsEvery > pingEvery/4 {
		t.Errorf("clients that ping every %v as gRPC's and Envoy's may are sent away when pings that were delayed come within %v", pingEvery, clientPingsEvery)
	}
}
