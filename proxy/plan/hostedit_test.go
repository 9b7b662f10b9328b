package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A table that changes step by step finds what one made from scratch finds, and the ones before stay as they were.
func TestHostTableWith(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	domains := []string{"*"}
	for i := range 300 {
		domains = append(domains, fmt.Sprintf("h%d.example", i))
	}
	for i := range 20 {
		domains = append(domains, fmt.Sprintf("*.w%d.example", i%9+i), fmt.Sprintf("p%d.*", i))
	}
	probes := append(slices.Clone(domains), "x.w3.example", "p7.other", "nowhere")
	for range 20 {
		table, _ := NewHostTable(nil)
		hosts := map[string]*VirtualHost{}
		for range 60 {
			before, found := table, answers(table, probes)
			var put, gone []*VirtualHost
			for range 1 + rnd.IntN(20) {
				name := fmt.Sprintf("vh%d", rnd.IntN(60))
				if slices.ContainsFunc(put, func(v *VirtualHost) bool { return v.Name == name }) || slices.ContainsFunc(gone, func(v *VirtualHost) bool { return v.Name == name }) {
					continue
				}
				if old := hosts[name]; old != nil {
					gone = append(gone, old)
					delete(hosts, name)
				}
				if rnd.IntN(3) > 0 {
					vh := &VirtualHost{Name: name}
					for range 1 + rnd.IntN(4) {
						if d := domains[rnd.IntN(len(domains))]; !slices.Contains(vh.Domains, d) {
							vh.Domains = append(vh.Domains, d)
						}
					}
					hosts[name] = vh
					put = append(put, vh)
				}
			}
			table = table.With(put, gone)
			want, _ := buildHosts(slices.SortedFunc(maps.Values(hosts), byHostName))
			if got := answers(table, probes); !slices.Equal(got, answers(want, probes)) {
				t.Fatalf("%d hosts: a changed table finds others than one from scratch", len(hosts))
			}
			if !slices.Equal(table.All(), want.All()) || table.contested != want.contested {
				t.Fatalf("%d hosts, contested %t, want %d, %t", len(table.All()), table.contested, len(want.All()), want.contested)
			}
			if !slices.Equal(answers(before, probes), found) {
				t.Fatal("the table before has changed")
			}
		}
	}
}

func answers(t *HostTable, probes []string) (found []*VirtualHost) {
	for _, p := range probes {
		found = append(found, t.Find([]byte(p), false))
	}
	return found
}

func BenchmarkHostTableWith(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			host := func(i int) *VirtualHost {
				name := fmt.Sprintf("svc-%d.ns", i)
				return &VirtualHost{Name: name, Domains: []string{name, name + ".svc", name + ".svc.cluster.local", fmt.Sprintf("10.0.%d.%d", i>>8, i&255)}}
			}
			var hosts []*VirtualHost
			for i := range n {
				hosts = append(hosts, host(i))
			}
			slices.SortFunc(hosts, byHostName)
			table, err := NewHostTable(hosts)
			if err != nil {
				b.Fatal(err)
			}
			last := hosts[7]
			table = table.With(nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				next := *last
				table = table.With([]*VirtualHost{&next}, []*VirtualHost{last})
				last = &next
			}
		})
	}
}
