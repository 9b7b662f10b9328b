package derive_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lateen.dev/lateen/derive"
)

// str is a key.
type str string

func (s str) Compare(o str) int { return strings.Compare(string(s), string(o)) }

// item is a value: a text, and links to other keys.
type item struct {
	text  string
	links []str
}

func (i item) Equal(o item) bool { return i.text == o.text && slices.Equal(i.links, o.links) }

// inputs are what every collection under test is made of.
type inputs struct {
	g    *derive.Graph
	a, b *derive.Source[str, item]
}

func newInputs() inputs {
	g := derive.New(derive.Options{})
	return inputs{g, derive.NewSource[str, item](g, "a"), derive.NewSource[str, item](g, "b")}
}

// state is what the sources hold.
type state struct{ a, b map[str]item }

func (s state) load(in inputs) {
	in.g.Update(func() {
		for k, v := range s.a {
			in.a.Set(k, v)
		}
		for k, v := range s.b {
			in.b.Set(k, v)
		}
	})
}

func (s state) clone() state { return state{maps.Clone(s.a), maps.Clone(s.b)} }

// batch changes some entries, at random, in the sources and in s alike; now and then to what they were, or twice.
func (s state) batch(in inputs, r *rand.Rand) {
	in.g.Update(func() {
		for range r.IntN(6) {
			src, m := in.a, s.a
			if r.IntN(2) == 0 {
				src, m = in.b, s.b
			}
			k := key(r)
			switch r.IntN(4) {
			case 0:
				src.Delete(k)
				delete(m, k)
			case 1:
				if v, ok := m[k]; ok {
					src.Delete(k)
					src.Set(k, v)
				}
			default:
				v := item{text: strconv.Itoa(r.IntN(5))}
				for range r.IntN(3) {
					v.links = append(v.links, key(r))
				}
				src.Set(k, v)
				m[k] = v
			}
		}
	})
}

func key(r *rand.Rand) str { return str("k" + strconv.Itoa(r.IntN(12))) }

// conform checks the contract of one kind of collection: after any history of batches it holds what a new one holds that is
// made of the same inputs; its events, replayed, give its entries, and none of them is idle; its index agrees with it.
func conform[K derive.Key[K], V derive.Value[V]](t *testing.T, build func(in inputs) *derive.Collection[K, V]) {
	t.Helper()
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		in, now := newInputs(), state{map[str]item{}, map[str]item{}}
		if seed%2 == 1 { // collections may be declared over inputs that have entries already
			now.batch(in, r)
			now.batch(in, r)
		}
		c := build(in)
		replay := newReplay[K, V]()
		c.Subscribe(func(events []derive.Event[K, V]) { replay.apply(t, events) })
		ix := derive.NewIndex(c, "by first letter of print", letter[K, V])
		for step := range 60 {
			now.batch(in, r)
			fresh := newInputs()
			want := build(fresh)
			now.clone().load(fresh)
			got, wanted := contents(c), contents(want)
			if diff := difference(got, wanted); diff != "" {
				t.Fatalf("seed %d step %d: %s is not what it would be from scratch:\n%s", seed, step, c.Name(), diff)
			}
			if diff := difference(replay.entries, got); diff != "" {
				t.Fatalf("seed %d step %d: the events don't add up:\n%s", seed, step, diff)
			}
			if c.Len() != len(got) {
				t.Fatalf("Len is %d, with %d entries", c.Len(), len(got))
			}
			checkIndex(t, c, ix)
		}
	}
}

func contents[K derive.Key[K], V derive.Value[V]](c *derive.Collection[K, V]) map[K]V {
	out := make(map[K]V)
	var last *K
	for k, v := range c.All() {
		if last != nil && (*last).Compare(k) >= 0 {
			panic(fmt.Sprint("All is out of order at ", k))
		}
		last = &k
		if got, ok := c.Get(k); !ok || !got.Equal(v) {
			panic(fmt.Sprint("Get and All differ at ", k))
		}
		out[k] = v
	}
	return out
}

func difference[K derive.Key[K], V derive.Value[V]](got, want map[K]V) string {
	var b strings.Builder
	for k, v := range want {
		if g, ok := got[k]; !ok || !g.Equal(v) {
			fmt.Fprintf(&b, "%v: got %v (%v), want %v\n", k, g, ok, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			fmt.Fprintf(&b, "%v: got %v, want none\n", k, v)
		}
	}
	return b.String()
}

type replay[K derive.Key[K], V derive.Value[V]] struct{ entries map[K]V }

func newReplay[K derive.Key[K], V derive.Value[V]]() *replay[K, V] {
	return &replay[K, V]{make(map[K]V)}
}

func (r *replay[K, V]) apply(t *testing.T, events []derive.Event[K, V]) {
	t.Helper()
	seen := make(map[K]bool)
	for _, e := range events {
		old, had := r.entries[e.Key]
		switch {
		case seen[e.Key]:
			t.Fatalf("two events for %v in one batch", e.Key)
		case had != e.HadOld || had && !old.Equal(e.Old):
			t.Fatalf("event for %v has the wrong old value", e.Key)
		case e.HadOld && e.HasNew && e.Old.Equal(e.New), !e.HadOld && !e.HasNew:
			t.Fatalf("event for %v changes nothing", e.Key)
		}
		seen[e.Key] = true
		if e.HasNew {
			r.entries[e.Key] = e.New
		} else {
			delete(r.entries, e.Key)
		}
	}
}

func letter[K derive.Key[K], V derive.Value[V]](k K, v V) []str {
	text := fmt.Sprint(k, v)
	return []str{str(text[len(text)-2:]), str(fmt.Sprint(len(text)))}
}

func checkIndex[K derive.Key[K], V derive.Value[V]](t *testing.T, c *derive.Collection[K, V], ix *derive.Index[str, K, V]) {
	t.Helper()
	want := make(map[str][]derive.Entry[K, V])
	for k, v := range c.All() {
		for _, l := range letter(k, v) {
			want[l] = append(want[l], derive.Entry[K, V]{Key: k, Value: v})
		}
	}
	if ix.Len() != len(want) {
		t.Fatalf("index has %d keys, want %d", ix.Len(), len(want))
	}
	for l, entries := range want {
		if !derive.Group[K, V](ix.Get(l)).Equal(entries) {
			t.Fatalf("index under %v: %v, want %v", l, ix.Get(l), entries)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Run("Source", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] { return in.a.Collection })
	})
	t.Run("Static", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] {
			return derive.NewStatic(in.g, "static", []derive.Entry[str, item]{{Key: "x", Value: item{text: "1"}}, {Key: "y"}})
		})
	})
	t.Run("Map", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] { return evens(in) })
	})
	t.Run("Map of Map", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] {
			return derive.Map(evens(in), "again", func(_ *derive.Ctx, k str, v item) (item, bool) {
				return item{text: string(k) + v.text}, v.text != "0"
			})
		})
	})
	t.Run("MapMany", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[derive.Part[str], item] { return links(in) })
	})
	t.Run("Join", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] {
			return derive.Join(in.g, "join", evens(in), in.b.Collection)
		})
	})
	t.Run("JoinWith", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] {
			return derive.JoinWith(in.g, "join", concatenate, in.a.Collection, in.b.Collection)
		})
	})
	t.Run("Groups", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, derive.Group[str, item]] {
			return derive.Groups(derive.NewIndex(in.a.Collection, "by link", byLink), "groups")
		})
	})
	t.Run("Groups of MapMany", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, derive.Group[derive.Part[str], item]] {
			ix := derive.NewIndex(links(in), "by text", func(_ derive.Part[str], v item) []str { return []str{str(v.text)} })
			return derive.Groups(ix, "groups")
		})
	})
	t.Run("FetchKey", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] {
			return derive.Map(in.a.Collection, "fetch", func(ctx *derive.Ctx, _ str, v item) (item, bool) {
				var out item
				for _, l := range v.links {
					if o, ok := derive.FetchKey(ctx, in.b.Collection, l); ok {
						out.text += o.text
					}
				}
				return out, true
			})
		})
	})
	t.Run("FetchKey of the unknown", func(t *testing.T) { // what to read next depends on what was read
		conform(t, func(in inputs) *derive.Collection[str, item] {
			return derive.Map(in.a.Collection, "fetch", func(ctx *derive.Ctx, k str, _ item) (item, bool) {
				var path []str
				for !slices.Contains(path, k) {
					path = append(path, k)
					if o, ok := derive.FetchKey(ctx, in.b.Collection, k); ok && len(o.links) > 0 {
						k = o.links[0]
					}
				}
				return item{links: path}, true
			})
		})
	})
	t.Run("FetchIndex", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] {
			ix := derive.NewIndex(in.b.Collection, "by link", byLink)
			return derive.Map(in.a.Collection, "fetch", func(ctx *derive.Ctx, k str, _ item) (item, bool) {
				return render(derive.FetchIndex(ctx, ix, k)), true
			})
		})
	})
	t.Run("FetchWhere and FetchAll", func(t *testing.T) {
		conform(t, func(in inputs) *derive.Collection[str, item] {
			return derive.Map(in.a.Collection, "fetch", func(ctx *derive.Ctx, _ str, v item) (item, bool) {
				if v.text == "0" {
					return render(derive.FetchAll(ctx, in.b.Collection)), true
				}
				return render(derive.FetchWhere(ctx, in.b.Collection, func(_ str, o item) bool { return o.text == v.text })), true
			})
		})
	})
}

func evens(in inputs) *derive.Collection[str, item] {
	return derive.Map(in.a.Collection, "evens", func(_ *derive.Ctx, _ str, v item) (item, bool) {
		return item{text: v.text}, v.text == "0" || v.text == "2" || v.text == "4"
	})
}

func links(in inputs) *derive.Collection[derive.Part[str], item] {
	return derive.MapMany(in.a.Collection, "links", func(ctx *derive.Ctx, _ str, v item, emit func(string, item)) {
		for i, l := range v.links {
			emit(string(l), item{text: strconv.Itoa(i)})
			if o, ok := derive.FetchKey(ctx, in.b.Collection, l); ok {
				emit("of "+string(l), item{text: o.text})
			}
		}
	})
}

func byLink(_ str, v item) []str { return slices.Compact(slices.Sorted(slices.Values(v.links))) }

func concatenate(_ str, values []item) item {
	var out item
	for _, v := range values {
		out.text += v.text
	}
	return out
}

func render(entries []derive.Entry[str, item]) item {
	var out item
	for _, e := range entries {
		out.text += string(e.Key) + "=" + e.Value.text + ";"
	}
	return out
}
