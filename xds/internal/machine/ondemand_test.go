package machine

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lateen.dev/lateen/xds"
)

// aside takes from a state's sets what is to be had by name only: some clusters and
// listeners, and all virtual hosts, which go by other names besides: v0/a5 is
// another name of v0/h1.
func (g *mesh) aside(state *xds.State) *xds.State {
	split := func(typeURL string, member func(string) bool, alias func(string) string) *xds.Set {
		all := state.Set(typeURL)
		var members []*xds.Resource
		for r := range all.All() {
			if member(r.Name) {
				members = append(members, r)
			}
		}
		var made sync.Map
		return xds.NewSet(typeURL, members).WithLookup(func(name string) *xds.Resource {
			if r := all.Get(name); r != nil {
				return r
			}
			r := all.Get(alias(name))
			if r == nil {
				return nil
			}
			own, _ := made.LoadOrStore(name, xds.Received(name, r.TypeURL, r.Version, r.Body()))
			g.refs[own.(*xds.Resource)] = g.refs[r]
			return own.(*xds.Resource)
		})
	}
	same := func(name string) string { return name }
	low := func(name string) bool { return name[len(name)-1] < '3' && len(name) == 2 }
	return xds.NewState(state.Revision, state.Changed,
		split(xds.ClusterType, low, same), state.Set(xds.EndpointType), split(xds.ListenerType, low, same), state.Set(xds.RouteType),
		split(xds.VirtualHostType, func(string) bool { return false }, func(name string) string {
			route, number, ok := strings.Cut(name, "/a")
			n, err := strconv.Atoi(number)
			if !ok || err != nil {
				return ""
			}
			return route + "/h" + strconv.Itoa(n%4)
		}))
}

// onDemand is what a client does beyond others that asks for what it uses.
type onDemand struct {
	*proxy
	// use is what has all the clusters that it refers to; what the proxy has waits
	// for them, and what is in use stays until then.
	use map[string]map[string]*xds.Resource
	// asked are virtual hosts and listeners that somebody wanted to use.
	asked map[string]map[string]bool
	// lost are clusters that the server took away while they were used.
	lost map[string]*xds.Resource
}

func newOnDemand(p *proxy) *onDemand {
	o := &onDemand{proxy: p, use: map[string]map[string]*xds.Resource{}, asked: map[string]map[string]bool{}, lost: map[string]*xds.Resource{}}
	for _, url := range proxyTypes {
		o.use[url], o.asked[url] = map[string]*xds.Resource{}, map[string]bool{}
	}
	return o
}

// wish asks for something that the client has not used before.
func (o *onDemand) wish() []*Request {
	names := map[string][]string{xds.ListenerType: {"l0", "l1", "l2", "l3", "l4"}, xds.VirtualHostType: {"v0/h0", "v0/a1", "v0/a5", "v1/a2", "v1/h3", "v2/a3"}}
	for url, list := range names {
		o.asked[url][list[o.g.rnd.IntN(len(list))]] = true
	}
	return o.settle()
}

var users = []string{xds.ListenerType, xds.RouteType, xds.VirtualHostType}

func (o *onDemand) cluster(name string) bool {
	return o.have[xds.ClusterType][name] != nil || o.lost[name] != nil
}

func clustersOf(refs []string) []string {
	return slices.DeleteFunc(slices.Clone(refs), func(ref string) bool { return !strings.HasPrefix(ref, "c") })
}

// settle takes into use what is complete, gives up what nobody uses, and asks for
// what lacks.
func (o *onDemand) settle() (out []*Request) {
	wanted, used := map[string]bool{}, map[string]bool{}
	for _, url := range users {
		for name, r := range o.have[url] {
			complete := true
			for _, c := range clustersOf(o.g.refs[r]) {
				complete = complete && o.cluster(c)
				wanted[c] = wanted[c] || o.names[xds.ClusterType][c] || !o.cluster(c) || o.lost[c] != nil
			}
			if complete {
				o.use[url][name] = r
			}
		}
		maps.DeleteFunc(o.use[url], func(name string, _ *xds.Resource) bool { return o.have[url][name] == nil })
		for _, r := range o.use[url] {
			for _, c := range clustersOf(o.g.refs[r]) {
				used[c] = true
				wanted[c] = wanted[c] || o.names[xds.ClusterType][c] || o.lost[c] != nil
			}
		}
	}
	maps.DeleteFunc(o.lost, func(name string, _ *xds.Resource) bool { return !used[name] })
	maps.DeleteFunc(wanted, func(_ string, is bool) bool { return !is })
	out = append(out, o.ask(xds.ClusterType, wanted)...)
	out = append(out, o.ask(xds.EndpointType, slicesSet(maps.Keys(o.have[xds.ClusterType])))...)
	out = append(out, o.ask(xds.ListenerType, maps.Clone(o.asked[xds.ListenerType]))...)
	routes := map[string]bool{}
	for _, l := range o.have[xds.ListenerType] {
		for _, ref := range o.g.refs[l] {
			if !strings.HasPrefix(ref, "c") {
				routes[ref] = true
			}
		}
	}
	out = append(out, o.ask(xds.RouteType, routes)...)
	hosts := map[string]bool{}
	for name := range o.asked[xds.VirtualHostType] {
		if o.have[xds.RouteType][xds.Collection(xds.VirtualHostType, name)] != nil {
			hosts[name] = true
		}
	}
	return append(out, o.ask(xds.VirtualHostType, hosts)...)
}

func slicesSet(names func(func(string) bool)) map[string]bool {
	out := map[string]bool{}
	for name := range names {
		out[name] = true
	}
	return out
}

// removed notes clusters that go while something in use refers to them: they stay
// until that has gone or has been replaced.
func (o *onDemand) removed(f *Frame, before map[string]*xds.Resource) {
	if f.TypeURL != xds.ClusterType {
		return
	}
	for _, r := range f.Resources {
		delete(o.lost, r.Name)
	}
	for _, name := range f.Removed {
		for _, url := range users {
			for _, r := range o.use[url] {
				if slices.Contains(o.g.refs[r], name) && before[name] != nil {
					o.lost[name] = before[name]
				}
			}
		}
	}
}

// checkUse is the property: what is in use refers to nothing that the client lacks.
func (o *onDemand) checkUse() {
	o.t.Helper()
	for _, url := range users {
		for name, r := range o.use[url] {
			for _, c := range clustersOf(o.g.refs[r]) {
				if !o.cluster(c) {
					o.t.Fatalf("%s %s=%s in use refers to cluster %s, which the client does not have\n%s", xds.ShortType(url), name, r.Version, c, strings.Join(o.log, "\n"))
				}
			}
		}
	}
}

// final checks that a client at rest has what it asked for, in use, and nothing
// that is gone.
func (o *onDemand) final(l *link, state *xds.State) {
	o.t.Helper()
	if l.m.Acked() != state.Revision {
		o.t.Errorf("at rest with revision %d of %d acknowledged\n%s", l.m.Acked(), state.Revision, strings.Join(o.log, "\n"))
	}
	for _, s := range l.m.types {
		if len(s.refused) > 0 {
			return
		}
	}
	for _, url := range proxyTypes {
		for r := range state.Set(url).All() {
			if o.g.bad[r.Version] {
				return
			}
		}
		for name := range o.names[url] {
			if r := state.Set(url).Get(name); r != nil && o.g.bad[r.Version] {
				return
			}
		}
	}
	if len(o.lost) > 0 {
		o.t.Errorf("at rest with clusters that are gone: %v\n%s", slices.Collect(maps.Keys(o.lost)), strings.Join(o.log, "\n"))
	}
	for _, url := range proxyTypes {
		for name, have := range o.have[url] {
			if want := l.m.state.Set(url).Get(name); want == nil && url != xds.EndpointType && url != xds.RouteType || want != nil && want.Version != have.Version {
				o.t.Errorf("at rest with %s %s=%s, wanted is %v\n%s", xds.ShortType(url), name, have.Version, want, strings.Join(o.log, "\n"))
			}
		}
		for name := range o.names[url] {
			if want := state.Set(url).Get(name); want != nil && o.have[url][name] == nil {
				o.t.Errorf("at rest without %s %s\n%s", xds.ShortType(url), name, strings.Join(o.log, "\n"))
			}
		}
	}
	for _, url := range users {
		for name, r := range o.have[url] {
			if o.use[url][name] != r {
				o.t.Errorf("at rest, %s %s is not in use\n%s", xds.ShortType(url), name, strings.Join(o.log, "\n"))
			}
		}
	}
}

// TestOnDemandMakeBeforeBreak is TestMakeBeforeBreak for clients that ask for
// clusters, listeners and virtual hosts when they use them, and by other names.
func TestOnDemandMakeBeforeBreak(t *testing.T) {
	for seed := range uint64(150) {
		churn(t, kind{delta: true, onDemand: true}, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
