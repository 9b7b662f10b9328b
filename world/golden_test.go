package world_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/prototext"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestGolden loads mesh.yaml of each file in testdata and compares the answers to the questions in ask with want.
//
// A file may have more YAML files, applied one after the other, and lines "delete KIND/NAMESPACE/NAME" in ask.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %v, %d files", err, len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := world.New(world.Options{})
			var got strings.Builder
			want := -1
			for i, f := range a.Files {
				switch {
				case strings.HasSuffix(f.Name, ".yaml"):
					put(t, w, string(f.Data))
				case strings.HasPrefix(f.Name, "ask"):
					for line := range strings.Lines(string(f.Data)) {
						fmt.Fprintf(&got, "? %s", line)
						got.WriteString(answer(t, w, strings.Fields(line)))
					}
				case f.Name == "want":
					want = i
				}
			}
			if *update {
				if want < 0 {
					a.Files = append(a.Files, txtar.File{Name: "want"})
					want = len(a.Files) - 1
				}
				a.Files[want].Data = []byte(got.String())
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want < 0 {
				t.Fatal("no want")
			}
			same(t, file, got.String(), string(a.Files[want].Data))
		})
	}
}

// answer writes what a Snapshot says to one question.
func answer(t *testing.T, w *world.World, q []string) string {
	t.Helper()
	s := w.Snapshot()
	arg := func(i int) string {
		if i < len(q) {
			return q[i]
		}
		return ""
	}
	var b strings.Builder
	switch arg(0) {
	case "service":
		for _, svc := range s.ServicesByHost(arg(1)) {
			b.WriteString(describeService(svc))
		}
	case "at":
		for _, svc := range s.ServicesAt(netip.MustParseAddr(arg(1))) {
			fmt.Fprintf(&b, "  %s\n", svc.Key())
		}
	case "visible":
		for _, svc := range s.VisibleServices(arg(1)) {
			fmt.Fprintf(&b, "  %s\n", svc.Key())
		}
	case "endpoints":
		b.WriteString(describeEndpoints(s, keyOf(arg(1)), labelsOf(q[2:])))
	case "routes":
		for _, v := range s.VirtualServices(arg(1), arg(2)) {
			fmt.Fprintf(&b, "  %s %v\n", v.Config, v.Hosts)
		}
	case "route":
		if v := s.VirtualServiceFor(arg(1), arg(2), arg(3)); v != nil {
			b.WriteString(describeRoute(v))
		}
	case "rule":
		svc := service(t, s, keyOf(arg(2)).Namespace, keyOf(arg(2)).Hostname)
		if d := s.DestinationRule(arg(1), svc, labelsOf(q[3:])); d != nil {
			fmt.Fprintf(&b, "  %v host=%s %s\n", d.From, d.Host, text(d.Spec.GetTrafficPolicy()))
			for _, sub := range d.Spec.GetSubsets() {
				fmt.Fprintf(&b, "    %s %s\n", sub.GetName(), text(d.Policy(sub.GetName(), svc.Ports[0].Number)))
			}
		}
	case "sidecar":
		if sc := s.Sidecar(arg(1), labelsOf(q[2:])); sc != nil {
			fmt.Fprintf(&b, "  %s\n", sc.Config)
		}
	case "scope":
		b.WriteString(describeScope(s.Scope(arg(1), s.Sidecar(arg(1), labelsOf(q[2:])))))
	case "peer":
		p := s.PeerAuth(arg(1), labelsOf(q[2:]))
		fmt.Fprintf(&b, "  %s %v from %v\n", p.Default, p.Ports, p.From)
	case "policies":
		b.WriteString(describePolicies(s, arg(1), labelsOf(q[2:])))
	case "instances":
		p := &model.Proxy{Namespace: arg(1), Name: arg(2), Labels: labelsOf(q[4:])}
		if ip, err := netip.ParseAddr(arg(3)); err == nil {
			p.IPs = []netip.Addr{ip}
		}
		for _, in := range s.InstancesOf(p) {
			fmt.Fprintf(&b, "  %s", in.Service.Key())
			for _, port := range in.Ports {
				fmt.Fprintf(&b, " %d→%d", port.Port.Number, port.Target)
			}
			b.WriteString("\n")
		}
	case "names":
		for _, n := range s.Names(s.VisibleServices(arg(1))) {
			fmt.Fprintf(&b, "  %s %s %v\n", n.Host, n.ShortName, n.Addresses)
		}
	case "gateways":
		for _, g := range s.GatewaysFor(labelsOf(q[1:])) {
			for _, server := range g.Servers {
				fmt.Fprintf(&b, "  %s %d/%s %v\n", g.Name(), server.Port, server.Protocol, server.Hosts)
				for _, v := range s.VirtualServices("istio-system", g.Name()) {
					fmt.Fprintf(&b, "    %s %v\n", v.Config, server.Admits(v))
				}
			}
		}
	default:
		t.Fatalf("unknown question %v", q)
	}
	return b.String()
}

func keyOf(s string) model.ServiceKey {
	ns, host, _ := strings.Cut(s, "/")
	return key(ns, host)
}

func labelsOf(words []string) map[string]string {
	out := make(map[string]string)
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

func describeService(s *model.Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %s %s from %s:%d\n", s.Key(), s.Registry, s.Resolution, s.Config, s.Origin.Line)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, "    port %d %q %s target %d%s\n", p.Number, p.Name, p.Protocol, p.Target(), p.TargetName)
	}
	line := func(what string, v any, empty bool) {
		if !empty {
			fmt.Fprintf(&b, "    %s %v\n", what, v)
		}
	}
	line("addresses", s.Addresses, s.Addresses == nil)
	line("allocated", s.AutoAddresses, s.AutoAddresses == nil)
	line("headless", s.Headless, !s.Headless)
	line("external", s.MeshExternal, !s.MeshExternal)
	line("exported to", s.ExportTo.Namespaces, s.ExportTo.Public)
	line("selector", s.Selector, s.Selector == nil)
	line("external name", s.ExternalName, s.ExternalName == "")
	line("aliases", s.Aliases, s.Aliases == nil)
	line("names", s.SubjectAltNames, s.SubjectAltNames == nil)
	line("with", s.MergedFrom, s.MergedFrom == nil)
	return b.String()
}

func describeEndpoints(s *world.Snapshot, k model.ServiceKey, subset map[string]string) string {
	var b strings.Builder
	svc := s.Service(k)
	for i := range svc.Ports {
		for w, number := range s.Endpoints(k).Select(i, subset) {
			fmt.Fprintf(&b, "  %d → %s:%d weight %d %s %q %s %s %q %s/%s %s\n", svc.Ports[i].Number, w.Address, number, w.Weight, w.TLSMode,
				w.Locality, w.Health, w.SPIFFE(), w.Name, w.CanonicalName, w.CanonicalRevision, w.Network)
		}
	}
	return b.String()
}

func describeRoute(v *model.VirtualService) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %v gateways %v\n", v.Config, v.Hosts, v.Gateways)
	for i, r := range v.Spec.GetHttp() {
		fmt.Fprintf(&b, "    http %s[%d]:%d %s", v.HTTP[i].Config, v.HTTP[i].Index, v.HTTP[i].Origin.Line, r.GetName())
		for _, m := range r.GetMatch() {
			fmt.Fprintf(&b, " {%s}", text(m))
		}
		for _, d := range r.GetRoute() {
			fmt.Fprintf(&b, " → %s:%d", d.GetDestination().GetHost(), d.GetWeight())
		}
		if m := r.GetMirror(); m != nil {
			fmt.Fprintf(&b, " mirror %s", m.GetHost())
		}
		if r.GetTimeout() != nil {
			fmt.Fprintf(&b, " timeout %s", r.GetTimeout().AsDuration())
		}
		b.WriteString("\n")
	}
	for i, r := range v.Spec.GetTcp() {
		fmt.Fprintf(&b, "    tcp %s[%d] → %s\n", v.TCP[i].Config, v.TCP[i].Index, r.GetRoute()[0].GetDestination().GetHost())
	}
	for i, r := range v.Spec.GetTls() {
		fmt.Fprintf(&b, "    tls %s[%d] %v → %s\n", v.TLS[i].Config, v.TLS[i].Index, r.GetMatch()[0].GetGateways(),
			r.GetRoute()[0].GetDestination().GetHost())
	}
	return b.String()
}

func describeScope(c *world.Scope) string {
	var b strings.Builder
	list := func(services []*model.Service) {
		for _, s := range services {
			fmt.Fprintf(&b, " %s", s.Key())
			for _, p := range s.Ports {
				fmt.Fprintf(&b, ":%d", p.Number)
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("  all:")
	list(c.Services)
	for _, e := range c.Egress {
		fmt.Fprintf(&b, "  %v:", e.Listener.GetHosts())
		list(e.Services)
		for _, v := range e.VirtualServices {
			fmt.Fprintf(&b, "    %s\n", v.Config)
		}
	}
	return b.String()
}

func describePolicies(s *world.Snapshot, ns string, labels map[string]string) string {
	var b strings.Builder
	for _, p := range s.AuthorizationPolicies(ns, labels) {
		fmt.Fprintf(&b, "  %s %s\n", p.Config, p.Spec.GetAction())
	}
	for _, p := range s.RequestAuthentications(ns, labels) {
		fmt.Fprintf(&b, "  %s\n", p.Config)
	}
	for _, p := range s.Telemetries(ns, labels) {
		fmt.Fprintf(&b, "  %s\n", p.Config)
	}
	for _, p := range s.EnvoyFilters(ns, labels) {
		fmt.Fprintf(&b, "  %s priority %d\n", p.Config, p.Spec.GetPriority())
	}
	for _, p := range s.ProxyConfigs(ns, labels) {
		fmt.Fprintf(&b, "  %s concurrency %s\n", p.Config, strconv.Itoa(int(p.Spec.GetConcurrency().GetValue())))
	}
	return b.String()
}

// text prints a message in one line that is always the same; the library's own text differs between builds.
func text(m interface{ String() string }) string {
	switch m := m.(type) {
	case *networking.TrafficPolicy:
		if m == nil {
			return "no policy"
		}
		return squeeze(prototext.Format(m))
	case *networking.HTTPMatchRequest:
		return squeeze(prototext.Format(m))
	default:
		return m.String()
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
