package mcp_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	api "istio.io/api/mcp/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/mcp"
	"lateen.dev/lateen/source/sourcetest"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane is a control plane that serves configuration on loopback, and can be
// stopped and started on the same port.
type plane struct {
	t    *testing.T
	addr string
	// attach is what clients are served by.
	attach func(server.Client) server.Session

	mu   sync.Mutex
	grpc *grpc.Server
	xds  *server.Server
	done chan struct{}
}

func newPlane(t *testing.T, attach func(server.Client) server.Session) *plane {
	t.Helper()
	p := &plane{t: t, addr: "127.0.0.1:0", attach: attach}
	p.start()
	t.Cleanup(p.stop)
	return p
}

// Attach implements server.Provider.
func (p *plane) Attach(_ context.Context, c server.Client) (server.Session, error) {
	if !mcp.Asks(c.Node) {
		return nil, fmt.Errorf("generator %q", c.Node.Metadata.Generator)
	}
	return p.attach(c), nil
}

func (p *plane) start() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addr = l.Addr().String()
	trusting := func(context.Context, *xds.Node) (server.Peer, error) { return server.Peer{}, nil }
	p.xds = server.New(server.Config{Provider: p, Authenticate: trusting})
	p.grpc = grpc.NewServer(server.Options()...)
	p.xds.Register(p.grpc)
	done := make(chan struct{})
	p.done = done
	serving := p.grpc
	go func() {
		defer close(done)
		if err := serving.Serve(l); err != nil {
			p.t.Error(err)
		}
	}()
}

func (p *plane) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.grpc == nil {
		return
	}
	p.xds.Close()
	p.grpc.Stop()
	<-p.done
	p.grpc = nil
}

// client makes a source that reads from the plane.
func (p *plane) client(sotw bool) *mcp.Client {
	return mcp.NewClient(mcp.ClientOptions{
		Name: "xds://upstream", Target: "passthrough:///" + p.addr, SotW: sotw,
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
		Node:        xds.Node{Type: xds.SidecarNode, Workload: "lateen.istio-system", Domain: "istio-system.svc.cluster.local"},
		BackoffMin:  time.Millisecond, BackoffMax: 20 * time.Millisecond, Settle: 100 * time.Millisecond,
	})
}

// contents is a Server with versioned objects.
type contents struct {
	t        *testing.T
	server   *mcp.Server
	mu       sync.Mutex
	revision uint64
}

func newContents(t *testing.T) *contents { return &contents{t: t, server: mcp.NewServer(nil)} }

func (c *contents) apply(changes ...source.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision++
	c.server.Apply(changes, c.revision, time.Unix(1, 0))
}

func (c *contents) put(text string) {
	c.t.Helper()
	d := config.Decode([]byte(text), config.DecodeOptions{File: "config/a.yaml"})
	if err := d.Problems().Err(); err != nil {
		c.t.Fatal(err)
	}
	for _, o := range d.Objects() {
		c.apply(source.Put(o))
	}
}

func vs(name string, version int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, labels: {a: b}, annotations: {c: d}}
spec:
  hosts: [%s]
  http:
  - route: [{destination: {host: reviews, subset: v%d}}]
`, name, name, version)
}

func key(name string) config.Key {
	return config.Key{Kind: config.VirtualService, Namespace: "default", Name: name}
}

// broken is an object that no validation takes, as an upstream might send it.
func broken(name string) *config.Object {
	return &config.Object{Key: key(name), Spec: &networking.VirtualService{Hosts: []string{"not a host"}}, Origin: config.Origin{Source: "file"}}
}

func TestConformance(t *testing.T) {
	for name, sotw := range map[string]bool{"delta": false, "sotw": true} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Fixture {
				c := newContents(t)
				p := newPlane(t, func(server.Client) server.Session { return c.server.Attach(mcp.Ours) })
				return sourcetest.Fixture{
					Source: p.client(sotw), Kind: config.VirtualService,
					Put:     func(name string, version int) { c.put(vs(name, version)) },
					Delete:  func(name string) { c.apply(source.Drop(key(name))) },
					Break:   func(name string) { c.apply(source.Put(broken(name))) },
					Restart: func() source.Source { return p.client(sotw) },
					Fail:    p.stop, Mend: p.start,
				}
			})
		})
	}
}

// What arrives is what was sent, and tells both where it comes from and where it
// was written.
func TestObjectsArriveWhole(t *testing.T) {
	c := newContents(t)
	text := vs("a", 1) + `---
apiVersion: v1
kind: Service
metadata: {name: reviews, creationTimestamp: "2020-01-02T03:04:05Z"}
spec: {ports: [{name: http, port: 80, targetPort: web}], selector: {app: reviews}}
---
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio-injection: enabled}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`
	c.put(text)
	p := newPlane(t, func(server.Client) server.Session { return c.server.Attach(mcp.Ours) })
	s := p.client(false)
	r, _ := sourcetest.Start(t, s)
	r.Until("all came", func(live map[config.Key]*config.Object) bool { return len(live) == 4 })
	for _, want := range config.Decode([]byte(text), config.DecodeOptions{File: "config/a.yaml"}).Objects() {
		got := r.Live()[want.Key]
		if !got.SameContent(want) {
			t.Errorf("%s arrived as %+v, sent %+v", want.Key, got, want)
		}
		if from := "xds://upstream " + want.Origin.String(); got.Origin.Source != "xds://upstream" || got.Origin.String() != from {
			t.Errorf("%s comes from %q, %q; want %q", want.Key, got.Origin.Source, got.Origin, from)
		}
	}
	if condition := s.Condition(); condition.State != source.Ready || condition.Objects != 4 || condition.Reason != "" {
		t.Errorf("condition %+v", condition)
	}
}

// Others than ours see a Service as the ServiceEntry that stands for it.
func TestServicesForOthers(t *testing.T) {
	c := newContents(t)
	c.put(`apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: grpc-api, port: 80, targetPort: 8080}, {port: 81}], selector: {app: reviews}}
`)
	p := newPlane(t, func(server.Client) server.Session { return c.server.Attach(mcp.Others) })
	r, _ := sourcetest.Start(t, p.client(true))
	k := config.Key{Kind: config.ServiceEntry, Namespace: "default", Name: "synthetic-reviews"}
	r.Until("the entry came", func(live map[config.Key]*config.Object) bool { return len(live) == 1 && live[k] != nil })
	se := config.As[*networking.ServiceEntry](r.Live()[k])
	if se.Hosts[0] != "reviews.default.svc.cluster.local" || se.WorkloadSelector.Labels["app"] != "reviews" || len(se.Ports) != 2 ||
		se.Ports[0].Protocol != "GRPC" || se.Ports[0].TargetPort != 8080 || se.Ports[1].Name != "port-81" || se.Ports[1].Protocol != "TCP" {
		t.Errorf("the entry is %v", se)
	}
	c.apply(source.Drop(config.Key{Kind: config.Service, Namespace: "default", Name: "reviews"}))
	r.Until("it is gone", func(live map[config.Key]*config.Object) bool { return len(live) == 0 })
}

// fixed is a session of a server that isn't ours.
type fixed struct{ state *xds.State }

func (f fixed) State() *xds.State        { return f.state }
func (f fixed) Changed() <-chan struct{} { return nil }
func (f fixed) Close()                   {}

func resource(t *testing.T, name string, msg *api.Resource) *xds.Resource {
	t.Helper()
	r, err := xds.NewResource(name, msg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A server that sends nonsense hurts the objects concerned and no others.
func TestNonsenseIsRefusedByName(t *testing.T) {
	body, err := anypb.New(&networking.VirtualService{Hosts: []string{"a"}, Tcp: []*networking.TCPRoute{{
		Route: []*networking.RouteDestination{{Destination: &networking.Destination{Host: "a"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	const url = "networking.istio.io/v1/VirtualService"
	meta := func(name string) *api.Metadata {
		return &api.Metadata{Name: name, CreateTime: timestamppb.New(time.Unix(0, 0))}
	}
	state := xds.NewState(1, time.Time{}, xds.NewSet(url, []*xds.Resource{
		resource(t, "default/good", &api.Resource{Metadata: meta("default/good"), Body: body}),
		resource(t, "default/empty", &api.Resource{Metadata: meta("default/empty")}),
		resource(t, "nameless", &api.Resource{Metadata: meta("nameless"), Body: body}),
		resource(t, "/nowhere", &api.Resource{Metadata: meta("/nowhere"), Body: body}),
		resource(t, "default/garbage", &api.Resource{Metadata: meta("default/garbage"), Body: &anypb.Any{Value: []byte{0xff}}}),
		resource(t, "end", &api.Resource{}),
		xds.FromAny("default/other", body),
	}))
	p := newPlane(t, func(server.Client) server.Session { return fixed{state} })
	s := p.client(false)
	r, _ := sourcetest.Start(t, s)
	r.Until("the good one came", func(live map[config.Key]*config.Object) bool { return len(live) == 1 && live[key("good")] != nil })
	if got := r.Live()[key("good")]; !got.Created.IsZero() {
		t.Errorf("created %v", got.Created)
	}
	var names []string
	for _, problem := range s.Problems().AtLeast(config.Error) {
		names = append(names, problem.Object.Name)
	}
	if got := strings.Join(names, " "); got != "nowhere empty garbage other nameless" {
		t.Errorf("complaints about %q", got)
	}
}
