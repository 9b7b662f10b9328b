package compile

import (
	"math/rand/v2"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
)

// inventor fills messages with random values; what is in it is more often plausible than not.
type inventor struct {
	*rand.Rand
	budget int // messages still to be made
}

func kinds() map[plan.Kind]func() proto.Message {
	return map[plan.Kind]func() proto.Message{
		plan.KindListener:    func() proto.Message { return &listenerv3.Listener{} },
		plan.KindRouteConfig: func() proto.Message { return &routev3.RouteConfiguration{} },
		plan.KindCluster:     func() proto.Message { return &clusterv3.Cluster{} },
		plan.KindEndpoints:   func() proto.Message { return &endpointv3.ClusterLoadAssignment{} },
		plan.KindSecret:      func() proto.Message { return &tlsv3.Secret{} },
		plan.KindExtension:   func() proto.Message { return &corev3.TypedExtensionConfig{} },
	}
}

// kindAt chooses a kind; virtual hosts are compiled with their route configuration.
func kindAt(n uint8) plan.Kind {
	if k := plan.Kind(n % 7); k != plan.KindVirtualHost {
		return k
	}
	return plan.KindExtension
}

// extensions are what an Any is made of.
var extensions = []string{
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "envoy.extensions.filters.network.rbac.v3.RBAC",
	"envoy.extensions.filters.http.router.v3.Router", "envoy.extensions.filters.http.fault.v3.HTTPFault",
	"envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.http.cors.v3.CorsPolicy",
	"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "envoy.extensions.access_loggers.file.v3.FileAccessLog",
	"udpa.type.v1.TypedStruct", "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
	"envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash", "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
	"envoy.config.route.v3.FilterConfig",
}

func (g *inventor) fill(m protoreflect.Message, depth int) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		g.any(a, depth)
		return
	}
	fs := m.Descriptor().Fields()
	// Few fields at a time: a resource with all of them is refused at the first.
	n := g.IntN(min(fs.Len(), 4) + 1)
	for range n {
		f := fs.Get(g.IntN(fs.Len()))
		if g.budget <= 0 || depth > 12 {
			return
		}
		g.field(m, f, depth)
	}
	if f := fs.ByName("name"); f != nil && f.Kind() == protoreflect.StringKind && !f.IsList() {
		m.Set(f, protoreflect.ValueOfString(g.text()))
	}
}

func (g *inventor) any(a *anypb.Any, depth int) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(extensions[g.IntN(len(extensions))]))
	if err != nil {
		return
	}
	m := t.New()
	g.fill(m, depth+1)
	if b, err := proto.Marshal(m.Interface()); err == nil {
		a.TypeUrl, a.Value = "type.googleapis.com/"+string(m.Descriptor().FullName()), b
	}
}

func (g *inventor) field(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	g.budget--
	switch {
	case f.IsMap():
		mp := m.Mutable(f).Map()
		v := mp.NewValue()
		if f.MapValue().Message() != nil {
			g.fill(v.Message(), depth+1)
		} else {
			v = g.scalar(f.MapValue())
		}
		mp.Set(g.scalar(f.MapKey()).MapKey(), v)
	case f.IsList():
		l := m.Mutable(f).List()
		for range 1 + g.IntN(2) {
			if f.Message() != nil {
				g.fill(l.AppendMutable().Message(), depth+1)
			} else {
				l.Append(g.scalar(f))
			}
		}
	case f.Message() != nil:
		g.fill(m.Mutable(f).Message(), depth+1)
	default:
		m.Set(f, g.scalar(f))
	}
}

func (g *inventor) text() string {
	words := []string{"", "a", "*", "*.example.com", "x-header", "/path", ":authority", "10.0.0.1", "::1", "%REQ(a)%", "%", "(", ".*", "5xx", "default", "a.b:80"}
	return words[g.IntN(len(words))]
}

func (g *inventor) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	numbers := []int64{0, 1, 2, 80, 100, 443, 65536, 1 << 31, -1, 1<<63 - 1}
	n := numbers[g.IntN(len(numbers))]
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(g.text())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(g.text()))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(g.IntN(6)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	}
	return protoreflect.ValueOfFloat64(float64(n))
}

// FuzzInvented compiles random resources: each is refused or usable, and none panics.
func FuzzInvented(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, kind uint8) {
		k := kindAt(kind)
		g := &inventor{rand.New(rand.NewPCG(seed, 1)), 200}
		m := kinds()[k]()
		g.fill(m.ProtoReflect(), 0)
		try(t, k, m)
	})
}

// TestInvented does the same for many seeds, so that every run covers some ground.
func TestInvented(t *testing.T) {
	accepted := 0
	for seed := range uint64(1500) {
		for k, newMessage := range kinds() {
			g := &inventor{rand.New(rand.NewPCG(seed, uint64(k))), 200}
			m := newMessage()
			g.fill(m.ProtoReflect(), 0)
			if try(t, k, m) {
				accepted++
			}
		}
	}
	if accepted < 400 {
		t.Errorf("only %d resources were accepted: the test shows little", accepted)
	}
}

// try compiles a message and uses what comes out.
func try(t *testing.T, k plan.Kind, m proto.Message) bool {
	c := newCompiler()
	name := ""
	if n, ok := m.(interface{ GetName() string }); ok {
		name = n.GetName()
	} else if n, ok := m.(interface{ GetClusterName() string }); ok {
		name = n.GetClusterName()
	}
	out, err := c.resource(k, name, packed(t, m))
	if err != nil {
		return false
	}
	if l := out.Listener; l != nil {
		l.Chains.Find(&plan.ConnFacts{Transport: "tls", ServerName: "a.example.com", ALPN: []string{"h2"}})
	}
	if rc := out.RouteConfig; rc != nil {
		var d route.Decision
		route.Decide(&d, &route.Input{Config: rc, Head: anyHead{}, Trace: &route.Trace{}})
		if d.Outcome == route.Forward {
			d.AppendPath(nil, []byte("/path/x?y"))
			d.Authority(anyHead{})
			d.Timeouts(anyHead{}, nil, 0)
		}
	}
	return true
}

// FuzzResource compiles arbitrary bytes.
func FuzzResource(f *testing.F) {
	for k, newMessage := range kinds() {
		g := &inventor{rand.New(rand.NewPCG(uint64(k), 1)), 100}
		m := newMessage()
		g.fill(m.ProtoReflect(), 0)
		f.Add(uint8(k), packed(f, m).GetValue())
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		m := kinds()[kindAt(kind)]()
		if proto.Unmarshal(b, m) == nil {
			try(t, kindAt(kind), m)
		}
	})
}
