package derive_test

import (
	"fmt"
	"strconv"
	"testing"

	"lateen.dev/lateen/derive"
)

// chain is the shape that a mesh has: objects are taken apart, their parts grouped under a name, and each group looks up
// what else belongs to the name.
func chain(n int) (inputs, *derive.Collection[str, item]) {
	in := newInputs()
	parts := derive.MapMany(in.a.Collection, "parts", func(_ *derive.Ctx, _ str, v item, emit func(string, item)) {
		for _, l := range v.links {
			emit(string(l), item{text: v.text, links: []str{l}})
		}
	})
	groups := derive.Groups(derive.NewIndex(parts, "by name", func(_ derive.Part[str], v item) []str { return v.links }), "groups")
	members := derive.NewIndex(in.b.Collection, "by name", byLink)
	out := derive.Map(groups, "out", func(ctx *derive.Ctx, k str, g derive.Group[derive.Part[str], item]) (item, bool) {
		v := render(derive.FetchIndex(ctx, members, k))
		v.text += g[0].Value.text
		return v, true
	})
	in.g.Update(func() {
		for i := range n {
			name := str(strconv.Itoa(i))
			in.a.Set(name, item{text: "0", links: []str{name}})
			for j := range 10 {
				in.b.Set(name+"/"+str(strconv.Itoa(j)), item{links: []str{name}})
			}
		}
	})
	return in, out
}

func BenchmarkInitial(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				chain(n)
			}
		})
	}
}

// BenchmarkOneChange must cost the same whatever the number of objects.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		in, _ := chain(n)
		b.Run(fmt.Sprintf("object/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				name := str(strconv.Itoa(i % n))
				in.g.Update(func() { in.a.Set(name, item{text: strconv.Itoa(i), links: []str{name}}) })
			}
		})
		b.Run(fmt.Sprintf("member/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				name := str(strconv.Itoa(i % n))
				in.g.Update(func() { in.b.Set(name+"/3", item{text: strconv.Itoa(i), links: []str{name}}) })
			}
		})
	}
}
