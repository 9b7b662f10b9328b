package persist

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

func TestMapAgainstGoMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var m Map[int, int]
	want := map[int]int{}
	type version struct {
		m    Map[int, int]
		want map[int]int
	}
	var old []version
	for step := range 400 {
		e := m.Edit()
		for range r.IntN(40) {
			k := r.IntN(600)
			if r.IntN(3) == 0 {
				e.Delete(k)
				delete(want, k)
			} else {
				v := r.Int()
				e.Set(k, v)
				want[k] = v
			}
		}
		m = e.Map()
		check(t, m, want)
		if step%20 == 0 {
			old = append(old, version{m, maps.Clone(want)})
		}
	}
	for _, v := range old { // edits of later maps never show in earlier ones
		check(t, v.m, v.want)
	}
}

func check(t *testing.T, m Map[int, int], want map[int]int) {
	t.Helper()
	if got := maps.Collect(m.All()); !maps.Equal(got, want) || m.Len() != len(want) {
		t.Fatalf("map has %d entries (Len %d), want %d", len(got), m.Len(), len(want))
	}
	for k, v := range want {
		if got, ok := m.Get(k); !ok || got != v {
			t.Fatalf("Get(%d) = %d, %v; want %d", k, got, ok, v)
		}
	}
	if _, ok := m.Get(-1); ok {
		t.Fatal("found a key that was never set")
	}
}

// Entries of one hash share a slot; the trie never sees that with good hashes, so the slot is tested alone.
func TestSlotOfEqualHashes(t *testing.T) {
	s := slot[string, int]{key: "a", value: 1}
	if !s.put("b", 2) || !s.put("c", 3) || s.put("b", 4) || s.put("a", 5) {
		t.Fatal("put does not tell new entries from replaced ones")
	}
	shared := s
	if !s.cut("a") || !s.cut("c") {
		t.Fatal("cut says that nothing remains")
	}
	if v, ok := s.find("b"); !ok || v != 4 {
		t.Fatalf("find(b) = %d, %v", v, ok)
	}
	if _, ok := s.find("a"); ok {
		t.Fatal("a was cut")
	}
	if s.cut("b") {
		t.Fatal("cut of the last entry says that others remain")
	}
	for k, want := range map[string]int{"a": 5, "b": 4, "c": 3} {
		if v, ok := shared.find(k); !ok || v != want {
			t.Fatalf("the earlier slot changed: find(%s) = %d, %v", k, v, ok)
		}
	}
}

func TestEditorAfterMapPanics(t *testing.T) {
	e := Map[int, int]{}.Edit()
	e.Set(1, 1)
	e.Map()
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	e.Set(2, 2)
}

func BenchmarkSetOne(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		var m Map[int, int]
		e := m.Edit()
		for i := range n {
			e.Set(i, i)
		}
		m = e.Map()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				e := m.Edit()
				e.Set(i%n, 1)
				_ = e.Map()
			}
		})
	}
}
