package discovery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a handler that notes what it is told, and refuses names that begin with bad.
type store struct {
	mu   sync.Mutex
	have map[string]string
}

func (s *store) Update(_ context.Context, u xds.Update) (refused []xds.Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range u.Added {
		if strings.HasPrefix(r.Name, "bad") {
			refused = append(refused, xds.Refusal{Name: r.Name, Err: io.ErrUnexpectedEOF})
			continue
		}
		s.have[xds.ShortType(u.TypeURL)+" "+r.Name] = r.Version
	}
	for _, name := range u.Removed {
		delete(s.have, xds.ShortType(u.TypeURL)+" "+name)
	}
	return refused
}

// until waits until the store has these and nothing else.
func (s *store) until(t *testing.T, names ...string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		s.mu.Lock()
		ok := len(s.have) == len(names)
		for _, n := range names {
			_, has := s.have[n]
			ok = ok && has
		}
		now := fmt.Sprint(s.have)
		s.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the store has %s, not %q", now, names)
		}
	}
}

// run makes a Discovery for a bootstrap's sources and runs it for the test's time.
func run(t *testing.T, d bootstrap.Discovery, dial func(context.Context, string) (net.Conn, error)) (*Discovery, *store) {
	t.Helper()
	s := &store{have: map[string]string{}}
	out := New(Config{Bootstrap: &bootstrap.Bootstrap{Discovery: d}, Handler: s, Dial: dial, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { out.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return out, s
}

func clusters(names ...string) string {
	text := "resources:\n"
	for _, n := range names {
		text += `- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: ` + n + "}\n"
	}
	return text
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	cds, eds := filepath.Join(dir, "cds.yaml"), filepath.Join(t.TempDir(), "eds.yaml")
	write(t, cds, clusters("a", "b"))
	d, s := run(t, bootstrap.Discovery{Clusters: &plan.Source{Path: cds}}, nil)
	s.until(t, "CDS a", "CDS b")
	write(t, cds, clusters("b", "c"))
	s.until(t, "CDS b", "CDS c")
	write(t, cds, "resources: [") // nothing changes
	endpoints := d.From(plan.Source{Path: eds})
	endpoints.Subscribe(xds.EndpointType, "x")
	write(t, eds, `resources:
- {"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: x}
- {"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: y}
`)
	s.until(t, "CDS b", "CDS c", "EDS x")
	endpoints.Subscribe(xds.EndpointType, "y")
	s.until(t, "CDS b", "CDS c", "EDS x", "EDS y")
	endpoints.Unsubscribe(xds.EndpointType, "x", "y")
	write(t, cds, clusters("bad", "c"))
	s.until(t, "CDS c", "EDS x", "EDS y")
	// A directory that is swapped for another, as Kubernetes does with its volumes.
	volume := t.TempDir()
	for _, v := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(volume, v), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(volume, v, "cds.yaml"), clusters("v"+v))
	}
	swap := func(to string) {
		if err := os.Symlink(to, filepath.Join(volume, "new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(volume, "new"), filepath.Join(volume, "data")); err != nil {
			t.Fatal(err)
		}
	}
	swap("1")
	_, s = run(t, bootstrap.Discovery{Clusters: &plan.Source{Path: filepath.Join(volume, "data", "cds.yaml"), Watched: volume}}, nil)
	s.until(t, "CDS v1")
	swap("2")
	s.until(t, "CDS v2")
}

// TestService asks a server that serves secrets and nothing else, by that type's own service.
func TestService(t *testing.T) {
	for _, delta := range []bool{false, true} {
		ln := bufconn.Listen(1 << 20)
		g := grpc.NewServer(grpc.UnknownServiceHandler(secrets(delta)))
		var wg sync.WaitGroup
		wg.Go(func() { g.Serve(ln) }) //nolint:errcheck // ends with Stop
		t.Cleanup(func() {
			g.Stop()
			wg.Wait()
		})
		service := plan.DiscoveryService{Cluster: "sds", Delta: delta, Metadata: "who: me\n"}
		d, s := run(t, bootstrap.Discovery{}, func(ctx context.Context, cluster string) (net.Conn, error) {
			if cluster != "sds" {
				return nil, fmt.Errorf("cluster %s is asked for", cluster)
			}
			return ln.DialContext(ctx)
		})
		d.From(plan.Source{Service: service}).Subscribe(xds.SecretType, "cert")
		s.until(t, "SDS cert")
		if d.ADS() != nil {
			t.Error("somebody would ask an aggregated service that there is not")
		}
	}
}

// secrets answers the first request with the secret that it names, and checks how it was asked.
func secrets(delta bool) grpc.StreamHandler {
	return func(_ any, s grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(s)
		md, _ := metadata.FromIncomingContext(s.Context())
		if got := md.Get("who"); len(got) != 1 || got[0] != "me" {
			return fmt.Errorf("the metadata is %v", md)
		}
		body := &anypb.Any{TypeUrl: xds.SecretType, Value: append([]byte{0x0a, 4}, "cert"...)}
		if delta && method == "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets" {
			if err := s.RecvMsg(new(discoveryv3.DeltaDiscoveryRequest)); err != nil {
				return err
			}
			if err := s.SendMsg(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: xds.SecretType, Nonce: "1",
				Resources: []*discoveryv3.Resource{{Name: "cert", Version: "1", Resource: body}}}); err != nil {
				return err
			}
		} else if !delta && method == "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets" {
			if err := s.RecvMsg(new(discoveryv3.DiscoveryRequest)); err != nil {
				return err
			}
			if err := s.SendMsg(&discoveryv3.DiscoveryResponse{TypeUrl: xds.SecretType, Nonce: "1", VersionInfo: "1", Resources: []*anypb.Any{body}}); err != nil {
				return err
			}
		} else {
			return fmt.Errorf("%s is asked", method)
		}
		<-s.Context().Done()
		return nil
	}
}
