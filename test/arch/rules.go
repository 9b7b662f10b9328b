// Package arch holds the walls between the rooms as data, and the test that
// keeps them: who may import whom, what must never be reached even indirectly,
// which third-party code belongs to which room, and what every package and
// file must look like.
//
// Who calls it: its own test. Goroutines: none.
//
// May import: nothing of ours; it reads the source tree.
package arch

// Module is the path that all rooms live under.
const Module = "lateen.dev/lateen"

// Room is what one folder at the root, with all below it, may do.
type Room struct {
	// May lists the rooms that it may import directly. lib and its own
	// sub-packages are always allowed.
	May []string
	// Never lists rooms or import path prefixes that it must not reach, not even
	// through others. "k8s" stands for all of Kubernetes' modules, "xds protos"
	// for go-control-plane.
	Never []string
}

// everyRoom marks a room that may import all others.
const everyRoom = "*"

// Rooms is the table of docs/ARCHITECTURE.md. Change both together, with a
// line in docs/decisions.
func Rooms() map[string]Room {
	return map[string]Room{
		"config":    {Never: []string{"k8s", "xds", "model"}},
		"derive":    {Never: []string{"ours"}},
		"identity":  {May: []string{"telemetry"}, Never: []string{"config", "model", "xds", "k8s"}},
		"telemetry": {Never: []string{"config", "model", "xds", "k8s"}},
		"wire":      {May: []string{"telemetry"}, Never: []string{"config", "model", "xds", "k8s"}},
		"policy":    {May: []string{"identity"}, Never: []string{"config", "k8s"}},
		"model":     {May: []string{"config", "identity"}, Never: []string{"k8s", "xds protos"}},
		"source":    {May: []string{"config", "derive", "xds"}, Never: []string{"k8s", "world"}},
		"world":     {May: []string{"config", "derive", "model", "policy"}, Never: []string{"k8s", "xds", "translate", "source"}},
		"xds": {May: []string{"telemetry"},
			Never: []string{"config", "model", "world", "translate", "source", "proxy", "ca", "identity", "policy", "k8s"}},
		"translate": {May: []string{"model", "world", "policy", "identity", "xds"}, Never: []string{"k8s", "source", "proxy"}},
		"capture":   {May: []string{"wire", "telemetry"}, Never: []string{"k8s", "config"}},
		"adapter":   {May: []string{"wire", "policy", "identity", "telemetry"}, Never: []string{"config", "k8s", "proxy"}},
		"proxy": {May: []string{"xds", "wire", "policy", "identity", "telemetry", "adapter"},
			Never: []string{"k8s", "config", "model", "world", "translate", "source", "ca"}},
		"ca":   {May: []string{"identity", "telemetry"}, Never: []string{"k8s", "world", "proxy"}},
		"kube": {May: []string{"config", "derive", "model", "identity", "telemetry"}, Never: []string{"world", "translate", "proxy", "ca"}},
		"cli":  {May: []string{"config", "model", "world", "policy", "kube", "xds", "identity", "source"}, Never: []string{"proxy", "ca"}},
		"ui":   {May: []string{"model", "world", "telemetry"}, Never: []string{"kube", "proxy", "ca"}},
		"app":  {May: []string{everyRoom}},
		"cmd":  {May: []string{"app", "cli", "capture", "telemetry"}},
		"test": {May: []string{everyRoom}},
		// The samples know nothing of the mesh that they run in.
		"samples": {Never: []string{"ours"}},
		"lib":     {Never: []string{"ours"}},
	}
}

// Walls says which rooms may import a third-party module directly; prefix →
// rooms. The room "test" may import anything.
func Walls() map[string][]string {
	return map[string][]string{
		"k8s.io/":                                {"kube"},
		"sigs.k8s.io/":                           {"kube"},
		"github.com/envoyproxy/go-control-plane": {"xds", "translate", "proxy/compile", "proxy/admin", "proxy/state", "proxy/bootstrap"},
		"github.com/google/nftables":             {"capture"},
		"github.com/vishvananda/netlink":         {"capture"},
		"github.com/prometheus/":                 {"telemetry"},
		"github.com/spf13/cobra":                 {"cli", "cmd"},
		"github.com/hashicorp/consul":            {"source/consul"},
		"github.com/miekg/dns":                   {"proxy/dns"},
	}
}

// proxyBinary must stay small: what cmd/lateen-proxy must never link.
func proxyBinary() []string {
	return []string{"k8s", "config", "model", "world", "translate", "source", "ca", "cli", "kube", "istio.io/api/networking"}
}
