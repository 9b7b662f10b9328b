package machine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

// mesh makes random states in which every reference has its target. A
// resource's refs are kept beside it so that the client can follow them.
type mesh struct {
	rnd      *rand.Rand
	revision uint64
	refs     map[*xds.Resource][]string
	// bad versions are refused by clients.
	bad map[string]bool
	n   int
	// whole is the last state as it was before parts of it were set aside.
	whole *xds.State
}

func (g *mesh) make(typeURL, name string, refs []string) *xds.Resource {
	var body []byte
	for _, ref := range refs {
		body = append(body, 0x0a, byte(len(ref)))
		body = append(body, ref...)
	}
	g.n++
	version := fmt.Sprintf("%d", g.n)
	if g.rnd.IntN(25) == 0 {
		g.bad[version] = true
	}
	r := xds.Received(name, typeURL, version, &anypb.Any{TypeUrl: typeURL, Value: body})
	g.refs[r] = refs
	return r
}

func (g *mesh) some(names []string, atMost int) []string {
	out := slices.Clone(names)
	g.rnd.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), 1+g.rnd.IntN(atMost))]
}

// next changes a state here and there. References stay whole: a route or
// listener whose target went away is made anew.
func (g *mesh) next(old *xds.State) *xds.State {
	g.revision++
	pick := func(typeURL string, pool int, prefix string) map[string]*xds.Resource {
		out := map[string]*xds.Resource{}
		for i := range pool {
			name := fmt.Sprintf("%s%d", prefix, i)
			r := old.Set(typeURL).Get(name)
			if present := g.rnd.IntN(10) != 0 == (r != nil); present && (r != nil || g.rnd.IntN(10) == 0) || r == nil && g.rnd.IntN(8) == 0 {
				out[name] = r
			}
		}
		return out
	}
	clusters := pick(xds.ClusterType, 12, "c")
	if len(clusters) == 0 {
		clusters["c0"] = old.Set(xds.ClusterType).Get("c0")
	}
	endpoints := map[string]*xds.Resource{}
	for name, r := range clusters {
		if r == nil || g.rnd.IntN(10) == 0 {
			clusters[name] = g.make(xds.ClusterType, name, nil)
		}
		if endpoints[name] = old.Set(xds.EndpointType).Get(name); endpoints[name] == nil || g.rnd.IntN(5) == 0 {
			endpoints[name] = g.make(xds.EndpointType, name, nil)
		}
	}
	clusterNames := slices.Sorted(maps.Keys(clusters))
	routes := g.referring(pick(xds.RouteType, 5, "r"), xds.RouteType, clusterNames)
	hosts := map[string]*xds.Resource{}
	for name, r := range pick(xds.RouteType, 3, "v") {
		// These get their virtual hosts one by one.
		if routes[name] = r; r == nil || g.rnd.IntN(20) == 0 {
			routes[name] = g.make(xds.RouteType, name, nil)
		}
		maps.Copy(hosts, g.referring(pick(xds.VirtualHostType, 4, name+"/h"), xds.VirtualHostType, clusterNames))
	}
	filters := g.referring(pick(xds.ExtensionConfigType, 5, "x"), xds.ExtensionConfigType, clusterNames)
	targets := slices.Concat(clusterNames, slices.Sorted(maps.Keys(routes)), slices.Sorted(maps.Keys(filters)))
	listeners := g.referring(pick(xds.ListenerType, 5, "l"), xds.ListenerType, targets)
	set := func(typeURL string, m map[string]*xds.Resource) *xds.Set {
		return xds.NewSet(typeURL, slices.Collect(maps.Values(m)))
	}
	return xds.NewState(g.revision, time.Time{}, set(xds.ClusterType, clusters), set(xds.EndpointType, endpoints),
		set(xds.RouteType, routes), set(xds.ListenerType, listeners), set(xds.VirtualHostType, hosts), set(xds.ExtensionConfigType, filters))
}

func (g *mesh) referring(m map[string]*xds.Resource, typeURL string, targets []string) map[string]*xds.Resource {
	for name, r := range m {
		dangling := slices.ContainsFunc(g.refs[r], func(ref string) bool { return !slices.Contains(targets, ref) })
		if r == nil || dangling || g.rnd.IntN(6) == 0 {
			m[name] = g.make(typeURL, name, g.some(targets, 4))
		}
	}
	return m
}

// proxy is a client as Envoy is one: it takes frames one after the other,
// follows references with subscriptions, and keeps the old version of what it
// refuses.
type proxy struct {
	t     *testing.T
	g     *mesh
	delta bool
	have  map[string]map[string]*xds.Resource
	// names subscribed to by name, by type.
	names map[string]map[string]bool
	// warming are clusters whose endpoints have not been heard of since they
	// came; like Envoy, the client answers for its clusters when all are warm.
	warming map[string]bool
	held    *Request
	log     []string
	// demand is set for a client that asks for what it uses.
	demand *onDemand
}

var proxyTypes = []string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.ExtensionConfigType, xds.RouteType, xds.VirtualHostType}

func newProxy(t *testing.T, g *mesh, delta bool) *proxy {
	p := &proxy{t: t, g: g, delta: delta, have: map[string]map[string]*xds.Resource{}, names: map[string]map[string]bool{}, warming: map[string]bool{}}
	for _, url := range proxyTypes {
		p.have[url], p.names[url] = map[string]*xds.Resource{}, map[string]bool{}
	}
	return p
}

// hello is what the client sends on a new stream.
func (p *proxy) hello() (out []*Request) {
	for _, url := range proxyTypes {
		r := &Request{TypeURL: url}
		names := slices.Sorted(maps.Keys(p.names[url]))
		if xds.ByNameOnly(url) && len(names) == 0 {
			continue
		}
		if p.delta {
			r.Subscribe, r.Initial = names, map[string]string{}
			if p.demand != nil && !xds.ByNameOnly(url) {
				r.Subscribe = append(r.Subscribe, xds.Wildcard)
			}
			for name, res := range p.have[url] {
				r.Initial[name] = res.Version
			}
		} else {
			r.Names = names
		}
		out = append(out, r)
	}
	return out
}

// take applies a frame, checks the property and returns the requests that
// follow: new subscriptions first, then the answer.
func (p *proxy) take(f *Frame, state *xds.State) (out []*Request) {
	before := maps.Clone(p.have[xds.VirtualHostType])
	p.checkFilters(f)
	p.log = append(p.log, p.describe(f))
	if p.demand != nil {
		p.demand.removed(f, p.have[xds.ClusterType])
	}
	var refused []string
	seen := map[string]bool{}
	for _, r := range f.Resources {
		if p.demand != nil && xds.ByNameOnly(f.TypeURL) && !p.names[f.TypeURL][r.Name] {
			continue // given up meanwhile
		}
		seen[r.Name] = true
		if had := p.have[f.TypeURL][r.Name]; f.TypeURL == xds.ClusterType && (had == nil || had.Version != r.Version) {
			p.warming[r.Name] = true
		}
		if p.g.bad[r.Version] {
			refused = append(refused, r.Name)
		} else {
			p.have[f.TypeURL][r.Name] = r
		}
	}
	for _, name := range f.Removed {
		delete(p.have[f.TypeURL], name)
	}
	if !p.delta && (!xds.ByNameOnly(f.TypeURL) || f.TypeURL == xds.VirtualHostType) {
		maps.DeleteFunc(p.have[f.TypeURL], func(name string, _ *xds.Resource) bool { return !seen[name] })
	}
	follow := p.taken(f, before, state)
	answer := &Request{TypeURL: f.TypeURL, Nonce: f.Nonce}
	if !p.delta {
		answer.Names = slices.Sorted(maps.Keys(p.names[f.TypeURL]))
	}
	if len(refused) > 0 {
		answer.Refused, answer.Reason = true, "cannot use "+strings.Join(refused, " and ")
	}
	return append(follow, p.whenWarm(f, answer)...)
}

// taken checks what the client has after a frame, and returns the subscriptions
// that follow.
func (p *proxy) taken(f *Frame, before map[string]*xds.Resource, state *xds.State) []*Request {
	if p.demand == nil {
		p.check()
		p.checkLost(f, before, state)
		return p.follow(f.TypeURL)
	}
	p.demand.checkUse()
	follow := p.demand.settle()
	p.demand.checkUse()
	return follow
}

// whenWarm is the answer to a frame, unless it is one for clusters of which some
// are not warm; and that one's, if this frame was all that it waited for.
func (p *proxy) whenWarm(f *Frame, answer *Request) (out []*Request) {
	switch f.TypeURL {
	case xds.ClusterType:
		p.held = answer
	case xds.EndpointType:
		for _, r := range f.Resources {
			delete(p.warming, r.Name)
		}
		for _, name := range f.Removed {
			delete(p.warming, name)
		}
		out = append(out, answer)
	default:
		return []*Request{answer}
	}
	maps.DeleteFunc(p.warming, func(name string, _ bool) bool { return p.have[xds.ClusterType][name] == nil })
	if p.held != nil && len(p.warming) == 0 {
		out, p.held = append(out, p.held), nil
	}
	return out
}

func (p *proxy) describe(f *Frame) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:", xds.ShortType(f.TypeURL))
	for _, r := range f.Resources {
		fmt.Fprintf(&b, " %s=%s%v", r.Name, r.Version, p.g.refs[r])
		if p.g.bad[r.Version] {
			b.WriteString("!")
		}
	}
	for _, name := range f.Removed {
		fmt.Fprintf(&b, " -%s", name)
	}
	return b.String()
}

// check is the property: no listener, route or virtual host in use refers to a
// cluster that the client lacks.
func (p *proxy) check() {
	p.t.Helper()
	use := func(kind, name string, r *xds.Resource) {
		for _, ref := range p.g.refs[r] {
			if strings.HasPrefix(ref, "c") && p.have[xds.ClusterType][ref] == nil {
				p.t.Fatalf("%s %s=%s refers to cluster %s, which the client does not have\n%s", kind, name, r.Version, ref, strings.Join(p.log, "\n"))
			}
		}
	}
	active := map[string]bool{}
	for name, l := range p.have[xds.ListenerType] {
		use("listener", name, l)
		for _, ref := range p.g.refs[l] {
			active[ref] = true
		}
	}
	for name, r := range p.have[xds.RouteType] {
		if active[name] {
			use("route", name, r)
		}
	}
	for name, r := range p.have[xds.ExtensionConfigType] {
		if active[name] {
			use("filter", name, r)
		}
	}
	for name, r := range p.have[xds.VirtualHostType] {
		if active[xds.Collection(xds.VirtualHostType, name)] {
			use("virtual host", name, r)
		}
	}
}

// checkFilters is the property of filters' configurations: none that the client has is taken away. It may be in use until
// the listener that names it has been replaced, which the server doesn't hear of.
func (p *proxy) checkFilters(f *Frame) {
	for _, name := range f.Removed {
		if f.TypeURL == xds.ExtensionConfigType && p.have[f.TypeURL][name] != nil {
			p.t.Fatalf("filter %s was taken away\n%s", name, strings.Join(p.log, "\n"))
		}
	}
}

// checkLost is the property of what is taken away: a virtual host that the state
// wants stays, and one of a route configuration that is to go stays as long as a
// listener uses that.
func (p *proxy) checkLost(f *Frame, before map[string]*xds.Resource, state *xds.State) {
	p.t.Helper()
	for name := range before {
		if p.have[xds.VirtualHostType][name] != nil {
			continue
		}
		route := xds.Collection(xds.VirtualHostType, name)
		wanted := state.Set(xds.VirtualHostType).Get(name) != nil
		for listener, l := range p.have[xds.ListenerType] {
			if slices.Contains(p.g.refs[l], route) && (wanted || state.Set(xds.RouteType).Get(route) == nil) {
				p.t.Fatalf("virtual host %s went away while listener %s uses its route configuration\n%s\n%s", name, listener, p.describe(f), strings.Join(p.log, "\n"))
			}
		}
	}
}

// follow subscribes to endpoints of clusters and routes of listeners.
func (p *proxy) follow(changed string) (out []*Request) {
	wanted, url := map[string]bool{}, ""
	switch changed {
	case xds.ClusterType:
		url = xds.EndpointType
		for name := range p.have[xds.ClusterType] {
			wanted[name] = true
		}
	case xds.ListenerType:
		url = xds.RouteType
		filters := map[string]bool{}
		for _, l := range p.have[xds.ListenerType] {
			for _, ref := range p.g.refs[l] {
				switch ref[0] {
				case 'c':
				case 'x':
					filters[ref] = true
				default:
					wanted[ref] = true
				}
			}
		}
		out = p.ask(xds.ExtensionConfigType, filters)
	case xds.RouteType:
		return p.followHosts()
	default:
		return nil
	}
	out = append(out, p.ask(url, wanted)...)
	if url == xds.RouteType {
		out = append(out, p.followHosts()...)
	}
	return out
}

// followHosts subscribes to the virtual hosts of route configurations that have
// none of their own.
func (p *proxy) followHosts() []*Request {
	wanted := map[string]bool{}
	for name := range p.have[xds.RouteType] {
		if strings.HasPrefix(name, "v") {
			wanted[name] = true
		}
	}
	return p.ask(xds.VirtualHostType, wanted)
}

func (p *proxy) ask(url string, wanted map[string]bool) []*Request {
	r := &Request{TypeURL: url}
	for name := range wanted {
		if !p.names[url][name] {
			r.Subscribe = append(r.Subscribe, name)
		}
	}
	for name := range p.names[url] {
		if !wanted[name] {
			r.Unsubscribe = append(r.Unsubscribe, name)
			delete(p.have[url], name)
			maps.DeleteFunc(p.have[url], func(member string, _ *xds.Resource) bool { return xds.Collection(url, member) == name })
		}
	}
	p.names[url] = wanted
	if len(r.Subscribe)+len(r.Unsubscribe) == 0 {
		return nil
	}
	slices.Sort(r.Subscribe)
	slices.Sort(r.Unsubscribe)
	r.Names = slices.Sorted(maps.Keys(wanted))
	return []*Request{r}
}

// link carries frames and requests in order, each side at its own pace.
type link struct {
	m      *Machine
	p      *proxy
	frames []*Frame
	// states are what the frames were made for.
	states   []*xds.State
	requests []*Request
	// nonce of the last frame that the client took, by type: what a
	// state-of-the-world request carries.
	nonces map[string]string
}

func (l *link) connect(t *testing.T, state *xds.State) {
	limits := Limits{Names: 1000, Types: 10, FrameBytes: 100}
	l.m = New(l.p.delta, limits, state)
	l.frames, l.states, l.nonces = nil, nil, map[string]string{}
	l.p.held, l.p.warming = nil, map[string]bool{}
	l.requests = l.p.hello()
	l.p.log = append(l.p.log, "--- connected")
}

func (l *link) client() {
	f := l.frames[0]
	state := l.states[0]
	l.frames, l.states = l.frames[1:], l.states[1:]
	l.nonces[f.TypeURL] = f.Nonce
	for _, r := range l.p.take(f, state) {
		if !l.p.delta {
			r.Nonce = l.nonces[r.TypeURL]
			r.Subscribe, r.Unsubscribe = nil, nil
		} else {
			r.Names = nil
		}
		l.requests = append(l.requests, r)
	}
}

func (l *link) server(t *testing.T) {
	r := l.requests[0]
	l.requests = l.requests[1:]
	out, err := l.m.Request(r)
	if err != nil {
		t.Fatal(err)
	}
	l.queue(out)
}

func (l *link) queue(out Out) {
	for _, f := range out.Frames {
		l.frames, l.states = append(l.frames, f), append(l.states, l.m.state)
	}
}

func (l *link) drain(t *testing.T) {
	for range 10_000 {
		switch {
		case len(l.requests) > 0:
			l.server(t)
		case len(l.frames) > 0:
			l.client()
		default:
			return
		}
	}
	t.Fatalf("the stream does not come to rest\n%s", strings.Join(l.p.log[len(l.p.log)-40:], "\n"))
}

// final checks that a client at rest has the state, but for what it refuses and
// what is held back because of that.
func (l *link) final(state *xds.State) {
	l.p.t.Helper()
	if l.m.Acked() != state.Revision {
		l.p.t.Errorf("at rest with revision %d of %d acknowledged\n%s", l.m.Acked(), state.Revision, strings.Join(l.p.log, "\n"))
	}
	clean := true
	for _, url := range proxyTypes {
		for r := range state.Set(url).All() {
			clean = clean && !l.p.g.bad[r.Version]
		}
	}
	if !clean {
		return
	}
	for _, url := range proxyTypes {
		for r := range state.Set(url).All() {
			wanted := !xds.ByNameOnly(url) || l.p.names[url][r.Name] || l.p.names[url][xds.Collection(url, r.Name)]
			if have := l.p.have[url][r.Name]; wanted && (have == nil || have.Version != r.Version) {
				l.p.t.Errorf("at rest without %s %s=%s\n%s", xds.ShortType(url), r.Name, r.Version, strings.Join(l.p.log, "\n"))
			}
		}
		for name := range l.p.have[url] {
			if state.Set(url).Get(name) == nil && (!xds.ByNameOnly(url) || url == xds.VirtualHostType) {
				l.p.t.Errorf("at rest with %s %s, which is gone\n%s", xds.ShortType(url), name, strings.Join(l.p.log, "\n"))
			}
		}
	}
}

// TestMakeBeforeBreak drives random changes, answers, refusals and reconnects
// against both kinds of stream, and checks after every frame that what the
// client uses refers to nothing that it lacks.
func TestMakeBeforeBreak(t *testing.T) {
	for _, delta := range []bool{true, false} {
		t.Run(fmt.Sprintf("delta=%v", delta), func(t *testing.T) {
			for seed := range uint64(400) {
				churn(t, kind{delta: delta}, seed)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// kind is what a client is like.
type kind struct{ delta, onDemand bool }

func (g *mesh) advance(k kind) *xds.State {
	g.whole = g.next(g.whole)
	if k.onDemand {
		return g.aside(g.whole)
	}
	return g.whole
}

func (g *mesh) client(t *testing.T, k kind) *proxy {
	p := newProxy(t, g, k.delta)
	if k.onDemand {
		p.demand = newOnDemand(p)
	}
	return p
}

func churn(t *testing.T, k kind, seed uint64) {
	g := &mesh{rnd: rand.New(rand.NewPCG(seed, 1)), refs: map[*xds.Resource][]string{nil: nil}, bad: map[string]bool{}}
	state := g.advance(k)
	l := &link{p: g.client(t, k)}
	l.connect(t, state)
	for range 300 {
		switch what := g.rnd.IntN(20); {
		case what == 0:
			state = g.advance(k)
			l.queue(l.m.Target(state))
		case what == 1 && g.rnd.IntN(8) == 0:
			if !k.delta {
				// A state-of-the-world client cannot say what it holds, so what it
				// still uses cannot be kept for it: it counts as a new one.
				l.p = g.client(t, k)
			}
			l.connect(t, state)
		case what == 2 && k.onDemand:
			for _, r := range l.p.demand.wish() {
				r.Names = nil
				l.requests = append(l.requests, r)
			}
		case what < 10 && len(l.frames) > 0:
			l.client()
		case len(l.requests) > 0:
			l.server(t)
		}
	}
	l.drain(t)
	if k.onDemand {
		l.p.demand.final(l, state)
		return
	}
	l.final(state)
}
