package translate

import (
	"slices"
	"strings"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/xds"
)

// A sidecar on demand is told of what it needs from the start, and asks by name for the rest: a cluster by its own name, a
// listener by the address that a connection was for, a virtual host as TABLE/HOST by the host that a request named. The
// sets of its State have the former as members and the latter to look up, so that all such sidecars of a namespace share
// one State, however little each of them uses of it.

const (
	// MetaOnDemand is the node metadata by which a proxy says that it can ask, and the entry of
	// defaultConfig.proxyMetadata in the mesh's configuration by which the mesh says whether it shall.
	MetaOnDemand = "LATEEN_ON_DEMAND"
	// OnDemandAnnotation says it for one workload.
	OnDemandAnnotation = "lateen.dev/on-demand"
	// onDemandField marks the listener and the route configurations behind which there is more to ask for.
	onDemandField = "on_demand"
)

// onDemand says whether a sidecar asks for what it uses. One with a Sidecar resource has its scope already, and one that
// captures nothing must have its listeners before its workload connects to them.
func onDemand(mesh *model.Mesh, p *model.Proxy, sidecar *model.Sidecar) bool {
	if p.Type != model.SidecarProxy || p.Metadata[MetaOnDemand] != "true" || sidecar != nil || p.Interception == model.InterceptNone {
		return false
	}
	if own, ok := p.Annotations[OnDemandAnnotation]; ok {
		return own == "true"
	}
	return mesh.Config.GetDefaultConfig().GetProxyMetadata()[MetaOnDemand] == "true"
}

// atHand is how many ports' HTTP listeners, which refer to no cluster, are told from the start.
const atHand = 64

// held reports whether a listener must be there before it is asked for: because it is opened, or because it is cheap and
// saves the first request a question.
func (s *scope) held(e *entry, http *int) bool {
	if e.open {
		return true
	}
	if e.bind != anyIPv4 && e.bind != anyIPv6 || *http == atHand ||
		slices.ContainsFunc(e.chains, func(c outChain) bool { return c.RouteName == "" }) {
		return false
	}
	*http++
	return true
}

// demanded are the sets of a group as sidecars on demand get them.
type demanded struct {
	of, sets outbound
}

// onDemand leaves the members that everybody needs, and puts the rest aside. The caller holds mu.
func (g *group) onDemand() outbound {
	now, was := g.sets, &g.demand
	out := now
	out.clusters, out.listeners = was.sets.clusters, was.sets.listeners
	if was.of.clusters != now.clusters || out.clusters == nil {
		var members []*xds.Resource
		for _, name := range []string{naming.BlackHoleCluster, naming.PassthroughCluster} {
			if r := now.clusters.Get(name); r != nil {
				members = append(members, r)
			}
		}
		out.clusters = xds.NewSet(xds.ClusterType, members).WithLookup(now.clusters.Get)
	}
	if was.of.listeners != now.listeners || out.listeners == nil {
		out.listeners = xds.NewSet(xds.ListenerType, g.kept.always).WithLookup(now.listeners.Get)
	}
	g.demand = demanded{of: now, sets: out}
	return out
}

// tableOnDemand reports whether a table's virtual hosts are asked for one by one. Those of an address that belongs to one
// service are told at once.
func (s *scope) tableOnDemand(hosts []*vhost) bool {
	if !s.key.onDemand || len(hosts) == 0 {
		return false
	}
	last := hosts[len(hosts)-1].name
	return last == naming.AllowAny || last == naming.BlockAll
}

// apartOnDemand makes the route configuration of a table whose virtual hosts are asked for: it has the one for hosts that
// nobody declared.
func (s *scope) apartOnDemand(name string, ports bool, hosts []*vhost) *xds.Resource {
	if s.kept.askedNext == nil {
		s.kept.askedNext = map[string][]*vhost{}
	}
	otherwise := hosts[len(hosts)-1]
	s.kept.askedNext[name] = hosts[:len(hosts)-1]
	return s.t.answers.heads.get(s.gen.seq, headKey{name, ports, otherwise}, func() *xds.Resource {
		head := tableHead(name, ports)
		head.Vhds = &routev3.Vhds{ConfigSource: pb.ADS()}
		head.Metadata = pb.SetMetadata(nil, naming.LateenMetadata, onDemandField, pb.String("true"))
		m := &routev3.VirtualHost{}
		unmarshal(otherwise.body(), m)
		head.VirtualHosts = []*routev3.VirtualHost{m}
		return resource(name, head)
	})
}

// hostsOnDemand adds to the virtual hosts that are told those that can be asked for.
func (s *scope) hostsOnDemand(before, told *xds.Set) *xds.Set {
	was, now := s.kept.asked, s.kept.askedNext
	s.kept.asked, s.kept.askedNext = now, nil
	index := s.kept.index.advance(s.t, was, now)
	if index == s.kept.index && told == before && before != nil {
		return before
	}
	s.kept.index = index
	return told.WithLookup(func(name string) *xds.Resource { return index.find(name) })
}

// hostIndex finds virtual hosts by what requests name. It is of one moment; the next one takes over what still holds.
type hostIndex struct {
	t      *Translator
	tables map[string][]*vhost // never written

	mu    sync.Mutex
	found map[string]*xds.Resource // by TABLE/HOST; nil for what there is not
}

// maxFound bounds what an index remembers; beyond it everything is looked for again.
const maxFound = 1 << 16

func (x *hostIndex) find(name string) *xds.Resource {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r, ok := x.found[name]; ok {
		return r
	}
	if len(x.found) >= maxFound {
		clear(x.found)
	}
	r := x.search(name)
	if r != nil {
		name = r.Name
	}
	x.found[name] = r
	return r
}

func (x *hostIndex) search(name string) *xds.Resource {
	table := xds.Collection(xds.VirtualHostType, name)
	host := strings.TrimPrefix(name[len(table):], "/")
	if host == "" || strings.Contains(host, "*") {
		return nil
	}
	v := vhostFor(x.tables[table], host)
	if v == nil {
		return nil
	}
	return x.t.answers.asked.get(x.t.generation().seq, askedKey{table, host, v}, func() *xds.Resource {
		return xds.Assemble(table+"/"+host, xds.VirtualHostType, withDomain(v.body(), host))
	})
}

// askedKey is what a virtual host for one of its domains is made of.
type askedKey struct {
	table, domain string
	host          *vhost
}

// vhostFor finds the virtual host for a host, in Envoy's order.
func vhostFor(hosts []*vhost, host string) *vhost {
	var best *vhost
	length := 0
	for _, v := range hosts {
		for _, d := range v.domains {
			if d == host {
				return v
			}
			if n := wildcardMatch(d, host); n > length {
				best, length = v, n
			}
		}
	}
	return best
}

// wildcardMatch tells how well a domain with a star matches: 0 is not at all. The longest suffix wins, then the longest
// prefix, then the star alone.
func wildcardMatch(domain, host string) int {
	const suffix, alone = 1 << 16, 1
	switch {
	case domain == "*":
		return alone
	case len(host) < len(domain):
		return 0
	case strings.HasPrefix(domain, "*") && strings.HasSuffix(host, domain[1:]):
		return suffix + len(domain)
	case strings.HasSuffix(domain, "*") && strings.HasPrefix(host, domain[:len(domain)-1]):
		return alone + len(domain)
	}
	return 0
}

// advance returns the index of the next tables: itself if they are the same.
func (x *hostIndex) advance(t *Translator, was, now map[string][]*vhost) *hostIndex {
	if x == nil {
		return &hostIndex{t: t, tables: now, found: map[string]*xds.Resource{}}
	}
	touched := map[string]map[string]bool{} // domains, by table
	star := map[string]bool{}               // tables in which a domain with a star changed
	note := func(table string, list []*vhost) {
		if len(list) > 0 && touched[table] == nil {
			touched[table] = map[string]bool{}
		}
		for _, v := range list {
			for _, d := range v.domains {
				touched[table][d] = true
				star[table] = star[table] || strings.Contains(d, "*")
			}
		}
	}
	same := len(was) == len(now)
	for table, hosts := range now {
		before, had := was[table]
		same = same && had
		note(table, onlyIn(hosts, before))
		note(table, onlyIn(before, hosts))
	}
	if same && len(touched) == 0 {
		return x
	}
	next := &hostIndex{t: t, tables: now, found: map[string]*xds.Resource{}}
	x.mu.Lock()
	defer x.mu.Unlock()
	for name, r := range x.found {
		table := xds.Collection(xds.VirtualHostType, name)
		_, stays := now[table]
		_, had := was[table]
		if stays && had && !star[table] && !touched[table][name[len(table)+1:]] {
			next.found[name] = r
		}
	}
	return next
}

// Fields of a virtual host.
const (
	nameField    = 1
	domainsField = 2
)

// HostOf is the host that a virtual host's resource is for, without a port; "" for other resources.
func HostOf(r *xds.Resource) string {
	if r.TypeURL != xds.VirtualHostType {
		return ""
	}
	for rest := r.Body().GetValue(); len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return ""
		}
		if number == nameField && kind == protowire.BytesType {
			name, _ := protowire.ConsumeString(rest[n:])
			host := name[:max(strings.LastIndexByte(name, ':'), 0)]
			return strings.Trim(host, "[]")
		}
		if n = protowire.ConsumeFieldValue(number, kind, rest[n:]) + n; n <= 0 {
			return ""
		}
		rest = rest[n:]
	}
	return ""
}

// withDomain is a marshalled virtual host with one domain instead of all of its own.
func withDomain(body []byte, domain string) []byte {
	out := make([]byte, 0, len(body)+len(domain))
	for rest := body; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return nil // not what Marshal writes
		}
		if number != domainsField {
			out = append(out, rest[:n]...)
		}
		rest = rest[n:]
	}
	out = protowire.AppendTag(out, domainsField, protowire.BytesType)
	return protowire.AppendString(out, domain)
}
