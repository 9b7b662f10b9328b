package translate_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// scenario is one file of testdata: objects, and in comment lines that start with "#:" the proxy that looks at them and
// what to print of what it is sent.
//
//	#: proxy sidecar default app=productpage ip=10.0.0.9 flavor=envoy
//	#: show LDS virtualInbound filterChains[0]
type scenario struct {
	yaml  string
	proxy *model.Proxy
	shows []show
}

// show selects a resource, and a part of it by a path of field names, [index] and [name=value].
type show struct {
	kind, name, path string
}

func readScenario(t testing.TB, file string) *scenario {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &scenario{yaml: string(data)}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "#: ")
		if !ok {
			continue
		}
		words := strings.Fields(rest)
		switch words[0] {
		case "proxy":
			s.proxy = parseProxy(t, words[1:])
		case "show":
			sh := show{kind: words[1], name: words[2]}
			if len(words) > 3 {
				sh.path = words[3]
			}
			s.shows = append(s.shows, sh)
		default:
			t.Fatalf("%s: unknown directive %q", file, words[0])
		}
	}
	if s.proxy == nil {
		t.Fatalf("%s: no proxy", file)
	}
	return s
}

func parseProxy(t testing.TB, words []string) *model.Proxy {
	t.Helper()
	p := &model.Proxy{
		ID: "test", Flavor: model.LateenProxy, Namespace: words[1], Labels: map[string]string{}, Metadata: map[string]string{},
		TrustDomain: "cluster.local", Cluster: "Kubernetes",
	}
	if words[0] == "gateway" {
		p.Type = model.GatewayProxy
	}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "ip":
			p.IPs = append(p.IPs, netip.MustParseAddr(v))
		case "flavor":
			p.Flavor = map[string]model.Flavor{"envoy": model.StockEnvoy, "istio": model.IstioEnvoy, "lateen": model.LateenProxy}[v]
			p.Version = map[string]string{"envoy": "1.40.0", "istio": "1.27.0"}[v]
		case "mode":
			p.Interception = map[string]model.Interception{"NONE": model.InterceptNone, "TPROXY": model.InterceptTProxy}[v]
		case "bind":
			p.BindAddress = netip.MustParseAddr(v)
		case "locality":
			p.Locality = model.ParseLocality(v)
		case "dns":
			p.DNSCapture = true
		case "httpproxy":
			n, _ := strconv.Atoi(v)
			p.HTTPProxyPort = uint32(n)
		case "bindport":
			from, to, _ := strings.Cut(v, ":")
			a, _ := strconv.Atoi(from)
			b, _ := strconv.Atoi(to)
			p.BindPorts = map[uint32]uint32{uint32(a): uint32(b)}
		default:
			p.Labels[k] = v
		}
	}
	return p
}

// objects reads YAML that must be right.
func objects(t testing.TB, yaml string) []*config.Object {
	t.Helper()
	d := config.Decode([]byte(yaml), config.DecodeOptions{File: "mesh.yaml"})
	for _, p := range d.Problems() {
		if p.Severity == config.Error {
			t.Fatalf("%v", p)
		}
	}
	return d.Objects()
}

func newWorld(t testing.TB, yaml string) *world.World {
	t.Helper()
	w := world.New(world.Options{Cluster: "Kubernetes"})
	apply(t, w, yaml)
	return w
}

func apply(t testing.TB, w *world.World, yaml string) {
	t.Helper()
	var b world.Batch
	for _, o := range objects(t, yaml) {
		b.Changes = append(b.Changes, world.ObjectChange{Key: o.Key, Object: o})
	}
	w.Apply(b)
}

func stateOf(t testing.TB, s *scenario) *xds.State {
	t.Helper()
	return translate.New(newWorld(t, s.yaml).Snapshot()).State(s.proxy)
}

var typeURLs = map[string]string{
	"CDS": xds.ClusterType, "EDS": xds.EndpointType, "LDS": xds.ListenerType, "RDS": xds.RouteType, "NDS": xds.NameTableType,
	"ECDS": xds.ExtensionConfigType,
}

// print writes what a scenario shows, as YAML.
func (s *scenario) print(t testing.TB, state *xds.State) string {
	t.Helper()
	var out strings.Builder
	for _, sh := range s.shows {
		set := state.Set(typeURLs[sh.kind])
		fmt.Fprintf(&out, "# %s %s %s\n", sh.kind, sh.name, sh.path)
		if sh.name == "*" {
			for r := range set.All() {
				fmt.Fprintf(&out, "- %s\n", r.Name)
			}
			continue
		}
		r := set.Get(sh.name)
		if r == nil {
			out.WriteString("none\n")
			continue
		}
		out.WriteString(toYAML(t, at(t, tree(t, message(t, r)), sh.path)))
	}
	return out.String()
}

func message(t testing.TB, r *xds.Resource) proto.Message {
	t.Helper()
	m, err := r.Body().UnmarshalNew()
	if err != nil {
		t.Fatalf("%s: %v", r.Name, err)
	}
	return m
}

func tree(t testing.TB, m proto.Message) any {
	t.Helper()
	data, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func toYAML(t testing.TB, v any) string {
	t.Helper()
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// at follows a path: field.field[2][name=x][*].field; [*] maps over a list, {a,b} keeps the fields named.
func at(t testing.TB, v any, path string) any {
	t.Helper()
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			step := path[1:end]
			path = path[end+1:]
			list, ok := v.([]any)
			if !ok {
				t.Fatalf("[%s]: not a list: %T", step, v)
			}
			if step == "*" {
				out := make([]any, 0, len(list))
				for _, e := range list {
					out = append(out, at(t, e, path))
				}
				return out
			}
			v = element(t, list, step)
		case '{':
			end := strings.IndexByte(path, '}')
			kept := map[string]any{}
			for _, f := range strings.Split(path[1:end], ",") {
				if e, ok := v.(map[string]any)[f]; ok {
					kept[f] = e
				}
			}
			v, path = kept, path[end+1:]
		default:
			end := strings.IndexAny(path, ".[{")
			if end < 0 {
				end = len(path)
			}
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("%s: not an object: %T", path[:end], v)
			}
			v, path = m[path[:end]], path[end:]
		}
	}
	return v
}

func element(t testing.TB, list []any, step string) any {
	t.Helper()
	if k, want, ok := strings.Cut(step, "="); ok {
		for _, e := range list {
			if m, ok := e.(map[string]any); ok && m[k] == want {
				return e
			}
		}
		t.Fatalf("[%s]: not found", step)
	}
	i, err := strconv.Atoi(step)
	if err != nil || i >= len(list) {
		t.Fatalf("[%s]: %d elements", step, len(list))
	}
	return list[i]
}

func scenarios(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if !strings.HasSuffix(f, ".golden.yaml") {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		t.Fatal("no scenarios")
	}
	return out
}
