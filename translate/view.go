package translate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// View is what one proxy may see. Proxies that may see the same have the same View: it is comparable and can be a map's
// key. A View holds for the Snapshots of its Translator until something about the proxy's own workload changes (its
// services, its policies), so ask for it again after each.
type View struct {
	out groupKey
	// in is the inbound side, remembered by its inputs, so that equal ones are one pointer. Nil for a gateway.
	in *inbound
	// extensions are the configurations of its filters that come by themselves. Nil for a gateway, and where there are none.
	extensions *xds.Set
}

// groupKey is everything about a proxy that its outbound side depends on, besides the Snapshot.
type groupKey struct {
	dialect      dialect.Dialect
	proxy        model.ProxyType
	namespace    string
	sidecar      model.ConfigKey
	hasSidecar   bool
	labels       string
	locality     model.Locality
	network      string
	cluster      string
	interception model.Interception
	ipv6         bool
	dns          bool
	http10       bool
	httpProxy    uint32
	bind         netip.Addr
	bindPorts    string
	// own are the ports on which the workload itself listens, where that restricts what may be opened besides.
	own string
	// onDemand says that the proxy asks for what its workload uses.
	onDemand bool
}

// View returns the proxy's View of the newest Snapshot.
func (t *Translator) View(p *model.Proxy) View {
	if at, ok := t.unchanged(p); ok {
		return at.view.key
	}
	gen := t.generation()
	v, served := t.makeView(gen, p)
	t.remember(p, gen, v, served)
	return v
}

// makeView makes a View, and lists the services that the proxy's workload serves.
func (t *Translator) makeView(gen *generation, p *model.Proxy) (View, []model.ServiceKey) {
	key := groupKey{
		dialect:      dialect.Of(p),
		proxy:        p.Type,
		namespace:    p.Namespace,
		locality:     p.Locality,
		network:      p.Network,
		cluster:      p.Cluster,
		interception: p.Interception,
		ipv6:         onlyIPv6(p.IPs),
		dns:          p.DNSCapture,
		http10:       p.HTTP10,
		httpProxy:    p.HTTPProxyPort,
	}
	if p.Type == model.GatewayProxy {
		// A gateway has no inbound side of its own; its policies and the Gateways that select it depend on its labels.
		key.labels = canonical(p.Labels, slices.Sorted(maps.Keys(p.Labels)))
		key.bind, key.bindPorts = p.BindAddress, ports(p.BindPorts)
		return View{out: key}, nil
	}
	key.labels = canonical(p.Labels, gen.clientLabels(p.Namespace))
	sidecar := gen.snap.Sidecar(p.Namespace, p.Labels)
	if sidecar != nil {
		key.sidecar, key.hasSidecar = sidecar.Config, true
		// The Sidecar of a selector must be found again from the key's own labels.
		key.labels = canonical(p.Labels, slices.Sorted(maps.Keys(union(sidecar.Selector, p.Labels, gen.clientLabels(p.Namespace)))))
	}
	key.onDemand = key.dialect.VHDS && onDemand(gen.snap.Mesh(), p, sidecar)
	in := t.inboundOf(gen, p, sidecar)
	if p.Interception == model.InterceptNone {
		key.bind, key.own = p.BindAddress, in.ownPorts()
	}
	return View{out: key, in: in.made(t, gen), extensions: t.filterConfigurations(gen, key.dialect, in.policies)}, in.served
}

// union returns the labels that are named by the selector or the list, as a set.
func union(selector, labels map[string]string, list []string) map[string]string {
	out := maps.Clone(selector)
	if out == nil {
		out = map[string]string{}
	}
	for _, k := range list {
		if v, ok := labels[k]; ok {
			out[k] = v
		}
	}
	return out
}

func onlyIPv6(ips []netip.Addr) bool {
	return len(ips) > 0 && !slices.ContainsFunc(ips, func(a netip.Addr) bool { return a.Unmap().Is4() })
}

// canonical writes the labels of the given keys in one way only.
func canonical(labels map[string]string, keys []string) string {
	var b strings.Builder
	for _, k := range keys {
		if v, ok := labels[k]; ok {
			fmt.Fprintf(&b, "%q=%q,", k, v)
		}
	}
	return b.String()
}

// labelsOf reads what canonical wrote.
func labelsOf(s string) map[string]string {
	out := map[string]string{}
	for s != "" {
		var k, v string
		if n, err := fmt.Sscanf(s, "%q=%q,", &k, &v); n < 2 || err != nil {
			return out
		}
		out[k] = v
		s = s[len(fmt.Sprintf("%q=%q,", k, v)):]
	}
	return out
}

func ports(m map[uint32]uint32) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%d=%d,", k, m[k])
	}
	return b.String()
}

func portsOf(s string) map[uint32]uint32 {
	out := map[uint32]uint32{}
	for part := range strings.SplitSeq(s, ",") {
		var k, v uint32
		if n, _ := fmt.Sscanf(part, "%d=%d", &k, &v); n == 2 {
			out[k] = v
		}
	}
	return out
}

// clientLabels are the labels by which routes and rules tell clients of the namespace apart. Clients that agree in them see
// the same.
func (g *generation) clientLabels(namespace string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if list, ok := g.labels[namespace]; ok {
		return list
	}
	list := labelKeys(g.snap, namespace)
	g.labels[namespace] = list
	return list
}

func labelKeys(snap *world.Snapshot, namespace string) []string {
	keys := map[string]bool{}
	for _, v := range snap.VirtualServices(namespace, model.MeshGateway) {
		for _, r := range v.Spec.GetHttp() {
			for _, m := range r.GetMatch() {
				addKeys(keys, m.GetSourceLabels())
			}
		}
		for _, r := range v.Spec.GetTcp() {
			for _, m := range r.GetMatch() {
				addKeys(keys, m.GetSourceLabels())
			}
		}
		for _, r := range v.Spec.GetTls() {
			for _, m := range r.GetMatch() {
				addKeys(keys, m.GetSourceLabels())
			}
		}
	}
	for _, k := range snap.ClientLabels(namespace) {
		keys[k] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

func addKeys(to map[string]bool, labels map[string]string) {
	for k := range labels {
		to[k] = true
	}
}
