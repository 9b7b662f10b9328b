package state

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// onDemand marks what has more behind it.
func onDemandMark() *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"lateen": {Fields: map[string]*structpb.Value{"on_demand": structpb.NewStringValue("true")}}}}
}

// demanding is a store whose listener and table "80" say that there is more to ask for.
func demanding(t *testing.T) *harness {
	h := &harness{t: t, engine: &engine{t: t, reject: map[string]string{}}, current: &plan.Current{}, subs: subscriptions{}}
	h.store = New(Config{Current: h.current, Engine: h.engine, OnDemand: true, Compiler: &compile.Compiler{Names: plan.NewNames()}})
	h.store.SetSubscriber(h.subs)
	l, table := rds(t, "out", "80", 15001, 0), vhds("80", "")
	l.Metadata, table.Metadata = onDemandMark(), onDemandMark()
	table.VirtualHosts = routes("").GetVirtualHosts()
	h.update(xds.ListenerType, nil, l)
	h.update(xds.RouteType, nil, table)
	return h
}

// ask is a request's: for a host of table "80".
func (h *harness) ask(authority string) <-chan struct{} {
	rc := h.current.Load().RouteConfigNamed("80")
	return rc.Missing(rc.Hosts.Find([]byte(authority), false), []byte(authority))
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A request is held until its virtual host is in force with all its clusters and their endpoints; the next one finds it there.
func TestARequestWaitsForAllThatItNeeds(t *testing.T) {
	h := demanding(t)
	wait := h.ask("Web")
	if wait == nil || closed(wait) {
		t.Fatal("not held")
	}
	if !strings.Contains(h.subs.String(), "80/web") {
		t.Errorf("asked for %s", h.subs)
	}
	h.hosts(nil, "80/web=web,c")
	if closed(wait) || !h.subs[xds.ShortType(xds.ClusterType)+" c"] {
		t.Errorf("let go before its cluster was there; asked for %s", h.subs)
	}
	h.update(xds.ClusterType, nil, eds("c", 0))
	if closed(wait) {
		t.Error("let go before the cluster had endpoints")
	}
	h.update(xds.EndpointType, nil, assignment("c", "10.0.0.1"))
	if !closed(wait) {
		t.Fatal("still held")
	}
	if got := h.answers("web"); got != "web1" {
		t.Errorf("answers %q", got)
	}
	if h.ask("web") != nil {
		t.Error("a host that is in force is asked for")
	}
	h.ask("nobody")
	if got, want := h.store.Asked(), (Asked{Names: 2, Held: 1, Waits: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	h.hosts([]string{"80/nobody"})
	if got, want := h.store.Asked(), (Asked{Names: 2, None: 1, Waits: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What there is not is known then, and is asked about no more; when it is made later, it arrives all the same.
func TestAHostThatIsNot(t *testing.T) {
	h := demanding(t)
	wait := h.ask("nobody")
	h.hosts([]string{"80/nobody"})
	if !closed(wait) {
		t.Fatal("still held")
	}
	if h.ask("nobody") != nil {
		t.Error("asked again")
	}
	h.update(xds.ClusterType, nil, eds("c", 0))
	h.update(xds.EndpointType, nil, assignment("c", "10.0.0.1"))
	h.hosts(nil, "80/nobody=nobody,c")
	if got := h.answers("nobody"); got != "nobody1" {
		t.Errorf("answers %q", got)
	}
}

// A host that is used costs a request nothing, and one that is known not to exist neither.
func TestHitsAllocateNothing(t *testing.T) {
	h := demanding(t)
	h.update(xds.ClusterType, nil, eds("c", 0))
	h.update(xds.EndpointType, nil, assignment("c", "10.0.0.1"))
	h.ask("web")
	h.ask("nobody")
	h.hosts([]string{"80/nobody"}, "80/web=web,c")
	rc := h.current.Load().RouteConfigNamed("80")
	for _, authority := range [][]byte{[]byte("web"), []byte("nobody")} {
		if n := testing.AllocsPerRun(100, func() {
			if rc.Missing(rc.Hosts.Find(authority, false), authority) != nil {
				t.Error("held")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", authority, n)
		}
	}
}

// What the control plane remembers is asked for when its table is there, whichever comes first.
func TestRemembered(t *testing.T) {
	h := &harness{t: t, engine: &engine{t: t, reject: map[string]string{}}, current: &plan.Current{}, subs: subscriptions{}}
	h.store = New(Config{Current: h.current, Engine: h.engine, OnDemand: true, Compiler: &compile.Compiler{Names: plan.NewNames()}})
	h.store.SetSubscriber(h.subs)
	h.store.Remember([]string{"10.0.0.9_5432"}, []string{"80/web", "90/other"})
	if got := h.subs.String(); !strings.Contains(got, "10.0.0.9_5432") || strings.Contains(got, "80/web") {
		t.Errorf("before its table is there, asked for %s", got)
	}
	l, table := rds(t, "out", "80", 15001, 0), vhds("80", "")
	l.Metadata, table.Metadata = onDemandMark(), onDemandMark()
	h.update(xds.ListenerType, nil, l)
	h.update(xds.RouteType, nil, table)
	if got := h.subs.String(); !strings.Contains(got, "80/web") || strings.Contains(got, "90/other") {
		t.Errorf("asked for %s", got)
	}
}

// asking is asks with a subscriber, and the names that it has subscribed to.
func asking() (*asks, subscriptions) {
	a, subs := newAsks(), subscriptions{}
	a.subscriber = subs
	return a, subs
}

func hostName(i int) string { return fmt.Sprintf("80/h%d", i) }

// Only so many wait; whoever comes then is not held, and the queue ends when the answers come.
func TestOnlySoManyWait(t *testing.T) {
	a, _ := asking()
	var waiting []<-chan struct{}
	for i := range mostHeld {
		waiting = append(waiting, a.ask(plan.KindVirtualHost, hostName(i)))
	}
	if a.ask(plan.KindVirtualHost, "80/more") != nil {
		t.Error("one more is held")
	}
	var names []key
	for i := range mostHeld {
		names = append(names, key{plan.KindVirtualHost, hostName(i)})
	}
	a.answer(names[:mostHeld/2], names[mostHeld/2:])
	if i := slices.IndexFunc(waiting, func(c <-chan struct{}) bool { return !closed(c) }); i >= 0 {
		t.Errorf("number %d is still held", i)
	}
	if a.held != 0 {
		t.Errorf("%d are counted as held", a.held)
	}
	if c := a.ask(plan.KindVirtualHost, "80/more"); c == nil || closed(c) {
		t.Error("nobody is held any more")
	}
}

// A workload that calls ever new names which do not exist gives the oldest of them up; what is in force is kept, and
// nothing is asked for beyond the bound.
func TestNamesAreBounded(t *testing.T) {
	a, subs := asking()
	keep := key{plan.KindVirtualHost, "80/keep"}
	a.subscribe(plan.KindVirtualHost, []string{keep.name})
	a.answer([]key{keep}, nil)
	for i := range manyAsked + 100 {
		a.subscribe(plan.KindVirtualHost, []string{hostName(i)})
		a.answer(nil, []key{{plan.KindVirtualHost, hostName(i)}})
	}
	if len(a.byName) > manyAsked || len(*a.demand.None.Load()) > manyAsked {
		t.Errorf("%d names are asked for, %d are known not to exist", len(a.byName), len(*a.demand.None.Load()))
	}
	if a.byName[keep] == nil || a.byName[key{plan.KindVirtualHost, hostName(0)}] != nil {
		t.Error("the wrong name was given up")
	}
	of := xds.ShortType(xds.VirtualHostType) + " "
	if subs[of+hostName(0)] || !subs[of+keep.name] {
		t.Error("what was given up is still subscribed to, or what was kept is not")
	}
	all, _ := asking()
	for i := range mostAsked + 100 {
		all.subscribe(plan.KindVirtualHost, []string{hostName(i)})
		all.answer([]key{{plan.KindVirtualHost, hostName(i)}}, nil)
	}
	if len(all.byName) != mostAsked {
		t.Errorf("%d names are asked for", len(all.byName))
	}
	if c := all.ask(plan.KindVirtualHost, "80/more"); !closed(c) {
		t.Error("a name that can't be asked for is waited for")
	}
}

// Requests ask while answers come and a table goes; everybody is let go.
func TestAskingAndAnsweringAtOnce(t *testing.T) {
	a, _ := asking()
	const names, askers = 200, 4
	var g sync.WaitGroup
	for range askers {
		g.Go(func() {
			for i := range names {
				if c := a.ask(plan.KindVirtualHost, hostName(i)); c != nil {
					<-c
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	for i := 0; !closed(done); i++ {
		k := key{plan.KindVirtualHost, hostName(i % names)}
		if i%2 == 0 {
			a.answer([]key{k}, nil)
		} else {
			a.answer(nil, []key{k})
		}
		if i%(3*names) == 0 {
			a.drop("80")
		}
	}
	a.drop("80")
	if len(a.byName) != 0 || a.held != 0 || len(*a.demand.None.Load()) != 0 {
		t.Errorf("left: %d names, %d held, %d known not to exist", len(a.byName), a.held, len(*a.demand.None.Load()))
	}
}
