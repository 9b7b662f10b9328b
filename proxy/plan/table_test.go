package plan

import (
	"slices"
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
	p2 := New(names, Parts{Version: 2, Prev: p1, Clusters: append(slices.Clone(p1.Clusters()), b)})
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
