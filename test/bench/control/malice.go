package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/xds"
)

// attacks are what malicious clients do, one at a time each, at random. It
// counts how each ended.
type attacks struct {
	mu    sync.Mutex
	ended map[string]map[string]int // by attack, by the server's word
}

// attack is one misbehaviour. It returns when the server ends it, or by itself.
type attack struct {
	name string
	run  func(ctx context.Context, s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, random *rand.Rand) error
}

func attackList() []attack {
	return []attack{
		{"never reads", neverReads},
		{"says nothing", saysNothing},
		{"floods with requests", floods},
		{"asks for a hundred thousand names again and again", asksForTooMuch},
		{"names of a megabyte", asksForGiants},
		{"types that nobody knows", asksForUnknownTypes},
		{"answers what was never sent", answersWrongly},
		{"refuses everything", refusesAll},
		{"begins with nonsense", beginsWithNonsense},
	}
}

// live attacks until ctx ends.
func (a *attacks) live(ctx context.Context, target func(*rand.Rand) string, random *rand.Rand) {
	list := attackList()
	for ctx.Err() == nil {
		address := target(random)
		if random.IntN(len(list)+1) == 0 {
			a.count("speaks no HTTP/2", speaksNoHTTP2(ctx, address))
		} else {
			one := list[random.IntN(len(list))]
			a.count(one.name, attackOnce(ctx, address, one, random))
		}
		pause(ctx, time.Duration(random.IntN(300))*time.Millisecond)
	}
}

func (a *attacks) count(name string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended == nil {
		a.ended = map[string]map[string]int{}
	}
	if a.ended[name] == nil {
		a.ended[name] = map[string]int{}
	}
	a.ended[name][status.Code(err).String()]++
}

func (a *attacks) report(out io.Writer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.ended)) {
		var words []string
		for _, word := range slices.Sorted(maps.Keys(a.ended[name])) {
			words = append(words, fmt.Sprintf("%s %d", word, a.ended[name][word]))
		}
		fmt.Fprintf(out, "  attack: %s: %s\n", name, strings.Join(words, ", "))
	}
}

// maxAttack bounds an attack that the server lets pass.
const maxAttack = 5 * time.Second

func attackOnce(ctx context.Context, address string, a attack, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, maxAttack)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	return a.run(ctx, s, random)
}

type deltaClient = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// greet asks for a type as a sidecar of some namespace would.
func greet(s deltaClient, random *rand.Rand, typeURL string, names ...string) error {
	id := fmt.Sprintf("sidecar~10.254.%d.%d~evil-%d.ns-%d~x", random.IntN(256), random.IntN(256), random.IntN(1000), random.IntN(namespaces))
	return s.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: id}, TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

// ended reads until the server ends the stream, answering with answer, or not
// at all if that is nil.
func ended(s deltaClient, answer func(*discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if answer != nil {
			if err := s.Send(answer(r)); err != nil {
				answer = nil // receiving tells why
			}
		}
	}
}

func neverReads(ctx context.Context, s deltaClient, random *rand.Rand) error {
	for _, t := range []string{xds.ClusterType, xds.ListenerType, xds.NameTableType} {
		if err := greet(s, random, t); err != nil {
			return ended(s, nil)
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func saysNothing(_ context.Context, s deltaClient, _ *rand.Rand) error { return ended(s, nil) }

func floods(_ context.Context, s deltaClient, random *rand.Rand) error {
	go func() {
		_ = greet(s, random, xds.EndpointType, "x")
		for n := 0; ; n++ {
			err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: xds.EndpointType, ResourceNamesSubscribe: []string{fmt.Sprint("a", n%1000)},
				ResourceNamesUnsubscribe: []string{fmt.Sprint("a", (n+500)%1000)}})
			if err != nil {
				return // the stream has ended
			}
		}
	}()
	return ended(s, nil)
}

func asksForTooMuch(_ context.Context, s deltaClient, random *rand.Rand) error {
	names := make([]string, 50_000)
	for round := range 100 {
		for i := range names {
			names[i] = fmt.Sprintf("outbound|%d||host-%d.example", round, i)
		}
		if err := greet(s, random, xds.EndpointType, names...); err != nil {
			break
		}
	}
	return ended(s, nil)
}

func asksForGiants(_ context.Context, s deltaClient, random *rand.Rand) error {
	const megabyte = 1 << 20
	for i := range 200 {
		if err := greet(s, random, xds.EndpointType, strings.Repeat(string(rune('a'+i%26)), megabyte+i)); err != nil {
			break
		}
	}
	return ended(s, nil)
}

func asksForUnknownTypes(_ context.Context, s deltaClient, random *rand.Rand) error {
	for i := range 1000 {
		if err := greet(s, random, fmt.Sprintf("type.googleapis.com/evil.Type%d", i), "*", "x"); err != nil {
			break
		}
	}
	return ended(s, nil)
}

func answersWrongly(_ context.Context, s deltaClient, random *rand.Rand) error {
	_ = greet(s, random, xds.ClusterType)
	n := 0
	return ended(s, func(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
		n++
		return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: fmt.Sprint("never", n)}
	})
}

func refusesAll(_ context.Context, s deltaClient, random *rand.Rand) error {
	_ = greet(s, random, xds.ClusterType)
	return ended(s, func(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
		return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(),
			ErrorDetail: status.New(3, strings.Repeat("no ", random.IntN(100_000))).Proto()}
	})
}

func beginsWithNonsense(_ context.Context, s deltaClient, random *rand.Rand) error {
	nodes := []*corev3.Node{nil, {}, {Id: strings.Repeat("x", 1<<20)}, {Id: "~~~"}, {Id: "sidecar~nowhere~x.y~z"}}
	_ = s.Send(&discoveryv3.DeltaDiscoveryRequest{Node: nodes[random.IntN(len(nodes))], TypeUrl: strings.Repeat("/", random.IntN(5))})
	return ended(s, nil)
}

// speaksNoHTTP2 sends bytes that are no HTTP/2 at all.
func speaksNoHTTP2(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(maxAttack))
	for range 100 {
		if _, err := io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 100)); err != nil {
			break // it has hung up
		}
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}
