package server

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

// served is the server on a real connection.
func served(t *testing.T, s *Server) discoveryv3.AggregatedDiscoveryServiceClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(Options()...)
	s.Register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		conn.Close()
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
}

// large is a state with one cluster that is more than gRPC sends to who doesn't
// read.
func large(revision uint64, size int) *xds.State {
	r := xds.FromAny("a", &anypb.Any{TypeUrl: xds.ClusterType, Value: make([]byte, size)})
	return xds.NewState(revision, time.Now(), xds.NewSet(xds.ClusterType, []*xds.Resource{r}))
}

// A client that asks and never reads is sent away though gRPC has taken all that
// it was sent, nothing of it is counted afterwards, and who shares its connection
// is served.
func TestClientThatNeverReadsIsSentAway(t *testing.T) {
	s, p, _ := newFake(Limits{SendTimeout: 50 * time.Millisecond})
	p.state = large(1, 300<<10)
	c := served(t, s)
	deaf, err := c.DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := deaf.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "deaf"}, TypeUrl: xds.ClusterType}); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waited := false; !waited || s.queued.Load() > 0; { // its frame is given to gRPC, and then it is sent away
		waited = waited || s.queued.Load() > 0
		<-tick.C
	}
	good, err := c.DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := good.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "good"}, TypeUrl: xds.ClusterType}); err != nil {
		t.Fatal(err)
	}
	answer, err := good.Recv()
	if err != nil || len(answer.GetResources()) != 1 {
		t.Fatalf("who reads got %d resources, %v", len(answer.GetResources()), err)
	}
	for s.queued.Load() > 0 {
		<-tick.C
	}
	// What had come before it was sent away may be read still.
	for err == nil {
		_, err = deaf.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("who never read ended with %v", err)
	}
}

// A client that takes its time over much is waited for.
func TestLargeResponsesMayTakeLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newFake(Limits{SendTimeout: time.Second})
		var ended error
		o := &outbox{server: s, fail: func(err error) { ended = err }}
		end := o.give(10*slowest, 100)
		time.Sleep(10 * time.Second)
		if synctest.Wait(); ended != nil {
			t.Errorf("ended too soon: %v", ended)
		}
		end.Put(nil)
		time.Sleep(time.Minute)
		if synctest.Wait(); ended != nil || o.armed {
			t.Errorf("nothing waits, but %v, armed %t", ended, o.armed)
		}
		end = o.give(slowest, 100)
		o.give(0, 100)
		time.Sleep(time.Second)
		end.Put(nil) // the first in time, the second never
		time.Sleep(3 * time.Second)
		if synctest.Wait(); status.Code(ended) != codes.DeadlineExceeded {
			t.Errorf("the second never went, but %v", ended)
		}
		o.end()
		s.Close()
	})
}

// Answers about the control plane stand in memory for one client alone: what
// waits of them is bounded for all together.
func TestAnswersOfAllAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newFake(Limits{QueuedBytes: 20 << 10})
		s.cfg.Inspect = func(_ context.Context, _ Client, typeURL string, names []string) ([]*xds.Resource, error) {
			return []*xds.Resource{xds.FromAny(names[0], &anypb.Any{TypeUrl: typeURL, Value: make([]byte, 8<<10)})}, nil
		}
		first, second, third := open(t.Context(), s), open(t.Context(), s), open(t.Context(), s)
		first.ask("first", "istio.io/debug", "", "adsz")
		second.ask("second", "istio.io/debug", "", "adsz")
		synctest.Wait()
		third.ask("third", "istio.io/debug", "", "adsz")
		if err := <-third.err; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the third answer: %v", err)
		}
		<-first.out
		synctest.Wait()
		fourth := open(t.Context(), s)
		fourth.ask("fourth", "istio.io/debug", "", "adsz")
		<-fourth.out
		<-second.out
		if synctest.Wait(); s.queued.Load() != 0 {
			t.Errorf("%d bytes wait for nobody", s.queued.Load())
		}
		s.Close()
	})
}
