package derive_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/derive"
)

func TestOnlyWhatReadTheChangeIsComputed(t *testing.T) {
	in := newInputs()
	var computed []str
	derive.Map(in.a.Collection, "fetch", func(ctx *derive.Ctx, k str, v item) (item, bool) {
		computed = append(computed, k)
		for _, l := range v.links {
			derive.FetchKey(ctx, in.b.Collection, l)
		}
		return v, true
	})
	for _, step := range []struct {
		name string
		do   func()
		want []str
	}{
		{"new inputs", func() {
			in.a.Set("1", item{links: []str{"x", "y"}})
			in.a.Set("2", item{links: []str{"y"}})
			in.a.Set("3", item{})
		}, []str{"1", "2", "3"}},
		{"a key that two read, found missing before", func() { in.b.Set("y", item{text: "y"}) }, []str{"1", "2"}},
		{"a key that one reads", func() { in.b.Set("x", item{text: "x"}) }, []str{"1"}},
		{"a key that none reads", func() { in.b.Set("z", item{text: "z"}) }, nil},
		{"an update to the same", func() { in.b.Set("y", item{text: "y"}) }, nil},
		{"there and back within a batch", func() { in.b.Set("y", item{}); in.b.Set("y", item{text: "y"}) }, nil},
		{"an input that stops reading", func() { in.a.Set("1", item{}) }, []str{"1"}},
		{"a key that is read by fewer now", func() { in.b.Delete("y") }, []str{"2"}},
		{"an input that goes", func() { in.a.Delete("2") }, nil},
		{"a key that is read by none now", func() { in.b.Set("y", item{}) }, nil},
	} {
		computed = nil
		in.g.Update(step.do)
		if !slices.Equal(computed, step.want) {
			t.Errorf("%s: computed %v, want %v", step.name, computed, step.want)
		}
	}
}

func TestEqualOutputStopsTheWave(t *testing.T) {
	in := newInputs()
	short := derive.Map(in.a.Collection, "length", func(_ *derive.Ctx, _ str, v item) (item, bool) {
		return item{text: strings.Repeat("x", len(v.text))}, true
	})
	runs := 0
	derive.Map(short, "count", func(_ *derive.Ctx, _ str, v item) (item, bool) { runs++; return v, true })
	in.g.Update(func() { in.a.Set("k", item{text: "ab"}) })
	in.g.Update(func() { in.a.Set("k", item{text: "cd"}) })
	if runs != 1 {
		t.Errorf("the second collection ran %d times, want once", runs)
	}
}

func TestSubscribersHearAfterTheWholeBatch(t *testing.T) {
	in := newInputs()
	m := evens(in)
	var seen int
	in.a.Subscribe(func([]derive.Event[str, item]) { seen = m.Len() })
	in.g.Update(func() { in.a.Set("k", item{text: "2"}) })
	if seen != 1 {
		t.Error("a subscriber of the source saw the derived collection before it was up to date")
	}
}

func TestPanicKeepsTheLastOutput(t *testing.T) {
	var panics []derive.Panic
	g := derive.New(derive.Options{OnPanic: func(p derive.Panic) { panics = append(panics, p) }})
	src := derive.NewSource[str, item](g, "src")
	out := derive.Map(src.Collection, "picky", func(_ *derive.Ctx, _ str, v item) (item, bool) {
		if v.text == "bad" {
			panic("no " + v.text)
		}
		return v, true
	})
	g.Update(func() { src.Set("k", item{text: "good"}); src.Set("l", item{text: "good"}) })
	g.Update(func() { src.Set("k", item{text: "bad"}); src.Set("l", item{text: "better"}) })
	if v, _ := out.Get("k"); v.text != "good" {
		t.Errorf("k is %q, want its last good value", v.text)
	}
	if v, _ := out.Get("l"); v.text != "better" {
		t.Errorf("l is %q, want better", v.text)
	}
	if len(panics) != 1 || panics[0].Collection != "picky" || panics[0].Key != "k" || panics[0].Value != "no bad" || len(panics[0].Stack) == 0 {
		t.Errorf("told of %+v", panics)
	}
	g.Update(func() { src.Delete("k") })
	if _, ok := out.Get("k"); ok {
		t.Error("k is still there")
	}
}

func TestMisuse(t *testing.T) {
	for name, do := range map[string]func(in inputs){
		"a change outside Update": func(in inputs) { in.a.Set("k", item{}) },
		"two of one name":         func(in inputs) { derive.NewSource[str, item](in.g, "a") },
		"no name":                 func(in inputs) { derive.NewSource[str, item](in.g, "") },
		"reading a later collection": func(in inputs) {
			var later *derive.Source[str, item]
			derive.Map(in.a.Collection, "early", func(ctx *derive.Ctx, k str, v item) (item, bool) {
				return derive.FetchKey(ctx, later.Collection, k)
			})
			later = derive.NewSource[str, item](in.g, "later")
			in.g.Update(func() { in.a.Set("k", item{}) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			do(newInputs())
		})
	}
}

func TestReplace(t *testing.T) {
	in := newInputs()
	in.g.Update(func() { in.a.Set("1", item{text: "1"}); in.a.Set("2", item{text: "2"}) })
	var events []derive.Event[str, item]
	in.a.Subscribe(func(e []derive.Event[str, item]) { events = slices.Clone(e) })
	events = nil
	in.g.Update(func() {
		in.a.Replace([]derive.Entry[str, item]{{Key: "2", Value: item{text: "2"}}, {Key: "3", Value: item{text: "3"}}})
	})
	if len(events) != 2 || events[0].Key != "3" || events[1].Key != "1" || events[1].HasNew {
		t.Errorf("events %+v, want 3 added and 1 removed", events)
	}
}

func TestDump(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	g := derive.New(derive.Options{Now: func() time.Time { return at }})
	a, b := derive.NewSource[str, item](g, "a"), derive.NewSource[str, item](g, "b")
	derive.Map(a.Collection, "both", func(ctx *derive.Ctx, k str, v item) (item, bool) {
		_, ok := derive.FetchKey(ctx, b.Collection, k)
		return v, ok
	})
	g.Update(func() { a.Set("1", item{}); a.Set("2", item{}); b.Set("2", item{}) })
	g.Update(func() { b.Set("1", item{}) })
	var out strings.Builder
	if err := derive.WriteTable(&out, g.Dump()); err != nil {
		t.Fatal(err)
	}
	want := `NAME  KIND    FROM  READS  SIZE  BATCHES  COMPUTED  EVENTS  LAST                  TOOK
a     source               2     1        0         2       2026-01-02T03:04:05Z  0s
b     source               2     2        0         2       2026-01-02T03:04:05Z  0s
both  map     a     b      2     2        3         2       2026-01-02T03:04:05Z  0s
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
