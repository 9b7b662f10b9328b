package compile

import (
	"encoding/json"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// read turns YAML into a message. "@X" in it stands for the type URL of a message of envoy.extensions that ends so.
func read(t *testing.T, text string, m proto.Message) {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(types().Replace(text)), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(b, m); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// types abbreviates typed configurations, so that tables stay readable.
func types() *strings.Replacer {
	ext := func(short, name string) []string {
		return []string{"@" + short, `"@type": type.googleapis.com/envoy.extensions.` + name}
	}
	var all []string
	for _, p := range [][2]string{
		{"HCM", "filters.network.http_connection_manager.v3.HttpConnectionManager"},
		{"TCP", "filters.network.tcp_proxy.v3.TcpProxy"},
		{"NetRBAC", "filters.network.rbac.v3.RBAC"},
		{"RBAC", "filters.http.rbac.v3.RBAC"},
		{"Router", "filters.http.router.v3.Router"},
		{"Fault", "filters.http.fault.v3.HTTPFault"},
		{"CorsPolicy", "filters.http.cors.v3.CorsPolicy"},
		{"Cors", "filters.http.cors.v3.Cors"},
		{"Lua", "filters.http.lua.v3.Lua"},
		{"DownTLS", "transport_sockets.tls.v3.DownstreamTlsContext"},
		{"UpTLS", "transport_sockets.tls.v3.UpstreamTlsContext"},
		{"Raw", "transport_sockets.raw_buffer.v3.RawBuffer"},
		{"HTTPOptions", "upstreams.http.v3.HttpProtocolOptions"},
		{"FileLog", "access_loggers.file.v3.FileAccessLog"},
		{"HTTPInspector", "filters.listener.http_inspector.v3.HttpInspector"},
		{"TLSInspector", "filters.listener.tls_inspector.v3.TlsInspector"},
		{"OriginalDst", "filters.listener.original_dst.v3.OriginalDst"},
		{"PreviousHosts", "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
		{"Maglev", "load_balancing_policies.maglev.v3.Maglev"},
	} {
		all = append(all, ext(p[0], p[1])...)
	}
	all = append(all, "@Struct", `"@type": type.googleapis.com/udpa.type.v1.TypedStruct`)
	return strings.NewReplacer(all...)
}

func newCompiler() *Compiler {
	return &Compiler{Names: plan.NewNames(), Hostname: "host"}
}

func listenerOf(t *testing.T, text string) (*plan.Listener, Needs, error) {
	t.Helper()
	var m listenerv3.Listener
	read(t, text, &m)
	return newCompiler().Listener(&m)
}

func routesOf(t *testing.T, text string) (*plan.RouteConfig, Needs, error) {
	t.Helper()
	var m routev3.RouteConfiguration
	read(t, text, &m)
	return newCompiler().RouteConfig(&m)
}

func clusterOf(t *testing.T, text string) (*plan.Cluster, Needs, error) {
	t.Helper()
	var m clusterv3.Cluster
	read(t, text, &m)
	return newCompiler().Cluster(&m)
}

func endpointsOf(t *testing.T, text string) (*plan.Endpoints, error) {
	t.Helper()
	var m endpointv3.ClusterLoadAssignment
	read(t, text, &m)
	return newCompiler().Endpoints(&m)
}

func secretOf(t *testing.T, text string) (*plan.Secret, error) {
	t.Helper()
	var m tlsv3.Secret
	read(t, text, &m)
	return newCompiler().Secret(&m)
}

// refused checks that an error says what it should.
func refused(t *testing.T, name string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got error %v, want one with %q", name, err, want)
	}
}

func packed(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// anyHead is a request's head.
type anyHead struct{}

func (anyHead) Method() []byte                    { return []byte("GET") }
func (anyHead) Scheme() []byte                    { return []byte("http") }
func (anyHead) Authority() []byte                 { return []byte("a.b:80") }
func (anyHead) Path() []byte                      { return []byte("/path/x?y") }
func (anyHead) Header(header.Name) ([]byte, bool) { return []byte("a"), true }
