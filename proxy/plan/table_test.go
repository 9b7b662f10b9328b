package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func cluster(names *Names, name string) *Cluster {
	return &Cluster{Name: name, Ref: names.Cluster(name)}
}

func TestRefsSurvivePlans(t *testing.T) {
	names := NewNames()
	later := names.Cluster("b") // referred to before it exists
	p1 := New(names, Parts{Version: 1, Clusters: []*Cluster{cluster(names, "a")}})
	if p1.Cluster(later) != nil || p1.Cluster(ClusterRef{}) != nil {
		t.Error("a cluster that doesn't exist was found")
	}
	b := cluster(names, "b")
	p2 := New(names, Parts{Version: 2, Prev: p1, Clusters: []*Cluster{b}})
	if p2.Cluster(later) != b || p2.ClusterNamed([]byte("b")) != b {
		t.Error("the new cluster was not found")
	}
	if p1.Cluster(later) != nil {
		t.Error("the old plan changed")
	}
	p3 := New(names, Parts{Version: 3, Prev: p2, RouteConfigs: []*RouteConfig{{Name: "r"}}})
	if p3.Cluster(later) != b || p3.RouteConfig(names.RouteConfig("r")) == nil {
		t.Error("what did not change was not taken over")
	}
}

func TestForgottenNamesStayDead(t *testing.T) {
	names := NewNames()
	old := names.Cluster("old")
	names.Forget(func(_ Kind, name string) bool { return name != "old" })
	p := New(names, Parts{Clusters: []*Cluster{cluster(names, "new")}})
	if names.Cluster("new").slot != old.slot {
		t.Fatal("the slot was not used again, so this test shows nothing")
	}
	if c := p.Cluster(old); c != nil {
		t.Errorf("a reference to a forgotten name found %q", c.Name)
	}
	if p.Cluster(names.Cluster("new")) == nil {
		t.Error("the new name was not found")
	}
}

func TestCurrentIsNeverNil(t *testing.T) {
	var c Current
	if c.Load() == nil || c.Load().Cluster(ClusterRef{}) != nil || c.Load().Listener("x") != nil {
		t.Error("an empty plan has something in it")
	}
}

// A plan built step by step is the plan built at once.
func TestSteps(t *testing.T) {
	names, rng := NewNames(), rand.New(rand.NewPCG(1, 2))
	want := map[string]*Cluster{}
	p := New(names, Parts{})
	for step := range 500 {
		parts := Parts{Version: uint64(step), Prev: p, Gone: map[Kind][]string{}}
		for range rng.IntN(4) {
			c := cluster(names, fmt.Sprint("c", rng.IntN(20)))
			parts.Clusters = append(parts.Clusters, c)
			want[c.Name] = c
		}
		if n := fmt.Sprint("c", rng.IntN(20)); want[n] != nil && rng.IntN(2) == 0 && len(parts.Clusters) == 0 {
			parts.Gone[KindCluster] = []string{n}
			delete(want, n)
		}
		p = New(names, parts)
		if rng.IntN(10) == 0 {
			names.Forget(func(_ Kind, n string) bool { return want[n] != nil })
		}
		if len(p.Clusters()) != len(want) {
			t.Fatalf("step %d: %d clusters, want %d", step, len(p.Clusters()), len(want))
		}
		last := ""
		for _, c := range p.Clusters() {
			if want[c.Name] != c || p.ClusterNamed([]byte(c.Name)) != c || p.Cluster(c.Ref) != c || c.Name <= last {
				t.Fatalf("step %d: cluster %s", step, c.Name)
			}
			last = c.Name
		}
	}
}
