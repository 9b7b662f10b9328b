package lb

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
)

func hostsOf(weights ...uint32) []Host {
	hosts := make([]Host, len(weights))
	for i, w := range weights {
		hosts[i] = Host{Weight: w, HashKey: fmt.Sprintf("10.0.0.%d:80", i), Healthy: true, Active: new(atomic.Int64)}
	}
	return hosts
}

func flat(n int) []Priority {
	l := Locality{Weight: 1}
	for i := range n {
		l.Hosts = append(l.Hosts, i)
	}
	return []Priority{{Localities: []Locality{l}}}
}

func shares(b *Balancer, n, picks int) []int {
	got := make([]int, n)
	src := rand.New(rand.NewPCG(1, 2))
	for range picks {
		if i := b.Pick(&Request{Rand: src.Uint64()}); i >= 0 {
			got[i]++
		}
	}
	return got
}

func near(got []int, want []int, slack int) bool {
	for i := range got {
		if got[i] < want[i]-slack || got[i] > want[i]+slack {
			return false
		}
	}
	return true
}

func TestPoliciesFollowWeights(t *testing.T) {
	for _, tc := range []struct {
		name    string
		kind    Kind
		weights []uint32
		want    []int // of 10,000
		slack   int
	}{
		{"round robin is exact", RoundRobin, []uint32{1, 1, 2}, []int{2500, 2500, 5000}, 0},
		{"round robin without weights", RoundRobin, []uint32{0, 0, 0, 0}, []int{2500, 2500, 2500, 2500}, 0},
		{"random", Random, []uint32{1, 3}, []int{2500, 7500}, 200},
		{"least request without load", LeastRequest, []uint32{1, 1}, []int{5000, 5000}, 200},
		{"ring hash", RingHash, []uint32{1, 1}, []int{5000, 5000}, 800},
		{"maglev", Maglev, []uint32{1, 1, 2}, []int{2500, 2500, 5000}, 300},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hosts := hostsOf(tc.weights...)
			b := New(Config{Kind: tc.kind, PanicPercent: 50}, hosts, flat(len(hosts)))
			if got := shares(b, len(hosts), 10000); !near(got, tc.want, tc.slack) {
				t.Errorf("shares %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSmoothOrderSpreads(t *testing.T) {
	if got, want := smoothOrder(hostsOf(5, 1, 1), []int{0, 1, 2}), []int{0, 0, 1, 0, 2, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	huge := smoothOrder(hostsOf(4_000_000_007, 1), []int{0, 1})
	if len(huge) > maxSequence+2 || !slices.Contains(huge, 1) {
		t.Errorf("%d entries for huge weights; every host must be in it", len(huge))
	}
}

func TestLeastRequestAvoidsTheBusyHost(t *testing.T) {
	hosts := hostsOf(1, 1, 1)
	hosts[0].Active.Store(100)
	b := New(Config{Kind: LeastRequest}, hosts, flat(3))
	if got := shares(b, 3, 9000); got[0] > 1200 { // only when it is drawn twice: 1/9
		t.Errorf("the busy host got %d of 9000", got[0])
	}
}

func TestHashIsConsistent(t *testing.T) {
	for _, kind := range []Kind{RingHash, Maglev} {
		hosts := hostsOf(1, 1, 1, 1)
		before := New(Config{Kind: kind, PanicPercent: 1}, hosts, flat(4))
		hosts2 := slices.Clone(hosts)
		hosts2[3].Healthy = false
		after := New(Config{Kind: kind, PanicPercent: 1}, hosts2, flat(4))
		moved := 0
		for i := range 1000 {
			h := splitmix(uint64(i))
			a, b := before.Pick(&Request{Hash: h, HasHash: true}), after.Pick(&Request{Hash: h, HasHash: true})
			if b == 3 {
				t.Fatal("an unhealthy host was chosen")
			}
			if a != 3 && a != b {
				moved++
			}
		}
		if moved > 200 { // a ring also gains points when a host leaves, to keep its least size
			t.Errorf("kind %d: %d of 1000 keys moved between hosts that stayed", kind, moved)
		}
	}
}

func TestLoads(t *testing.T) {
	for _, tc := range []struct {
		healthy, total, want []int
		panicking            []bool
	}{
		{[]int{10, 10}, []int{10, 10}, []int{100, 0}, []bool{false, false}},
		{[]int{5, 10}, []int{10, 10}, []int{70, 30}, []bool{false, false}},
		{[]int{0, 10}, []int{10, 10}, []int{0, 100}, []bool{false, false}},
		{[]int{2, 2}, []int{10, 10}, []int{50, 50}, []bool{true, true}},
		{[]int{0, 0}, []int{10, 30}, []int{25, 75}, []bool{true, true}},
		{[]int{0}, []int{0}, []int{0}, []bool{false}},
		{[]int{0, 3}, []int{0, 3}, []int{0, 100}, []bool{false, false}},
	} {
		loads, panicking := Loads(tc.healthy, tc.total, 1.4, 50)
		if !slices.Equal(loads, tc.want) || !slices.Equal(panicking, tc.panicking) {
			t.Errorf("healthy %v of %v: %v %v, want %v %v", tc.healthy, tc.total, loads, panicking, tc.want, tc.panicking)
		}
	}
}

func TestPanicAndNoHosts(t *testing.T) {
	hosts := hostsOf(1, 1)
	hosts[0].Healthy, hosts[1].Healthy = false, false
	if got := shares(New(Config{PanicPercent: 50}, hosts, flat(2)), 2, 100); got[0]+got[1] != 100 {
		t.Errorf("in panic, health is ignored: %v", got)
	}
	if got := shares(New(Config{}, hosts, flat(2)), 2, 100); got[0]+got[1] != 0 {
		t.Errorf("without panic, nothing can be chosen: %v", got)
	}
	if New(Config{PanicPercent: 50, FailOnPanic: true}, hosts, flat(2)).Pick(&Request{}) != -1 {
		t.Error("fail_traffic_on_panic must fail")
	}
	if New(Config{}, nil, nil).Pick(&Request{}) != -1 {
		t.Error("an empty cluster has no host")
	}
}

func TestLocalityWeights(t *testing.T) {
	hosts := hostsOf(1, 1, 1, 1)
	p := []Priority{{Localities: []Locality{{Weight: 80, Hosts: []int{0, 1}}, {Weight: 20, Hosts: []int{2, 3}}}}}
	b := New(Config{LocalityWeighted: true, PanicPercent: 50, Kind: Random}, hosts, p)
	if got := shares(b, 4, 10000); !near([]int{got[0] + got[1], got[2] + got[3]}, []int{8000, 2000}, 200) {
		t.Errorf("shares %v, want 80/20 between localities", got)
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	hosts := hostsOf(1, 2, 3)
	for _, kind := range []Kind{RoundRobin, LeastRequest, Random, RingHash, Maglev} {
		b := New(Config{Kind: kind}, hosts, flat(3))
		r := Request{}
		if n := testing.AllocsPerRun(100, func() { r.Rand = rand.Uint64(); b.Pick(&r) }); n != 0 {
			t.Errorf("kind %d allocates %v times per pick", kind, n)
		}
	}
}
